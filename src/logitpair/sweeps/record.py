"""``sweep.json``: what became of every run, and what the runs of a point say together. Its keys are described in docs/results.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write, read_json_lines
from logitpair.storage.schema1 import read_results

SCHEMA = 1
MEASURES = ("validation_clean", "validation_white_box", "clean", "white_box")
"""What is summarized over seeds: accuracies on held-out training images, then on test images."""


def finished(run: Path) -> dict[str, Any]:
    """The part of a run's entry that its own files tell, once it is trained and evaluated.

    Raises:
        InputError: if one of them is missing or damaged.
    """
    validations = [line for line in read_json_lines(run / "metrics.jsonl") if "validation_white_box" in line]
    results = read_results(run / "evaluation" / "test" / "results.json")
    try:
        training = json.loads((run / "training.json").read_text())
        white_box = results["white_box"]
        parameters = results["attacks"][white_box["attack"]]["parameters"]
        return {
            "status": "finished",
            "message": None,
            "validation_clean": validations[-1]["validation_clean"],
            "validation_white_box": validations[-1]["validation_white_box"],
            "clean": _accuracy(results["clean"]),
            "white_box": _accuracy(white_box) | {"attack": white_box["attack"], "parameters": parameters},
            "evaluated": results["created"],
            "seconds": {"training": training["seconds"], "evaluation": results["wall_time_seconds"]},
            "hardware": training["hardware"],
        }
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"'{run}' holds a damaged or unfinished run; delete it and start the sweep again") from error


def same_request(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two entries ask for the same run and the same evaluation, whatever became of them."""
    return all(old.get(key) == value for key, value in new.items() if key not in ("status", "message"))


def still_finished(entry: Mapping[str, Any], run: Path) -> bool:
    """Whether the files that a finished run's entry was made from are still there, and its evaluation still the same."""
    try:
        return entry["status"] == "finished" and finished(run)["evaluated"] == entry["evaluated"]
    except InputError:
        return False


def failed(message: str) -> dict[str, Any]:
    """The part of an entry that tells why there is no result."""
    return {"status": "failed", "message": message}


def summarize(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a grid point: how many runs finished and failed, and mean, min, max and deviation of each measure over them."""
    points: list[dict[str, Any]] = []
    for settings in _distinct([run["settings"] for run in runs]):
        own = [run for run in runs if run["settings"] == settings]
        done = [run for run in own if run["status"] == "finished"]
        point = {"settings": settings, "runs": len(own), "finished": len(done), "failed": sum(run["status"] == "failed" for run in own)}
        points.append(point | {measure: spread([_top1(run[measure]) for run in done]) for measure in MEASURES})
    return points


def best(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The point with the highest mean white-box accuracy on held-out training images, the first of equals; never by test images.

    Only points whose runs all finished are candidates: a mean over the seeds that did not diverge would flatter.
    """
    whole = [point for point in points if point["finished"] == point["runs"]]
    if not whole:
        return None
    chosen = max(whole, key=lambda point: point["validation_white_box"]["mean"])
    return {"settings": chosen["settings"], "validation_white_box": chosen["validation_white_box"]["mean"]}


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, min and max, with two or more values also the sample standard deviation; None without any."""
    if not values:
        return None
    result = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    return result | ({"std": statistics.stdev(values)} if len(values) > 1 else {})


def write(folder: Path, head: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write ``sweep.json``, whole or not at all, and return its content.

    Args:
        folder: of the sweep.
        head: ``recipe``, ``scale``, ``overrides``, ``axes`` and ``seeds``.
        runs: an entry a run.
    """
    points = summarize(runs)
    content = {"schema": SCHEMA, "kind": "sweep", **head, "runs": list(runs), "points": points, "best": best(points)}
    atomic_write(folder / "sweep.json", json.dumps(content, indent=2) + "\n")
    return content


def read(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``sweep.json``.

    Raises:
        InputError: if it is missing or damaged, or of another schema.
    """
    path = folder / "sweep.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged; run `logitpair sweep` again, into another folder") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(f"'{path}' has schema {schema}, this version reads {SCHEMA}")
    return content


def _accuracy(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("top1", "correct", "total", "ci95")}


def _top1(measure: Any) -> float:
    return measure["top1"] if isinstance(measure, dict) else measure


def _distinct(items: Sequence[Any]) -> list[Any]:
    return [item for i, item in enumerate(items) if item not in items[:i]]
