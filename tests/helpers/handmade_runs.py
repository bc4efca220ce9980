"""Run directories and evaluations made by hand, with nothing trained."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from logitpair.evaluation.confidence import wilson
from logitpair.evaluation.result import Evaluation
from logitpair.report import write_report

ATTACK = {
    "class_path": "logitpair.attacks.PGD",
    "init_args": {"threat": {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.2}}, "step_size": 0.02, "steps": 40},
}
WRITTEN = {"class_path": "logitpair.attacks.PGD", "init_args": {"threat": {"eps": 0.2}, "step_size": 0.02, "steps": 40}}
CLASSES = ["cat", "<script>alert(1)</script>", "dog"]
X = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)


def entry(correct: int, total: int = 200) -> dict[str, Any]:
    """An accuracy's entry."""
    return {"top1": correct / total, "correct": correct, "total": total, "ci95": list(wilson(correct, total))}


def attacked(correct: int, total: int = 200, **changes: Any) -> dict[str, Any]:
    """An attack's entry."""
    cost = {"gradient_evaluations_per_example": 31.5, "seconds": 12.0, "largest_distance": 0.2}
    return entry(correct, total) | {"parameters": ATTACK} | cost | changes


def results(standing: int = 137, **changes: Any) -> dict[str, Any]:
    """The content of a results.json."""
    attack = attacked(standing)
    white_box = entry(standing) | {"attack": "pgd", "confusion": [[40, 20, 10], [5, 50, 9], [1, 2, 63]]}
    transfer = entry(171) | {"attack": "pgd", "union": entry(171), "attacks": {"pgd": attack | entry(171)}}
    return {
        "schema": 1,
        "kind": "evaluation",
        "name": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "examples": 200,
        "classes": 3,
        "clean": entry(193),
        "attacks": {"pgd": attack},
        "white_box": white_box,
        "white_box_union": entry(standing),
        "black_box": {"other": transfer},
        "curve": [{"eps": eps, **entry(correct)} for eps, correct in ((0.0, 193), (0.1, 160), (0.2, standing), (0.5, 0))],
        "seed": 7,
        "versions": {"torch": "2.13.0"},
        "hardware": {"name": "a processor"},
        "wall_time_seconds": 90.0,
        "data": {"name": "pets", "split": "test", "class_names": CLASSES},
        "sources": {"other": {"run": "/somewhere/else/other", "step": 9}},
        "checkpoint": "last",
    } | changes


def make_run(folder: Path, **changes: Any) -> Path:
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
    (folder / "training.json").write_text(json.dumps({"steps": 40, "seconds": 300.0, "precision": "float32", "processes": 1}))
    return add_evaluation(folder, results(**changes))


def add_evaluation(folder: Path, content: dict[str, Any]) -> Path:
    """Another evaluation of the run, or its first."""
    ledger = {"y": [0, 1, 2], "clean/prediction": [0, 1, 0], "white_box/pgd/prediction": [2, 1, 0]}
    images = {"gallery/x": X, "gallery/white_box/pgd": np.clip(X + 0.2, 0, 1)}
    columns = {name: np.asarray(column) for name, column in (ledger | images).items()}
    Evaluation(content, columns).save(folder / "evaluation" / content["name"])
    return folder


STANDING = {"steps": [190, 180, 150, 140], "restarts": [140, 120, 110]}


def suite(**changes: Any) -> dict[str, Any]:
    """An evaluation with two attacks, one of which tells how it went."""
    attacks = {
        "pgd": attacked(110, standing=STANDING, broken={"total": 83, "first": 83, "alone": 60}),
        "step": attacked(150, broken={"total": 43, "first": 20, "alone": 7}),
    }
    return results(attacks=attacks, white_box=entry(110) | {"attack": "pgd"}, white_box_union=entry(90)) | changes


def victim(correct: int, *attacks: tuple[str, int]) -> dict[str, Any]:
    """A source's part of an evaluation."""
    entries = {name: attacked(count) for name, count in attacks or (("pgd", correct),)}
    return entry(correct) | {"attack": next(iter(entries)), "union": entry(correct), "attacks": entries}


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
