"""Run directories and evaluations made by hand, with nothing trained."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from msgspec.structs import replace

from logitpair.evaluation.confidence import wilson
from logitpair.report.pages.run_page import write_report
from logitpair.storage.result_files import write_record, write_results
from logitpair.storage.results import (
    Accuracy,
    AttackAccuracy,
    AttackInTurn,
    BlackBox,
    Broken,
    CurvePoint,
    DataSet,
    EvaluationResults,
    Hardware,
    SourceRun,
    StillCorrect,
    Training,
    WorstCase,
)

ATTACK = {
    "class_path": "logitpair.attacks.PGD",
    "init_args": {"threat": {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.2}}, "step_size": 0.02, "steps": 40},
}
WRITTEN = {"class_path": "logitpair.attacks.PGD", "init_args": {"threat": {"eps": 0.2}, "step_size": 0.02, "steps": 40}}
CLASSES = ("cat", "<script>alert(1)</script>", "dog")
X = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)
HARDWARE = Hardware(device="cpu", name="a processor", threads=1)
STEPS, RESTARTS = (190, 180, 150, 140), (140, 120, 110)


def counts(correct: int, total: int = 200) -> dict[str, Any]:
    """The fields of an accuracy."""
    return {"top1": correct / total, "correct": correct, "total": total, "ci95": wilson(correct, total)}


def accuracy(correct: int, total: int = 200) -> Accuracy:
    return Accuracy(**counts(correct, total))


def attack(correct: int, total: int = 200, **changes: Any) -> AttackAccuracy:
    """An accuracy under an attack."""
    cost = {"gradient_evaluations_per_example": 31.5, "forward_evaluations_per_example": 1.0, "seconds": 12.0, "largest_distance": 0.2}
    return AttackAccuracy(**(counts(correct, total) | {"parameters": ATTACK} | cost | changes))


def worst(correct: int, name: str = "pgd", **changes: Any) -> WorstCase:
    return WorstCase(**counts(correct), attack=name, **changes)


def curve(**points: int) -> tuple[CurvePoint, ...]:
    """Counts of correct images by radius: ``eps0_1=160``."""
    radii = {float(name.removeprefix("eps").replace("_", ".")): correct for name, correct in points.items()}
    return tuple(CurvePoint(**counts(correct), eps=eps, attack="pgd") for eps, correct in radii.items())


def black_box(correct: int, *attacks: tuple[str, int]) -> BlackBox:
    """A worst case on images made against another network."""
    known = {name: attack(count) for name, count in attacks or (("pgd", correct),)}
    return BlackBox(**counts(correct), attack=next(iter(known)), union=accuracy(correct), attacks=known)


def evaluation(still_correct: int = 137, **changes: Any) -> EvaluationResults:
    """Results of one attack in the white box and the black box."""
    fields: dict[str, Any] = {
        "schema": 2,
        "name": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "model": "Net",
        "examples": 200,
        "classes": 3,
        "clean": accuracy(193),
        "attacks": {"pgd": attack(still_correct)},
        "white_box": worst(still_correct, confusion=((40, 20, 10), (5, 50, 9), (1, 2, 63))),
        "white_box_union": accuracy(still_correct),
        "black_box": {"other": black_box(171)},
        "curve": curve(eps0=193, eps0_1=160, eps0_2=still_correct, eps0_5=0),
        "batch_size": 100,
        "seed": 7,
        "precision": "float32",
        "versions": {"torch": "2.13.0"},
        "hardware": HARDWARE,
        "wall_time_seconds": 90.0,
        "data": DataSet(name="pets", split="test", class_names=CLASSES),
        "sources": {"other": SourceRun(run="/somewhere/else/other", step=9)},
        "checkpoint": "last",
    }
    return EvaluationResults(**(fields | changes))


def suite(**changes: Any) -> EvaluationResults:
    """An evaluation with two attacks, one of which recorded how it went."""
    attacks = {
        "pgd": attack(110, still_correct=StillCorrect(steps=STEPS, restarts=RESTARTS), broken=Broken(total=83, first=83, alone=60)),
        "step": attack(150, broken=Broken(total=43, first=20, alone=7)),
    }
    return replace(evaluation(), **({"attacks": attacks, "white_box": worst(110), "white_box_union": accuracy(90)} | changes))


def in_turn(**changes: Any) -> EvaluationResults:
    """An evaluation of the worst case alone: 193 were right when clean, 90 are under both attacks."""
    cost = {"gradient_evaluations_per_example": 31.5, "forward_evaluations_per_example": 1.0, "seconds": 12.0}
    of_each = {"pgd": AttackInTurn(parameters=ATTACK, attacked=193, broken=83, **cost)}
    of_each["step"] = AttackInTurn(parameters=ATTACK, attacked=110, broken=20, **cost)
    return replace(suite(), **({"attacks": {}, "white_box": None, "in_turn": of_each} | changes))


def make_run(folder: Path, results: EvaluationResults | None = None) -> Path:
    """A run that was trained and evaluated."""
    settings = {
        "data": {"class_path": "logitpair.data.Folder", "init_args": {"root": "/home/somebody/pets"}},
        "objective": {"class_path": "logitpair.objectives.StandardTraining"},
        "evaluation": {"attacks": {"pgd": WRITTEN}},
        "epochs": 4.0,
        "seed": 3,
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"recipe": "pets-alp", "scale": "cpu", "run": settings}))
    lines = [{"step": 20, "epoch": 1.0, "loss": 1.5, "clean_loss": 1.2, "pairing": 0.3, "clean_accuracy": 0.5}]
    lines += [{"step": 40, "epoch": 2.0, "loss": 0.5, "clean_loss": 0.4, "pairing": 0.1, "clean_accuracy": 0.9, "validation_clean": 0.8}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    training = Training(steps=40, seconds=300.0, precision="float32", processes=1, versions={"torch": "2.13.0"}, hardware=HARDWARE)
    write_record(folder / "training.json", training)
    return add_evaluation(folder, results or evaluation())


def add_evaluation(folder: Path, results: EvaluationResults, **columns: Any) -> Path:
    """Another evaluation of the run, or its first; names of columns with ``__`` for the slash."""
    ledger: dict[str, Any] = {"y": [0, 1, 2], "clean__prediction": [0, 1, 0], "white_box__pgd__prediction": [2, 1, 0]}
    ledger |= {"gallery__x": X, "gallery__white_box__pgd": np.clip(X + 0.2, 0, 1)} | columns
    arrays = {name.replace("__", "/"): np.asarray(column) for name, column in ledger.items()}
    write_results(folder / "evaluation" / results.name, results, arrays)
    return folder


def damage(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def page_of(runs: list[Path], tmp_path: Path) -> str:
    """The report's HTML."""
    write_report(runs, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


class Tables(HTMLParser):
    """The text of every cell of every table, by the table's class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[list[str]]]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append((dict(attrs).get("class") or "", []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[-1][1][-1][-1] += " ".join(data.split())


def tables(page: str, style: str) -> list[list[list[str]]]:
    """The rows of every table of this class."""
    return [rows for found, rows in Tables(page).tables if found == style]
