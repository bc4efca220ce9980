"""``logitpair audit``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.gate import Gate
from logitpair.cli.options import add_options, check_choice, check_options, parse_radius
from logitpair.cli.task import add_task, parse_sources, results_folder, shared
from logitpair.errors import InputError
from logitpair.storage.result_files import read_record
from logitpair.storage.results import BUDGET, AuditResults

COLOURS = {"trustworthy": "green", "overestimated": "red", "inconclusive": "yellow"}


def add_arguments(parser: ArgumentParser) -> None:
    add_task(parser)
    add_options(parser, "eps", "norm")
    add_options(
        parser,
        "attacks",
        help="the reference attack, whose number is judged, such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps) "
        "or l2pgd_0.5_0.05_40 (L2 norm, no 1/255); the recipe's first by default",
    )
    parser.add_argument("--budget", type=float, default=BUDGET, help="gradients an image may cost on average (a forward pass: a third)")
    parser.add_argument("--minutes", type=float | None, default=None, help="end the search after so many minutes")
    parser.add_argument("--precision", type=str, default="float32", help="of the search: float32, bfloat16 or auto; breaks are verified")
    add_options(parser, "checkpoint", help="last (default), or best by held-out accuracy")
    add_options(parser, "seed", help="of the searches' randomness")
    add_options(parser, "tracker")
    add_options(parser, "fail-under", help="end with exit code 4 if the robust accuracy is below it, from 0 to 1")
    add_options(parser, "fail-on", "json")
    add_options(parser, "junit", help="write JUnit XML: a test case for --fail-under, one for the verdict, one for each check")


def run(arguments: Namespace) -> int:
    """Audit, and end as ``--fail-under`` and ``--fail-on`` say."""
    check_options(arguments)
    check_choice("precision", arguments.precision, ("float32", "bfloat16", "auto"))
    out = results_folder(arguments)
    if arguments.model is not None and arguments.attacks is None and arguments.eps is None:
        raise InputError("--eps is not given; a model without a recipe needs it, such as --eps 8/255")
    eps = parse_radius(arguments.eps)
    gate = Gate.of(arguments)
    with gate.output():
        path = _audit(arguments, out, eps)
    return 0 if path is None else gate.close(read_record(path, AuditResults, "logitpair audit"), out)


def _audit(arguments: Namespace, out: Path, eps: float | None) -> Path | None:
    """Print the verdict and the checks, write ``results.json`` and ``ledger.npz``; the path of the first, None if another process does."""
    from msgspec.structs import replace
    from rich.text import Text

    from logitpair.auditing.audit import audit
    from logitpair.auditing.convergence import outlook
    from logitpair.auditing.result import CHECK_COLUMNS, COLUMNS
    from logitpair.cli.terminal import console, print_next, print_rows
    from logitpair.runs.audit_task import NORMS, certificate_of, reference_of, reported_accuracy
    from logitpair.runs.evaluation_task import load_sources
    from logitpair.runs.overwrite_guard import refuse_overwriting_audit
    from logitpair.runtime.distributed import is_main_process
    from logitpair.training.trackers import named, tell

    trackers = named(arguments.tracker or ()) if is_main_process() else ()
    folder = out / "audit"
    sources = parse_sources(arguments.source)
    with shared(arguments) as (task, world):
        reference = reference_of(task, eps, NORMS.get(arguments.norm))
        refuse_overwriting_audit(folder, task, reference.threat)
        networks, known = load_sources(sources, task.model)
        result = audit(
            task.model,
            task.test,
            threat=reference.threat,
            budget=arguments.budget,
            minutes=arguments.minutes,
            reference_attack=reference,
            reported_accuracy=reported_accuracy(out, task, reference),
            sources=networks,
            certificate=certificate_of(out, task, reference.threat),
            seed=arguments.seed,
            batch_size=task.batch_size,
            workers=task.workers,
            precision=arguments.precision,
            folder=folder,
            world=world,
        )
        if not world.is_main:
            return None
        path = result.with_task(replace(task.record, sources=known)).save(folder)
        record = result.record
        tell(trackers, out, record)
        console.print(Text.assemble((record.verdict, f"bold {COLOURS[record.verdict]}"), f": {record.reason}"))
        print_rows(COLUMNS, result.rows())
        console.print(outlook(record))
        print_rows(CHECK_COLUMNS, result.check_rows())
        for finding in record.findings:
            if not finding.passed:
                console.print(f"{finding.check}: {finding.advice}")
        console.print(f"Wrote {path}")
        print_next("logitpair", "report", out)
        return path
