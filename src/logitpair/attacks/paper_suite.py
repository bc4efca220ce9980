"""Sets of attacks: the paper's eight, and any of them over a grid of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from logitpair.attacks.pgd import PGD, bim, fgsm, r_step
from logitpair.attacks.shorthand import ITERATED, ONE_STEP, spell
from logitpair.attacks.targets import LeastLikely, RandomTarget
from logitpair.errors import InputError
from logitpair.threat import Linf

PAPER = ("stepll", "steprnd", "rstepll", "rsteprnd", "iterll", "iterrnd", "pgdll", "pgdrnd")


def paper_suite(*, eps: float, step_size: float, steps: int) -> dict[str, PGD]:
    """The paper's eight targeted attacks by name: one step or many, with or without noise, at the least likely or a random class.

    Args:
        eps: radius of the ball, in the pixels' unit; also the length of the one-step attacks.
        step_size: length of a step of Iter and PGD, in the pixels' unit.
        steps: gradient steps of Iter and PGD.

    Raises:
        InputError: for ``eps`` or ``step_size`` not above 0, or ``steps`` below 1.

    Source: arXiv 1803.06373, section 5; its numbers on ImageNet are the lowest over these, up to eps 16/255, step size 2/255, 10 steps.
    Departs from it in leaving an example at the first iterate that is misclassified (and R+Step's noise is one);
    ``without_early_stop`` goes on to the last step, which top-5 accuracy needs.
    """
    ball = Linf(eps)
    least_likely, random = LeastLikely(), RandomTarget()
    return {
        "step_ll": fgsm(ball, target=least_likely),
        "step_rand": fgsm(ball, target=random),
        "r_step_ll": r_step(ball, target=least_likely),
        "r_step_rand": r_step(ball, target=random),
        "iter_ll": bim(ball, step_size=step_size, steps=steps, target=least_likely),
        "iter_rand": bim(ball, step_size=step_size, steps=steps, target=random),
        "pgd_ll": PGD(ball, step_size=step_size, steps=steps, target=least_likely),
        "pgd_rand": PGD(ball, step_size=step_size, steps=steps, target=random),
    }


def grid(*, eps: Sequence[float], step_size: Sequence[float], steps: Sequence[int], kinds: Sequence[str] = PAPER) -> dict[str, PGD]:
    """Attacks at every combination of sizes, by shorthand (``pgdll_16_2_10``); of one-step attacks, at every ``eps``.

    Args:
        eps: radii, in the pixels' unit.
        step_size: lengths of a step, in the pixels' unit.
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
    attacks: dict[str, PGD] = {}
    for kind, radius, length, number in product(kinds, eps, step_size, steps):
        name, ball = spell(kind, radius, length, number), Linf(radius)
        attacks[name] = ONE_STEP[kind](ball) if kind in ONE_STEP else ITERATED[kind](ball, step_size=length, steps=number)
    return attacks
