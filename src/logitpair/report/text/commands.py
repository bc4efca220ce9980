"""The commands that make the runs and the page again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logitpair.report.records.audit import Audit
from logitpair.report.records.evaluation import Evaluation
from logitpair.report.records.run import Run, portable
from logitpair.report.text.format import arguments, class_name


def commands(runs: Sequence[Run], out: Path) -> list[str]:
    """Shell commands in the order they must run: training, evaluations, audits, the page."""
    trainings = [_train(run) for run in runs if run.recipe]
    evaluations = [_evaluate(run, evaluation) for run in runs for evaluation in run.evaluations]
    audits = [_audit(run, run.audit) for run in runs if run.audit]
    return [*trainings, *evaluations, *audits, shlex.join(["logitpair", "report", *(run.path for run in runs), "--out", portable(out)])]


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
    words = _command("evaluate", run, evaluation)
    used = {attack.name: attack.parameters for attack in evaluation.white_box.attacks}
    own = {} if evaluation.network else used  # a network of one's own has no recipe that would name them
    if not _same(used, run.settings.get("evaluation", {}).get("attacks", own)):
        words += ["--attacks", "ATTACKS.yaml"]
    if evaluation.name != "test":
        words += ["--name", evaluation.name]
    return shlex.join([*words, *_ending(evaluation)])


def _audit(run: Run, audit: Audit) -> str:
    words = _command("audit", run, audit)
    written = next(iter(run.settings.get("evaluation", {}).get("attacks", {}).values()), None)
    if not _same(audit.protocol.parameters, written):
        words += ["--attacks", "ATTACKS.yaml"]
    return shlex.join([*words, "--budget", f"{audit.budget:g}", *_ending(audit)])


def _command(command: str, run: Run, results: Evaluation | Audit) -> list[str]:
    """The command, the network it is about and its sources."""
    words = ["logitpair", command, *(_network(run, results.network) if results.network else [run.path])]
    for name, source in results.sources.items():
        words += ["--source", f"{name}={portable(Path(source['run']))}"]
    return words


def _ending(results: Evaluation | Audit) -> list[str]:
    """The checkpoint where it is not the usual one, the number of images, and the seed."""
    words = [] if results.checkpoint in (None, "last") else ["--checkpoint", str(results.checkpoint)]
    return [*words, "--examples", str(results.examples), "--seed", str(results.seed)]


def _network(run: Run, options: Mapping[str, Any]) -> list[str]:
    """The options that a network of one's own was evaluated with, and where its results lie."""
    words: list[str] = []
    for option, value in {"model": options["name"], **{key: value for key, value in options.items() if key != "name"}}.items():
        if value is True:
            words.append(f"--{option}")
        elif value not in (None, False):
            words += [f"--{option}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return [*words, "--data-dir", "DIR", "--out", run.path]


def _same(used: Any, written: Any) -> bool:
    """Whether an attack in full is the one that a recipe writes with shorter class paths, or none where the class is clear."""
    if not (isinstance(used, Mapping) and isinstance(written, Mapping)):
        return used == written
    classes = {class_name(used), class_name(written)} - {None}
    ours, theirs = arguments(used), arguments(written)
    return len(classes) < 2 and ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
