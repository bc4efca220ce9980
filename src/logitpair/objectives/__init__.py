"""Defenses, one a file. Yours is one class: subclass ``Objective`` and implement ``loss``."""

from logitpair.objectives.adversarial_logit_pairing import AdversarialLogitPairing
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import LossTerms, Objective
from logitpair.objectives.label_smoothing import LabelSmoothing
from logitpair.objectives.mart import MART
from logitpair.objectives.mixup import Mixup
from logitpair.objectives.plain import Plain
from logitpair.objectives.trades import TRADES
from logitpair.objectives.virtual_adversarial_training import VirtualAdversarialTraining

__all__ = [
    "MART",
    "TRADES",
    "AdversarialLogitPairing",
    "AdversarialTraining",
    "LabelSmoothing",
    "LossTerms",
    "Mixup",
    "Objective",
    "Plain",
    "VirtualAdversarialTraining",
]
