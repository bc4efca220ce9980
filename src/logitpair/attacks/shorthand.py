"""Attacks by the names of the authors' released code (``pgdll_16_2_10``): one, the paper's eight, or a grid of sizes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from logitpair.attacks.pgd import PGD, bim, fgsm, r_step
from logitpair.attacks.targets import LeastLikely, RandomTarget
from logitpair.errors import InputError
from logitpair.threat import Linf

ONE_STEP: dict[str, Callable[[Linf], PGD]] = {
    "fgsm": fgsm,
    "stepll": partial(fgsm, target=LeastLikely()),
    "steprnd": partial(fgsm, target=RandomTarget()),
    "rstepll": partial(r_step, target=LeastLikely()),
    "rsteprnd": partial(r_step, target=RandomTarget()),
}
ITERATED: dict[str, Callable[..., PGD]] = {
    "bim": bim,
    "iterll": partial(bim, target=LeastLikely()),
    "iterrnd": partial(bim, target=RandomTarget()),
    "pgd": PGD,
    "pgdll": partial(PGD, target=LeastLikely()),
    "pgdrnd": partial(PGD, target=RandomTarget()),
}
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
ACCEPTED = (
    f"KIND_EPS ({', '.join(ONE_STEP)}) or KIND_EPS_STEPSIZE_STEPS ({', '.join(ITERATED)}), in 1/255, such as pgdll_16_2_10; "
    "xRESTARTS may follow where the start is random, as in pgd_76.5_2.55_40x50"
)
_NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_FORM = re.compile(rf"([a-z]+)_({_NUMBER})(?:_({_NUMBER})_(\d{{1,9}}))?(?:x(\d{{1,9}}))?", re.ASCII)


def parse(text: str) -> PGD:
    """The attack that a shorthand such as ``pgdll_16_2_10`` names.

    Args:
        text: ``KIND_EPS`` of ``fgsm``, ``stepll``, ``steprnd``, ``rstepll``, ``rsteprnd``, or ``KIND_EPS_STEPSIZE_STEPS`` of ``bim``,
            ``iterll``, ``iterrnd``, ``pgd``, ``pgdll``, ``pgdrnd``; sizes in 1/255, decimals allowed. ``ll`` and ``rnd`` are targeted.
            ``x50`` at the end asks for 50 restarts.

    Raises:
        InputError: for anything else, for a size or number out of range, for sizes that are meant in [0, 1] (an ``eps`` below 1 but for
            eighths, and steps that cannot leave the middle tenth of the ball), and for restarts of an attack that would repeat itself.

    Source: the released code of arXiv 1803.06373, which knows ``pgd``, ``pgdll`` and ``pgdrnd``. Departs from it in ascending the loss of
    the true class, not of the predicted one, in ``pgd``, and in that the true class is never the target.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{text!r} is no text; accepted: {ACCEPTED}")
    kind, eps, step_size, steps, restarts = match.groups("") if (match := _FORM.fullmatch(text)) else [""] * 5
    try:
        if not (kind in ONE_STEP and not steps) and not (kind in ITERATED and steps):
            raise InputError(f"no such attack; accepted: {ACCEPTED}")
        radius, step, count = float(eps), float(step_size or 0), int(steps or 1)
        if radius > 255:
            raise InputError(f"eps is in 1/255 and at most 255, not {eps}")
        if radius < 1 and 8 * radius % 1:
            raise InputError(f"eps is in 1/255, where {eps} is less than a grey level; {255 * radius:g} is {eps} of the whole range")
        if 0 < step < 1 and count * step < radius / 10:
            whole = f"{255 * step:g} is {step_size} of the whole range"
            raise InputError(f"the step size is in 1/255, and {count} of {step_size} lead nowhere in a ball of {eps}; {whole}")
        attack = build(kind, radius / 255, step / 255, count)
        if restarts and not attack.random_start:
            raise InputError(f"{kind} starts at the image, where a restart would repeat it; accepted: {text.rpartition('x')[0]}")
        return replace(attack, restarts=int(restarts or 1))
    except InputError as error:
        raise InputError(f"'{text}': {error}") from error


def build(kind: str, eps: float, step_size: float, steps: int) -> PGD:
    """The attack of a kind, sizes in [0, 1] pixel scale; one of a single step ignores ``step_size`` and ``steps``."""
    return ONE_STEP[kind](Linf(eps)) if kind in ONE_STEP else ITERATED[kind](Linf(eps), step_size=step_size, steps=steps)


def spell(kind: str, eps: float, step_size: float, steps: int) -> str:
    """The shorthand of what ``build`` makes of the same arguments."""
    name = f"{kind}_{255 * eps:.12g}"
    return name if kind in ONE_STEP else f"{name}_{255 * step_size:.12g}_{steps}"


def paper_suite(*, eps: float, step_size: float, steps: int, early_stop: bool = True) -> dict[str, PGD]:
    """The paper's eight targeted attacks by name: one step or many, with or without noise, towards the least likely or a random class.

    Args:
        eps: radius of the ball, above 0, in [0, 1] pixel scale; also the length of the one-step attacks.
        step_size, steps: of Iter and PGD, see ``PGD``.
        early_stop: False searches on to the last step, which top-5 accuracy needs.

    Source: arXiv 1803.06373, section 5; its numbers on ImageNet are the lowest over these, up to eps 16/255, step size 2/255, 10 steps.
    Departs from it, unless ``early_stop`` is False, in leaving an example at the first iterate that is misclassified (and R+Step's
    noise is one).
    """
    return {name: replace(build(kind, eps, step_size, steps), early_stop=early_stop) for name, kind in PAPER.items()}


def grid(
    *, eps: Sequence[float], step_size: Sequence[float], steps: Sequence[int], kinds: Sequence[str] = tuple(PAPER.values())
) -> dict[str, PGD]:
    """Attacks at every combination of sizes, by shorthand (``pgdll_16_2_10``); of one-step attacks, at every ``eps``.

    Args:
        eps: radii, in [0, 1] pixel scale.
        step_size, steps: of the attacks of several steps, see ``PGD``.
        kinds: names as in ``parse``; the paper's eight by default.

    Raises:
        InputError: for an empty list, an unknown kind, or a size or number out of range.

    Source: arXiv 1803.06373, section 5 (the lowest accuracy over all attacks and sizes tried).
    """
    for name, values in (("eps", eps), ("step_size", step_size), ("steps", steps), ("kinds", kinds)):
        if isinstance(values, str) or not isinstance(values, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{name} must be a list of values, not {values!r}")
        if not values:
            raise InputError(f"{name} is empty; it must hold at least one value")
    unknown = [kind for kind in kinds if kind not in ONE_STEP | ITERATED]
    if unknown:
        raise InputError(f"kinds: no attack '{unknown[0]}'; accepted: {', '.join(ONE_STEP | ITERATED)}")
    return {spell(*sizes): build(*sizes) for sizes in product(kinds, eps, step_size, steps)}
