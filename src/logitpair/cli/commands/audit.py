"""``logitpair audit``"""

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_choice, check_options
from logitpair.cli.task import add_task, joined, load_task, parse_sources, results_folder
from logitpair.config.numbers import parse_number
from logitpair.errors import InputError
from logitpair.storage.results import BUDGET

COLOURS = {"trustworthy": "green", "overestimated": "red", "inconclusive": "yellow"}


def add_arguments(parser: ArgumentParser) -> None:
    add_task(parser)
    parser.add_argument("--eps", type=str | None, default=None, help="radius in [0, 1] pixel scale, also 8/255 (default: the recipe's)")
    add_options(
        parser,
        "attacks",
        help="the reference attack, whose number is judged, such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps); "
        "the recipe's first by default",
    )
    parser.add_argument("--budget", type=float, default=BUDGET, help="gradients an image may cost on average (a forward pass: a third)")
    parser.add_argument("--minutes", type=float | None, default=None, help="end the search after so many minutes")
    parser.add_argument("--precision", type=str, default="float32", help="of the search: float32, bfloat16 or auto; breaks are verified")
    add_options(parser, "checkpoint", help="last (default), or best by held-out accuracy")
    add_options(parser, "seed", help="of the searches' randomness")


def run(arguments: Namespace) -> None:
    """Audit, print the verdict and the checks, write ``results.json`` and ``ledger.npz``."""
    check_options(arguments)
    check_choice("precision", arguments.precision, ("float32", "bfloat16", "auto"))
    out = results_folder(arguments)
    if arguments.model is not None and arguments.attacks is None and arguments.eps is None:
        raise InputError("--eps is not given; a model without a recipe needs it, such as --eps 8/255")
    eps = None if arguments.eps is None else parse_number(arguments.eps, option="--eps")
    if eps is not None and not 0 < eps <= 1:
        raise InputError(f"--eps: '{arguments.eps}' is no radius; accepted: above 0 and at most 1, the pixels' whole range")
    from msgspec.structs import replace

    from logitpair.auditing.audit import audit
    from logitpair.auditing.result import CHECK_COLUMNS, COLUMNS
    from logitpair.cli.terminal import console, print_rows
    from logitpair.runs.audit_task import reference_of, reported_accuracy
    from logitpair.runs.evaluation_task import load_sources
    from logitpair.runs.overwrite_guard import refuse_overwriting_audit

    folder = out / "audit"
    sources = parse_sources(arguments.source)
    with joined(arguments) as world:
        task = load_task(arguments, world.device)
        reference = reference_of(task, eps)
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
            seed=arguments.seed,
            batch_size=task.batch_size,
            workers=task.workers,
            precision=arguments.precision,
            folder=folder,
            world=world,
        )
        if not world.is_main:
            return
        path = result.with_task(replace(task.record, sources=known)).save(folder)
        record = result.record
        console.print(f"[bold {COLOURS[record.verdict]}]{record.verdict}[/]: {record.reason}")
        print_rows(COLUMNS, result.rows())
        print_rows(CHECK_COLUMNS, result.check_rows())
        for finding in record.findings:
            if not finding.passed:
                console.print(f"{finding.check}: {finding.advice}")
        console.print(f"Wrote {path}\nNext: logitpair report {out}")
