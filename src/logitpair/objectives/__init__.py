"""Defenses, one a file. Yours is one class: subclass ``Objective`` and implement ``loss``."""

from logitpair.objectives.adversarial_logit_pairing import AdversarialLogitPairing
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import LossTerms, Objective
from logitpair.objectives.certified_logit_pairing import CertifiedLogitPairing
from logitpair.objectives.clean_logit_pairing import CleanLogitPairing
from logitpair.objectives.ensemble_adversarial_training import EnsembleAdversarialTraining
from logitpair.objectives.feature_pairing import FeaturePairing
from logitpair.objectives.gaussian_noise import GaussianNoise
from logitpair.objectives.interval_bound_propagation import IntervalBoundPropagation
from logitpair.objectives.logit_squeezing import LogitSqueezing
from logitpair.objectives.mart import MART
from logitpair.objectives.mixup import Mixup
from logitpair.objectives.one_step_adversarial_training import OneStepAdversarialTraining
from logitpair.objectives.standard_training import StandardTraining
from logitpair.objectives.trades import TRADES
from logitpair.objectives.virtual_adversarial_training import VirtualAdversarialTraining

__all__ = [
    "MART",
    "TRADES",
    "AdversarialLogitPairing",
    "AdversarialTraining",
    "CertifiedLogitPairing",
    "CleanLogitPairing",
    "EnsembleAdversarialTraining",
    "FeaturePairing",
    "GaussianNoise",
    "IntervalBoundPropagation",
    "LogitSqueezing",
    "LossTerms",
    "Mixup",
    "Objective",
    "OneStepAdversarialTraining",
    "StandardTraining",
    "VirtualAdversarialTraining",
]
