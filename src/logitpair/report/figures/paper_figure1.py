"""The paper's Figure 1: MNIST accuracy under PGD against the weight of clean logit pairing and of logit squeezing."""

from __future__ import annotations

from collections.abc import Sequence

from logitpair.report.figures.sweep_figures import Reference
from logitpair.report.records.sweep import Spread, SweepRecord, written

TITLE = "Figure 1: MNIST, PGD against the weight of the penalty"
CLP, SQUEEZING, NOISE = "mnist-clp", "mnist-squeezing", "mnist-noise"
PAPER = (
    Reference("Gaussian noise alone in the paper (about 25%)", 0.25, NOISE),
    Reference("logit squeezing in the paper (86.4%, Table 7)", 0.864, SQUEEZING),
)
_METHODS = {  # recipe: what it is, and the paper's white-box and clean accuracy in percent
    CLP: ("clean logit pairing", "in the figure only", "not given"),
    SQUEEZING: ("logit squeezing", "86.4", "99.0"),
    NOISE: ("Gaussian noise alone", "about 25", "not given"),
}
_NOTE = (
    "The weight is the one with the best white-box accuracy on held-out training images; accuracies are means over the seeds on test "
    "images (lowest - highest). A stronger attack lowers them: Mosbach et al. 2018 (arXiv 1810.12042) took clean logit pairing from "
    "62.4% to 4.1% and logit squeezing from 70.6% to 5.0%."
)
_SMALLER = "Scales other than the paper's are smaller networks or shorter trainings: their numbers do not reproduce the paper's."


def table(sweeps: Sequence[SweepRecord]) -> str:
    """Our numbers beside the paper's in Markdown: each method at its chosen weight, then every weight."""
    lines = [
        "| MNIST | weight | white box % | clean % | paper: white box % | paper: clean % | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for sweep in sweeps:
        name, *paper = _METHODS.get(sweep.name, (sweep.name, "-", "-"))
        point = sweep.chosen
        weight = ", ".join(map(written, point.settings.values())) if point and point.settings else "-"
        ours = [_percent(point.spreads[measure] if point else None) for measure in ("white_box", "clean")]
        done = sum(run.status == "finished" for run in sweep.runs)
        lines.append(f"| {' | '.join([name + sweep.at_scale, weight, *ours, *paper, f'{done} of {len(sweep.runs)}'])} |")
    notes = [_NOTE, *([_SMALLER] if any(sweep.at_scale for sweep in sweeps) else [])]
    lines += ["", " ".join(notes), "", "| method | weight | white box % | clean % | held-out white box % |", "|---|---|---|---|---|"]
    for sweep in sweeps:
        for point in sweep.points:
            values = [_percent(point.spreads[measure]) for measure in ("white_box", "clean", "validation_white_box")]
            weight = ", ".join(map(written, point.settings.values())) or "-"
            lines.append(f"| {' | '.join([_METHODS.get(sweep.name, (sweep.name,))[0] + sweep.at_scale, weight, *values])} |")
    attacks = list(dict.fromkeys(attack for sweep in sweeps for attack in sweep.attacks))
    hardware = list(dict.fromkeys(name for sweep in sweeps for name in sweep.hardware))
    return "\n".join([*lines, "", f"Attack: {'; '.join(attacks)}. Trained on: {'; '.join(hardware)}."]) + "\n"


def _percent(spread: Spread | None) -> str:
    if not spread:
        return "-"
    mean, low, high = (f"{100 * value:.1f}" for value in (spread.mean, spread.low, spread.high))
    return f"{mean} ({low} - {high})" if low != high else mean
