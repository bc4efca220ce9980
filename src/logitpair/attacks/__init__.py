"""Attacks, one family a file. Yours is one class: subclass ``Attack``, implement ``search`` and ``scaled``."""

from logitpair.attacks.base import Attack, undisturbed
from logitpair.attacks.pgd import PGD
from logitpair.attacks.targets import LeastLikely, RandomTarget, Target
from logitpair.attacks.unperturbed import Unperturbed

__all__ = ["PGD", "Attack", "LeastLikely", "RandomTarget", "Target", "Unperturbed", "undisturbed"]
