"""The paper's Figure 1: MNIST accuracy under PGD against the weight of clean logit pairing and of logit squeezing."""

from collections.abc import Sequence

from logitpair.evaluation.confidence import mean_and_range
from logitpair.evaluation.result import markdown
from logitpair.report.figures.sweep_figures import Reference
from logitpair.report.records import attacks_and_hardware, best_point, name_of
from logitpair.report.text.format import value_text
from logitpair.storage.results import SweepPoint, SweepResults

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
_SMALLER = " Scales other than the paper's are smaller networks or shorter trainings: their numbers do not reproduce the paper's."


def table(sweeps: Sequence[SweepResults]) -> str:
    """Our numbers beside the paper's in Markdown: each method at its chosen weight, then every weight."""
    chosen = [["MNIST", "weight", "white box %", "clean %", "paper: white box %", "paper: clean %", "runs"]]
    every = [["method", "weight", "white box %", "clean %", "held-out white box %"]]
    for sweep in sweeps:
        method, *paper = _METHODS.get(sweep.recipe, (sweep.recipe, "-", "-"))
        name, point = name_of(sweep).replace(sweep.recipe, method), best_point(sweep)
        ours = [mean_and_range(point and point.white_box), mean_and_range(point and point.clean)]
        done = sum(run.status == "finished" for run in sweep.runs)
        chosen.append([name, _weight(point), *ours, *paper, f"{done} of {len(sweep.runs)}"])
        every += [[name, _weight(p), *map(mean_and_range, (p.white_box, p.clean, p.validation_white_box))] for p in sweep.points]
    note = _NOTE + (_SMALLER if any(sweep.scale != "paper" for sweep in sweeps) else "")
    attacks, hardware = attacks_and_hardware(sweeps)
    ending = f"Attack: {'; '.join(attacks)}. Trained on: {'; '.join(hardware)}."
    return "\n\n".join((markdown(chosen[0], chosen[1:]), note, markdown(every[0], every[1:]), ending)) + "\n"


def _weight(point: SweepPoint | None) -> str:
    return (", ".join(map(value_text, point.settings.values())) if point else "") or "-"
