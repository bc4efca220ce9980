"""The commands that make the runs and the page again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from logitpair.report.records import Run, portable
from logitpair.report.text.format import arguments, class_name, exact
from logitpair.storage.results import BRANCHES, AuditResults, CertificateResults, EvaluationResults


def commands(runs: Sequence[Run], out: Path) -> list[str]:
    """Shell commands in the order they must run: training, evaluations, certificates, audits, the page."""
    trainings = [_train(run) for run in runs if run.recipe]
    evaluations = [_evaluate(run, evaluation) for run in runs for evaluation in run.evaluations]
    certificates = [_certify(run, run.certificate) for run in runs if run.certificate]
    audits = [_audit(run, run.audit) for run in runs if run.audit]
    page = shlex.join(["logitpair", "report", *(run.path for run in runs), "--out", portable(out)])
    return [*trainings, *evaluations, *certificates, *audits, page]


def _train(run: Run) -> str:
    words = ["logitpair", "train", str(run.recipe)]
    if run.training and run.training.processes > 1:
        words = ["torchrun", f"--nproc-per-node={run.training.processes}", "--no-python", *words]
    if run.settings.get("data", {}).get("init_args", {}).get("root"):
        words += ["--data-dir", "DIR"]
    if run.scale not in (None, "paper"):
        words += ["--scale", str(run.scale)]
    return shlex.join([*words, "--out", run.path, "--seed", str(run.settings.get("seed", 0))])


def _evaluate(run: Run, evaluation: EvaluationResults) -> str:
    used = evaluation.parameters
    own = {} if evaluation.network else used  # a network trained elsewhere has no recipe that would name them
    words = _attacks(used, run.settings.get("evaluation", {}).get("attacks", own)) + ["--worst-case-only"] * bool(evaluation.in_turn)
    return _command("evaluate", run, evaluation, words if evaluation.name == "test" else [*words, "--name", evaluation.name])


def _audit(run: Run, audit: AuditResults) -> str:
    recipe = next(iter(run.settings.get("evaluation", {}).get("attacks", {}).values()), None)
    precision = [] if audit.precision == "float32" else ["--precision", audit.precision]
    return _command("audit", run, audit, [*_attacks(audit.reference.parameters, recipe), "--budget", f"{audit.budget:g}", *precision])


def _certify(run: Run, certificate: CertificateResults) -> str:
    norm, eps = (class_name(certificate.threat) or "").lower(), arguments(certificate.threat)["eps"]
    branches = [] if certificate.branches in (None, BRANCHES) else ["--branches", str(certificate.branches)]
    options = ["--eps", exact(eps), "--norm", norm, "--method", certificate.methods[-1].name, *branches]
    return _command("certify", run, certificate, options)


def _command(command: str, run: Run, results: EvaluationResults | AuditResults | CertificateResults, options: list[str]) -> str:
    """The command with the network that it is about, its sources, its own options, checkpoint, number of images and seed."""
    words = ["logitpair", command, *(_network(run, results) if results.network else [run.path])]
    for name, source in results.sources.items():
        words += ["--source", f"{name}={portable(Path(source.run))}"]
    checkpoint = [] if results.checkpoint in (None, "last") else ["--checkpoint", results.checkpoint]
    return shlex.join([*words, *options, *checkpoint, "--examples", str(results.examples), "--seed", str(results.seed)])


def _network(run: Run, results: EvaluationResults | AuditResults | CertificateResults) -> list[str]:
    """The options of a network trained elsewhere and of its images, and where its results lie."""
    options = asdict(results.network) if results.network else {}
    options = {"model": options.pop("name", None), **options}
    if results.data:
        options |= {"size": results.data.size, "resize": results.data.resize, "grey": results.data.grey}
    words: list[str] = []
    for option, value in options.items():
        if value is True:
            words.append(f"--{option}")
        elif value not in (None, False):
            words += [f"--{option}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return [*words, "--data-dir", "DIR", "--out", run.path]


def _attacks(used: Any, recipe: Any) -> list[str]:
    return [] if _same(used, recipe) else ["--attacks", "ATTACKS.yaml"]


def _same(used: Any, written: Any) -> bool:
    """Whether an attack in full is the one that a recipe writes with shorter class paths, or none where the class is clear."""
    if not (isinstance(used, Mapping) and isinstance(written, Mapping)):
        return used == written
    classes = {class_name(used), class_name(written)} - {None}
    ours, theirs = arguments(used), arguments(written)
    return len(classes) < 2 and ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
