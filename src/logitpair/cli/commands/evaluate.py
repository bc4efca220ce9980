"""``logitpair evaluate``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.gate import Gate
from logitpair.cli.options import add_options, check_options, device_of, refuse_given
from logitpair.cli.task import add_task, joined, load_task, parse_sources, results_folder, shared
from logitpair.errors import InputError
from logitpair.storage.result_files import read_record
from logitpair.storage.results import EvaluationResults

OF_ATTACKING = (
    *("source", "attacks", "worst_case_only", "examples", "processes", "engine", "seed"),
    *("keep_adversarial", "tracker", "fail_under", "json", "junit"),
)


def add_arguments(parser: ArgumentParser) -> None:
    add_task(parser)
    add_options(
        parser,
        "attacks",
        help="instead of the recipe's: names such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps) with commas between them, "
        "paper (the paper's eight at the sizes of the recipe's first), or a YAML file; see docs/reference/attacks.md",
    )
    add_options(
        parser,
        "checkpoint",
        help="last, or best by white-box accuracy on held-out training images (default: last; with --verify the one that was evaluated)",
    )
    parser.add_argument(
        "--worst-case-only",
        action="store_true",
        help="measure what all white-box attacks leave together, and nothing of each alone: it searches only what those before it left",
    )
    add_options(parser, "name", default="test", help="results go to RUN/evaluation/NAME (OUT/... with --model)")
    add_options(parser, "seed", type=int | None, default=None, help="of the attacks' randomness (default: 0)")
    parser.add_argument("--keep-adversarial", action="store_true", help="keep every adversarial image, in RUN/evaluation/NAME/adversarial")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="attack nothing: try the images that --keep-adversarial kept again on the checkpoint, as they are and rounded to 8 bits",
    )
    add_options(parser, "tracker")
    add_options(
        parser,
        "fail-under",
        help="end with exit code 4 if the white-box worst case is below it, from 0 to 1 (with --worst-case-only what all attacks leave)",
    )
    add_options(parser, "json")
    add_options(parser, "junit", help="write JUnit XML: a test case for each white-box attack, if each is measured, and for all together")


def run(arguments: Namespace) -> int:
    """Evaluate, and end as ``--fail-under`` says; or verify what is there."""
    check_options(arguments)
    if arguments.verify:
        refuse_given(arguments, OF_ATTACKING, "goes with attacking; --verify attacks nothing, and tries all images of the evaluation again")
    out = results_folder(arguments)
    if arguments.run is None and arguments.attacks is None and not arguments.verify:
        raise InputError(
            "--attacks is not given; a model without a recipe needs it, such as pgd_4_1_10 (eps and step size in 1/255, steps)"
        )
    gate = Gate.of(arguments)
    with gate.output():
        path = _evaluate(arguments, out)
    return 0 if path is None else gate.close(read_record(path, EvaluationResults, "logitpair evaluate"), out)


def _evaluate(arguments: Namespace, out: Path) -> Path | None:
    """Print the table, write ``results.json`` and ``ledger.npz``; the path of the first, None if another process does, or on --verify."""
    from logitpair.cli.terminal import console, print_next, print_rows
    from logitpair.evaluation.result import COLUMNS
    from logitpair.runtime.distributed import is_main_process
    from logitpair.training.trackers import named, tell

    trackers = named(arguments.tracker or ()) if is_main_process() else ()
    folder = out / "evaluation" / arguments.name
    sources = parse_sources(arguments.source)
    if arguments.verify:
        with joined(arguments) as world:
            if world.is_main:
                _verify(arguments, out, folder)
        return None
    with shared(arguments) as (task, world):
        evaluation = task.evaluate(
            folder,
            sources=sources,
            worst_case_only=arguments.worst_case_only,
            seed=arguments.seed or 0,
            keep_adversarial=arguments.keep_adversarial,
            world=world,
        )
        if not world.is_main:
            return None
        path = evaluation.save(folder)
        (folder / "verification.json").unlink(missing_ok=True)  # it was another evaluation's
        tell(trackers, out, evaluation.record)
        print_rows(COLUMNS, evaluation.rows())
        console.print(f"Wrote {path}")
        print_next("logitpair", "report", out)
        return path


def _verify(arguments: Namespace, out: Path, folder: Path) -> None:
    """Try the kept images again; an error where they do not do what the evaluation says."""
    from logitpair.cli.terminal import console, print_rows
    from logitpair.evaluation.result import Evaluation
    from logitpair.evaluation.verify import COLUMNS, verify

    if not (folder / "results.json").exists():
        others = [path.parent.name for path in sorted(out.glob("evaluation/*/results.json"))]
        raise InputError(f"--name: '{out}' has no evaluation '{folder.name}'; it has {', '.join(others) or 'none'}")
    evaluation = Evaluation.load(folder)
    arguments.checkpoint = arguments.checkpoint or evaluation.record.checkpoint
    arguments.examples = evaluation.record.examples
    arguments.batch_size = None if arguments.batch_size == "auto" else arguments.batch_size  # forward passes of the usual ones fit
    task = load_task(arguments, device_of(arguments.device))
    verification = verify(task.model, task.test, evaluation, folder / "adversarial", batch_size=task.batch_size)
    print_rows(COLUMNS, verification.rows())
    console.print(f"Wrote {verification.save(folder)}")
    if not verification.holds:
        raise InputError(f"--verify: {out}: the adversarial images do not do what '{folder / 'results.json'}' says")
