"""``logitpair certify``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.gate import Gate
from logitpair.cli.options import add_options, check_choice, check_options, parse_radius
from logitpair.cli.task import add_task, results_folder, shared
from logitpair.errors import InputError
from logitpair.storage.result_files import read_record
from logitpair.storage.results import BRANCHES, CERTIFICATE_METHODS, MOST_BRANCHES, CertificateResults


def add_arguments(parser: ArgumentParser) -> None:
    add_task(parser, sources=False)
    add_options(parser, "eps", "norm")
    parser.add_argument(
        "--method",
        type=str,
        default="crown",
        help=f"the most expensive of {', '.join(CERTIFICATE_METHODS)}; each is tried on what those before it did not decide",
    )
    branches = f"parts of an image's ball that beta-crown bounds at most (default: {BRANCHES})"
    parser.add_argument("--branches", type=int | None, default=None, help=branches)
    add_options(parser, "checkpoint", help="last (default), or best by held-out accuracy")
    add_options(parser, "seed", help="of the attacks that find what need not be bounded")
    add_options(parser, "fail-under", help="end with exit code 4 if the certified accuracy is below it, from 0 to 1")
    add_options(parser, "json")
    add_options(parser, "junit", help="write JUnit XML: a test case for --fail-under")


def run(arguments: Namespace) -> int:
    """Certify, and end as ``--fail-under`` says."""
    check_options(arguments)
    check_choice("method", arguments.method, CERTIFICATE_METHODS)
    if arguments.branches is not None and arguments.method != "beta-crown":
        raise InputError(f"--branches: {arguments.method} does not branch; give --method beta-crown")
    arguments.branches = arguments.branches or BRANCHES
    if arguments.branches > MOST_BRANCHES:
        raise InputError(f"--branches must be at most {MOST_BRANCHES:,}, not {arguments.branches}")
    out = results_folder(arguments)
    if arguments.model is not None and arguments.eps is None:
        raise InputError("--eps is not given; a model without a recipe needs it, such as --eps 8/255")
    gate = Gate.of(arguments)
    with gate.output():
        path = _certify(arguments, out, parse_radius(arguments.eps))
    return 0 if path is None else gate.close(read_record(path, CertificateResults, "logitpair certify"), out)


def _certify(arguments: Namespace, out: Path, eps: float | None) -> Path | None:
    """Print the table, write ``results.json`` and ``ledger.npz``; the path of the first, None if another process does."""
    from logitpair.certification.certify import certify
    from logitpair.certification.result import COLUMNS
    from logitpair.cli.terminal import console, print_next, print_rows
    from logitpair.runs.audit_task import NORMS, threat_of
    from logitpair.runs.overwrite_guard import refuse_overwriting_certificate

    folder, arguments.attacks = out / "certificate", None
    with shared(arguments) as (task, world):
        threat = threat_of(task, eps, NORMS.get(arguments.norm))
        refuse_overwriting_certificate(folder, task, threat, arguments.method, arguments.branches)
        result = certify(
            task.model,
            task.test,
            threat=threat,
            method=arguments.method,
            branches=arguments.branches,
            seed=arguments.seed,
            batch_size=task.batch_size,
            workers=task.workers,
            folder=folder,
            world=world,
        )
        if not world.is_main:
            return None
        path = result.with_task(task.record).save(folder)
        print_rows(COLUMNS, result.rows())
        console.print(f"Wrote {path}")
        if arguments.run is not None:
            print_next("logitpair", "audit", out)
        else:  # whose folder holds no network
            console.print(f"Next: logitpair audit with --model and its options as here, and --out {out}")
        return path
