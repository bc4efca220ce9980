"""Sets of attacks: the paper's eight, and any of them over a grid of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from logitpair.attacks.pgd import PGD
from logitpair.attacks.shorthand import ITERATED, ONE_STEP, build, spell
from logitpair.errors import InputError

PAPER = {
    "step_ll": "stepll",
    "step_rand": "steprnd",
    "r_step_ll": "rstepll",
    "r_step_rand": "rsteprnd",
    "iter_ll": "iterll",
    "iter_rand": "iterrnd",
    "pgd_ll": "pgdll",
    "pgd_rand": "pgdrnd",
}


def paper_suite(*, eps: float, step_size: float, steps: int) -> dict[str, PGD]:
    """The paper's eight targeted attacks by name: one step or many, with or without noise, towards the least likely or a random class.

    Args:
        eps: radius of the ball, in [0, 1] pixel scale; also the length of the one-step attacks.
        step_size: length of a step of Iter and PGD, likewise.
        steps: gradient steps of Iter and PGD.

    Raises:
        InputError: for ``eps`` or ``step_size`` not above 0, or ``steps`` below 1.

    Source: arXiv 1803.06373, section 5; its numbers on ImageNet are the lowest over these, up to eps 16/255, step size 2/255, 10 steps.
    Departs from it in leaving an example at the first iterate that is misclassified (and R+Step's noise is one);
    ``without_early_stop`` goes on to the last step, which top-5 accuracy needs.
    """
    return {name: build(kind, eps, step_size, steps) for name, kind in PAPER.items()}


def grid(
    *, eps: Sequence[float], step_size: Sequence[float], steps: Sequence[int], kinds: Sequence[str] = tuple(PAPER.values())
) -> dict[str, PGD]:
    """Attacks at every combination of sizes, by shorthand (``pgdll_16_2_10``); of one-step attacks, at every ``eps``.

    Args:
        eps: radii, in [0, 1] pixel scale.
        step_size: lengths of a step, likewise.
        steps: numbers of gradient steps.
        kinds: names as in ``parse``; the paper's eight by default.

    Raises:
        InputError: for an empty list, an unknown kind, or a size or number out of range.

    Source: arXiv 1803.06373, section 5 (the lowest accuracy over all attacks and sizes tried).
    """
    for name, values in (("eps", eps), ("step_size", step_size), ("steps", steps), ("kinds", kinds)):
        if not values:
            raise InputError(f"{name} is empty; it must hold at least one value")
    unknown = [kind for kind in kinds if kind not in ONE_STEP | ITERATED]
    if unknown:
        raise InputError(f"kinds: no attack '{unknown[0]}'; accepted: {', '.join(ONE_STEP | ITERATED)}")
    return {spell(*sizes): build(*sizes) for sizes in product(kinds, eps, step_size, steps)}
