"""The commands that make the runs and the page again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from logitpair.report.load import Run, portable
from logitpair.report.records import Evaluation


def commands(runs: Sequence[Run], out: Path) -> str:
    """Shell commands in the order they must run: training, evaluations, the page."""
    trainings = [_train(run) for run in runs if run.recipe]
    evaluations = [_evaluate(run, evaluation) for run in runs for evaluation in run.evaluations]
    page = shlex.join(["logitpair", "report", *(run.path for run in runs), "--out", portable(out)])
    return "\n".join([*trainings, *evaluations, page])


def _train(run: Run) -> str:
    words = ["logitpair", "train", str(run.recipe)]
    processes = run.training.get("processes", 1)
    if processes > 1:
        words = ["torchrun", f"--nproc-per-node={processes}", "--no-python", *words]
    if run.settings.get("data", {}).get("init_args", {}).get("root"):
        words += ["--data-dir", "DIR"]
    if run.scale not in (None, "paper"):
        words += ["--scale", str(run.scale)]
    return shlex.join([*words, "--out", run.path, "--seed", str(run.settings.get("seed", 0))])


def _evaluate(run: Run, evaluation: Evaluation) -> str:
    words = ["logitpair", "evaluate", run.path]
    for name, path in evaluation.sources.items():
        words += ["--source", f"{name}={portable(Path(path))}"]
    if evaluation.name != "test":
        words += ["--name", evaluation.name]
    if evaluation.checkpoint not in (None, "last"):
        words += ["--checkpoint", evaluation.checkpoint]
    return shlex.join([*words, "--examples", str(evaluation.examples), "--seed", str(evaluation.seed)])
