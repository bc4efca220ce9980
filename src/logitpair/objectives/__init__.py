"""Defenses, one a file. Yours is one class: subclass ``Objective`` and implement ``loss``."""

from logitpair.objectives.adversarial_logit_pairing import AdversarialLogitPairing
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import LossTerms, Objective
from logitpair.objectives.plain import Plain

__all__ = ["AdversarialLogitPairing", "AdversarialTraining", "LossTerms", "Objective", "Plain"]
