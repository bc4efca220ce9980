"""Attacks by the names of the authors' released code (``pgdll_16_2_10``): one, the paper's eight, or a grid of sizes."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from logitpair.attacks.pgd import PGD, bim, fgsm, r_step
from logitpair.attacks.targets import LeastLikely, RandomTarget
from logitpair.errors import InputError
from logitpair.threat import L2, Linf, Threat
from logitpair.validate import kind_of

NORMS: dict[str, tuple[type[Threat], int]] = {"": (Linf, 255), "l2": (L2, 1)}  # by prefix, with the whole range of a pixel in its unit
ONE_STEP: dict[str, Callable[[Threat], PGD]] = {
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
    f"KIND_EPS ({', '.join(ONE_STEP)}) or KIND_EPS_STEPSIZE_STEPS ({', '.join(ITERATED)}), in 1/255, such as pgdll_16_2_10, "
    "or after l2 in the L2 norm, as in l2pgd_0.5_0.05_40; xRESTARTS may follow where the start is random, as in pgd_76.5_2.55_40x50"
)
LARGE = 16.0  # a radius in L2, by which most images of 32 x 32 pixels become any other
_NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_FORM = re.compile(rf"(l2)?([a-z]+)_({_NUMBER})(?:_({_NUMBER})_(\d{{1,9}}))?(?:x(\d{{1,9}}))?", re.ASCII)


def parse(text: str) -> PGD:
    """The attack that a shorthand such as ``pgdll_16_2_10`` names.

    Args:
        text: ``KIND_EPS`` of ``fgsm``, ``stepll``, ``steprnd``, ``rstepll``, ``rsteprnd``, or ``KIND_EPS_STEPSIZE_STEPS`` of ``bim``,
            ``iterll``, ``iterrnd``, ``pgd``, ``pgdll``, ``pgdrnd``; sizes in 1/255, decimals allowed. ``ll`` and ``rnd`` are targeted.
            ``x50`` at the end asks for 50 restarts. After ``l2``, as in ``l2pgd_0.5_0.05_40``, the ball is of Euclidean distance and
            sizes are in [0, 1] pixel scale.

    Raises:
        InputError: for anything else, for a size or number out of range, for sizes that are meant in [0, 1] (an ``eps`` below 1 but for
            eighths, and steps that cannot leave the middle tenth of the ball), and for restarts of an attack that would repeat itself.

    Source: the released code of arXiv 1803.06373, which knows ``pgd``, ``pgdll`` and ``pgdrnd``. Departs from it in ascending the loss of
    the true class, not of the predicted one, in ``pgd``, and in that the true class is never the target.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{text!r} is no text; accepted: {ACCEPTED}")
    prefix, kind, eps, step_size, steps, restarts = match.groups("") if (match := _FORM.fullmatch(text)) else [""] * 6
    try:
        if not (kind in ONE_STEP and not steps) and not (kind in ITERATED and steps):
            raise InputError(f"no such attack; accepted: {ACCEPTED}")
        radius, step, count = float(eps), float(step_size or 0), int(steps or 1)
        norm, unit = NORMS[prefix]
        if unit > 1:
            _refuse_slips(eps, step_size, count)
        elif radius > LARGE:
            warnings.warn(f"'{text}': eps is in [0, 1] pixel scale; where {eps}/255 is meant, write {radius / 255:.5g}", stacklevel=2)
        attack = build(kind, norm(radius / unit), step / unit, count)
        if restarts and not attack.random_start:
            raise InputError(f"{prefix}{kind} starts at the image, where a restart would repeat it; accepted: {text.rpartition('x')[0]}")
        return replace(attack, restarts=int(restarts or 1))
    except InputError as error:
        raise InputError(f"'{text}': {error}") from error


def _refuse_slips(eps: str, step_size: str, count: int) -> None:
    """Refuse sizes that can hardly be meant in 1/255."""
    radius, step = float(eps), float(step_size or 0)
    if radius > 255:
        raise InputError(f"eps is in 1/255 and at most 255, not {eps}")
    if radius < 1 and 8 * radius % 1:
        raise InputError(f"eps is in 1/255, where {eps} is less than a grey level; {255 * radius:g} is {eps} of the whole range")
    if 0 < step < 1 and count * step < radius / 10:
        whole = f"{255 * step:g} is {step_size} of the whole range"
        raise InputError(f"the step size is in 1/255, and {count} of {step_size} lead nowhere in a ball of {eps}; {whole}")


def build(kind: str, threat: Threat, step_size: float, steps: int) -> PGD:
    """The attack of a kind; one of a single step ignores ``step_size``, in [0, 1] pixel scale, and ``steps``."""
    return ONE_STEP[kind](threat) if kind in ONE_STEP else ITERATED[kind](threat, step_size=step_size, steps=steps)


def spell(kind: str, threat: Threat, step_size: float, steps: int) -> str:
    """The shorthand of what ``build`` makes of the same arguments."""
    prefix, unit = next((prefix, unit) for prefix, (norm, unit) in NORMS.items() if type(threat) is norm)
    name = f"{prefix}{kind}_{unit * threat.eps:.12g}"
    return name if kind in ONE_STEP else f"{name}_{unit * step_size:.12g}_{steps}"


def paper_suite(*, eps: float, step_size: float, steps: int, early_stop: bool = True, norm: type[Threat] = Linf) -> dict[str, PGD]:
    """The paper's eight targeted attacks by name: one step or many, with or without noise, towards the least likely or a random class.

    Args:
        eps: radius of the ball, above 0, in [0, 1] pixel scale; also the length of the one-step attacks.
        step_size, steps: of Iter and PGD, see ``PGD``.
        early_stop: False searches on to the last step, which top-5 accuracy needs.
        norm: of the ball: ``lp.Linf`` or ``lp.L2``.

    Source: arXiv 1803.06373, section 5; its numbers on ImageNet are the lowest over these, up to eps 16/255, step size 2/255, 10 steps.
    Departs from it, unless ``early_stop`` is False, in leaving an example at the first iterate that is misclassified (and R+Step's
    noise is one).
    """
    if not (isinstance(norm, type) and issubclass(norm, Threat)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"norm must be a kind of ball, logitpair.Linf or logitpair.L2, not {kind_of(norm)}")
    return {name: replace(build(kind, norm(eps), step_size, steps), early_stop=early_stop) for name, kind in PAPER.items()}


def grid(
    *,
    eps: Sequence[float],
    step_size: Sequence[float],
    steps: Sequence[int],
    kinds: Sequence[str] = tuple(PAPER.values()),
    norm: type[Threat] = Linf,
) -> dict[str, PGD]:
    """Attacks at every combination of sizes, by shorthand (``pgdll_16_2_10``); of one-step attacks, at every ``eps``.

    Args:
        eps: radii, in [0, 1] pixel scale.
        step_size, steps: of the attacks of several steps, see ``PGD``.
        kinds: names as in ``parse``; the paper's eight by default.
        norm: of the balls: ``lp.Linf`` or ``lp.L2``.

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
    if norm not in [known for known, _ in NORMS.values()]:
        raise InputError(f"norm: {kind_of(norm)} has no shorthands; accepted: logitpair.Linf, logitpair.L2")
    return {spell(*sizes): build(*sizes) for sizes in product(kinds, map(norm, eps), step_size, steps)}
