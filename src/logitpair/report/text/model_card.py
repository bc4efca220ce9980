"""What a hub shows beside a network: how robust it is, against what, how that was measured, and how all of it is made again."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from logitpair.errors import InputError
from logitpair.report.records import Run
from logitpair.report.text.commands import commands
from logitpair.report.text.format import call, interval, percent, settings_text
from logitpair.storage.results import Accuracy, Results

HEADER = {"library_name": "logitpair", "pipeline_tag": "image-classification", "tags": ["adversarial-robustness", "pytorch"]}
CAUTION = (
    "Robust accuracy is an upper bound: it is the share of test images that the attacks named did not break, and another attack may "
    "break more. The intervals tell what another draw of test images could change."
)
PROVEN = "Certified accuracy is a lower bound: of so many images it is proven that no change within the threat model misleads the network."
OVERRIDDEN = (
    "A recipe's settings may have been overridden in training. A YAML file of these lines, given to `logitpair train` in place of the "
    "recipe's name, trains with exactly those that were used:"
)


def model_card(run: Run, repository: str, weights: str) -> str:
    """The card of a run's network as Markdown.

    Args:
        run: the run, evaluated.
        repository: OWNER/NAME on the hub.
        weights: a SHA-256 of the network's parameters and buffers, as ``weights_of`` gives it.

    Raises:
        InputError: for a run that has no evaluation, and results of other weights than these.
    """
    if run.main is None:
        raise InputError(f"RUN: '{run.path}' has no evaluation; run `logitpair evaluate {run.path}` first")
    bound = [record for record in results_of(run, weights) if record.ledger_sha256]
    ledgers = "".join(f" Of the ledger of `{record.name}`, example by example: `{record.ledger_sha256}`." for record in bound)
    data = run.main.data.name if run.main.data else "its data"
    trained = f"by the recipe `{run.recipe}`{f' at scale {run.scale}' if run.scale not in (None, 'paper') else ''}"
    lines = [
        f"---\n{yaml.safe_dump(HEADER, sort_keys=False)}---",
        f"# {repository}",
        f"An image classifier for {data}, trained {trained} of logitpair {run.main.versions.get('logitpair', '')}.".replace(" .", "."),
        "| | accuracy | 95% interval | images | measured by |\n|---|---|---|---|---|\n" + "\n".join(_rows(run)),
        f"{CAUTION} {PROVEN if _certified(run) else ''}",
        f"```python\nimport logitpair as lp\n\nmodel = lp.models.read_model('hf:{repository}')  # images in [0, 1] to logits\n```",
        "Made by\n\n```sh\n" + "\n".join(commands([run], Path("report.html"))) + "\n```",
        f"{OVERRIDDEN}\n\n```yaml\n{settings_text({'run': run.settings})}```",
        f"SHA-256 of the parameters and buffers: `{weights}`.{ledgers}",
    ]
    return "\n\n".join(line.strip() for line in lines) + "\n"


def results_of(run: Run, weights: str) -> list[Results]:
    """The run's main evaluation, its certificate and its audit, of which those of other weights are refused."""
    results: list[Results] = [record for record in (run.main, run.certificate, run.audit) if record]
    if stale := [record.name for record in results if record.weights != weights]:
        raise InputError(
            f"RUN: the results '{stale[0]}' of '{run.path}' are of other weights than its checkpoint; evaluate, certify and audit again"
        )
    return results


def _certified(run: Run) -> tuple[Accuracy, str] | None:
    """What is proven, and how: by the run's certificate, or else by the one that its audit was given."""
    if run.certificate:
        methods = ", ".join(method.name for method in run.certificate.methods)
        return run.certificate.certified, f"`{call(run.certificate.threat)}`, {methods}"
    return (run.audit.certified, f"`{call(run.audit.threat)}`") if run.audit and run.audit.certified else None


def _rows(run: Run) -> Iterator[str]:
    if run.main:
        yield _row("clean", run.main.clean, "")
        for name, attack in run.main.attacks.items():
            yield _row(f"white box, {name}", attack, f"`{call(attack.parameters)}`")
        if len(run.main.parameters) > 1 or run.main.in_turn:
            yield _row("white box, any attack", run.main.white_box_union, "an image counts where none of them broke it")
        for name, black_box in run.main.black_box.items():
            yield _row(f"black box, images made against {name}", black_box, f"the worst of {len(black_box.attacks)}: {black_box.attack}")
    if run.audit:
        searched = f"`{call(run.audit.threat)}`, {run.audit.gradient_evaluations_per_example:,.0f} gradients an image"
        yield _row(f"audited: {run.audit.verdict}", run.audit.robust_accuracy, f"{searched}. {run.audit.reason}")
    if proven := _certified(run):
        yield _row("certified", *proven)


def _row(name: str, accuracy: Accuracy, how: str) -> str:
    cells = (name, percent(accuracy.top1), interval(accuracy), f"{accuracy.total:,}", how)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
