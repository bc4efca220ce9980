"""Attacks, one family a file. Yours is one class: subclass ``Attack``, implement ``search`` and ``scaled``."""

from logitpair.attacks.apgd import APGD
from logitpair.attacks.base import Attack, Found, undisturbed
from logitpair.attacks.pgd import PGD, bim, fgsm, r_step
from logitpair.attacks.shorthand import parse
from logitpair.attacks.square import Square
from logitpair.attacks.starts import SignStart
from logitpair.attacks.suite import grid, paper_suite
from logitpair.attacks.targets import LeastLikely, RandomTarget, Target
from logitpair.attacks.unperturbed import Unperturbed

__all__ = [
    "APGD",
    "PGD",
    "Attack",
    "Found",
    "LeastLikely",
    "RandomTarget",
    "SignStart",
    "Square",
    "Target",
    "Unperturbed",
    "bim",
    "fgsm",
    "grid",
    "paper_suite",
    "parse",
    "r_step",
    "undisturbed",
]
