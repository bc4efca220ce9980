"""Attacks, one family a file. Yours is one class: subclass ``Attack`` and implement ``search``."""

from logitpair.attacks.activation_search import ActivationSearch
from logitpair.attacks.apgd import APGD
from logitpair.attacks.backward_smoothing import SmoothBackward
from logitpair.attacks.base import Attack, AttackResult, Unperturbed
from logitpair.attacks.diversified_pgd import DiversifiedPGD
from logitpair.attacks.external import External
from logitpair.attacks.iterated_local_search import IteratedLocalSearch
from logitpair.attacks.n_fgsm import NFGSM
from logitpair.attacks.pgd import PGD, bim, fgsm, r_step
from logitpair.attacks.shorthand import grid, paper_suite, parse
from logitpair.attacks.smoothed_pgd import SmoothedPGD
from logitpair.attacks.square import Square
from logitpair.attacks.starts import BlockStart, SignStart
from logitpair.attacks.targets import LeastLikely, RandomTarget, Target

__all__ = [
    "APGD",
    "NFGSM",
    "PGD",
    "ActivationSearch",
    "Attack",
    "AttackResult",
    "BlockStart",
    "DiversifiedPGD",
    "External",
    "IteratedLocalSearch",
    "LeastLikely",
    "RandomTarget",
    "SignStart",
    "SmoothBackward",
    "SmoothedPGD",
    "Square",
    "Target",
    "Unperturbed",
    "bim",
    "fgsm",
    "grid",
    "paper_suite",
    "parse",
    "r_step",
]
