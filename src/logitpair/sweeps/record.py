"""``sweep.json``: what became of every run, and what the runs of a point have in common. Imports no torch."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.storage import results as schema
from logitpair.storage.atomic_files import read_json_lines
from logitpair.storage.result_files import read_record, write_record
from logitpair.storage.results import Accuracy, BestPoint, Spread, SweepPoint, SweepResults, SweepRun

MEASURES = ("validation_clean", "validation_white_box", "clean", "white_box")
"""What is summarized over seeds: accuracies on held-out training images, then on test images."""
ACCURACY = ("top1", "correct", "total", "ci95")


def finished(run: SweepRun, folder: Path) -> SweepRun:
    """The run with the numbers in the files of its ``folder``, refused where it is not trained and evaluated."""
    training = read_record(folder / "training.json", schema.Training, "logitpair sweep")
    results = read_record(folder / "evaluation" / "test" / "results.json", schema.EvaluationResults, "logitpair sweep")
    worst = results.worst_case
    try:
        last = [line for line in read_json_lines(folder / "metrics.jsonl") if "validation_white_box" in line][-1]
        clean, white_box = last["validation_clean"], last["validation_white_box"]
        parameters = results.parameters[worst.attack]
    except LookupError as error:
        raise InputError(f"'{folder}' holds a damaged or unfinished run; delete it and start the sweep again") from error
    return replace(
        run,
        status="finished",
        message=None,
        validation_clean=clean,
        validation_white_box=white_box,
        clean=Accuracy(**{key: getattr(results.clean, key) for key in ACCURACY}),
        white_box=schema.AttackedTest(**{key: getattr(worst, key) for key in ACCURACY}, attack=worst.attack, parameters=parameters),
        evaluated=results.created,
        seconds=schema.RunSeconds(training=training.seconds, evaluation=results.wall_time_seconds),
        hardware=training.hardware,
    )


def still_finished(old: SweepRun, new: SweepRun, folder: Path) -> bool:
    """Whether the ``old`` run is what the ``new`` one will be, and its files are still there, with the same evaluation."""
    same = (old.path, old.settings, old.seed, old.evaluation) == (new.path, new.settings, new.seed, new.evaluation)
    try:
        return same and old.status == "finished" and finished(old, folder).evaluated == old.evaluated
    except InputError:
        return False


def summarize(runs: Iterable[SweepRun]) -> list[SweepPoint]:
    """One entry a grid point: how many runs finished and failed, and each measure over the finished ones."""
    groups: dict[PurePath, list[SweepRun]] = {}
    for run in runs:
        groups.setdefault(PurePath(run.path).parent, []).append(run)  # 1 and 1.0 are one setting
    return [_point(group) for group in groups.values()]


def _point(runs: Sequence[SweepRun]) -> SweepPoint:
    done = [run for run in runs if run.status == "finished"]
    failed = sum(run.status == "failed" for run in runs)
    spreads = {measure: spread([_accuracy(getattr(run, measure)) for run in done]) for measure in MEASURES}
    return SweepPoint(settings=runs[0].settings, runs=len(runs), finished=len(done), failed=failed, **spreads)


def _accuracy(measured: Accuracy | float) -> float:
    return measured.top1 if isinstance(measured, Accuracy) else measured


def best(points: Sequence[SweepPoint]) -> BestPoint | None:
    """The point with the highest mean white-box accuracy on held-out training images, the first of equals; never by test images.

    Only points whose runs all finished are candidates: a mean over the seeds that did not diverge would flatter.
    """
    whole = [(point, point.validation_white_box.mean) for point in points if point.finished == point.runs and point.validation_white_box]
    if not whole:
        return None
    point, mean = max(whole, key=lambda pair: pair[1])
    return BestPoint(settings=point.settings, validation_white_box=mean)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, min and max, with two or more values also the sample standard deviation; None without any."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean=statistics.fmean(values), min=min(values), max=max(values), std=deviation)


def write(folder: Path, head: SweepResults, runs: Iterable[SweepRun]) -> SweepResults:
    """Write ``sweep.json``: the ``head``, the runs as they are now, and what they have in common. Returns it."""
    runs = tuple(runs)
    points = tuple(summarize(runs))
    results = replace(head, runs=runs, points=points, best=best(points))
    write_record(folder / "sweep.json", results)
    return results


def read(folder: Path, writer: str = "logitpair sweep --out ANOTHER_FOLDER") -> SweepResults:
    """The content of a folder's ``sweep.json``.

    Raises:
        InputError: if it is missing, damaged or of another version, or if its points are not what its runs come to; it names ``writer``.
    """
    results = read_record(folder / "sweep.json", SweepResults, writer)
    if (*summarize(results.runs), best(results.points)) != (*results.points, results.best):
        raise InputError(
            f"'{folder / 'sweep.json'}' is damaged (its points are not what its runs come to); move it away and run `{writer}` again"
        )
    return results
