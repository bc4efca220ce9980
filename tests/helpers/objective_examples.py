"""One example at least of every objective, and what its total is made of; ``test_objectives.py`` holds all of them to the contract."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.objectives import (
    MART,
    TRADES,
    AdversarialLogitPairing,
    AdversarialTraining,
    CertifiedLogitPairing,
    CleanLogitPairing,
    EnsembleAdversarialTraining,
    FeaturePairing,
    GaussianNoise,
    IntervalBoundPropagation,
    LogitSqueezing,
    Mixup,
    Objective,
    OneStepAdversarialTraining,
    StandardTraining,
    VirtualAdversarialTraining,
)
from logitpair.objectives.virtual_adversarial_training import linf_ascent

ATTACK = lp.attacks.PGD(lp.Linf(0.1), step_size=0.04, steps=3)
ROUND = lp.attacks.PGD(lp.L2(0.5), step_size=0.2, steps=3)


def other_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(9)
        return lp.models.SmallConvNet(width=2).eval()


SOURCE = other_network()

EXAMPLES: dict[str, dict[str, Objective]] = {
    "StandardTraining": {"default": StandardTraining(), "smoothed": StandardTraining(label_smoothing=0.1)},
    "AdversarialTraining": {
        "mixed": AdversarialTraining(ATTACK),
        "pgd_training": AdversarialTraining(ATTACK, clean_weight=0),
        "mostly_clean": AdversarialTraining(ATTACK, clean_weight=0.8, warmup=2),
        "l2": AdversarialTraining(ROUND, warmup=2),
    },
    "AdversarialLogitPairing": {
        "default": AdversarialLogitPairing(ATTACK),
        "sum": AdversarialLogitPairing(ATTACK, weight=1.0, pairing=lp.losses.squared_l2_sum, warmup=1.5),
        "l1": AdversarialLogitPairing(ATTACK, weight=0.25, pairing=lp.losses.l1_mean, clean_weight=0.0),
        "huber": AdversarialLogitPairing(ATTACK, weight=2, pairing=lp.losses.huber_mean, clean_weight=0.3),
        "plain_norm": AdversarialLogitPairing(ATTACK, pairing=lp.losses.l2, weight_warmup=2),
        "weight_0": AdversarialLogitPairing(ATTACK, weight=0),
        "l2": AdversarialLogitPairing(ROUND),
    },
    "CleanLogitPairing": {
        "default": CleanLogitPairing(),
        "unclipped": CleanLogitPairing(weight=2, noise=0.25, clip=False, weight_warmup=1.5),
        "sum": CleanLogitPairing(pairing=lp.losses.squared_l2_sum),
    },
    "LogitSqueezing": {
        "default": LogitSqueezing(),
        "plain_norm": LogitSqueezing(penalty=lp.losses.l2, weight=0.1, weight_warmup=3),
        "unclipped": LogitSqueezing(weight=0.2, clip=False),
    },
    "GaussianNoise": {"default": GaussianNoise(), "unclipped": GaussianNoise(noise=0.2, clip=False)},
    "OneStepAdversarialTraining": {
        "step_ll": OneStepAdversarialTraining(lp.Linf(0.1)),
        "l2": OneStepAdversarialTraining(lp.L2(0.5), warmup=2),
        "untargeted": OneStepAdversarialTraining(lp.Linf(0.1), target=None, weight=1, adversarial_share=0.8, warmup=2),
    },
    "EnsembleAdversarialTraining": {
        "default": EnsembleAdversarialTraining(ATTACK, sources=(SOURCE,)),
        "mostly_clean": EnsembleAdversarialTraining(ATTACK, sources=(SOURCE, SOURCE), clean_weight=0.7, warmup=2),
    },
    "Mixup": {"default": Mixup(), "hardly": Mixup(alpha=0.2)},
    "VirtualAdversarialTraining": {
        "default": VirtualAdversarialTraining(eps=1),
        "linf": VirtualAdversarialTraining(eps=0.1, ascent=linf_ascent, divergence=lp.losses.kl_to_clean, weight=4, power_iterations=2),
    },
    "TRADES": {"default": TRADES(ATTACK), "warmed_up": TRADES(ATTACK, weight=1, warmup=3), "l2": TRADES(ROUND)},
    "MART": {"default": MART(ATTACK), "warmed_up": MART(ATTACK, weight=2, warmup=3)},
    "FeaturePairing": {  # "" names the model itself, whatever it is made of
        "instead_of_logits": FeaturePairing(ATTACK, layers=("",)),
        "besides_logits": FeaturePairing(ATTACK, layers=("",), weight=0.3, logit_weight=0.7, warmup=2),
        "l1": FeaturePairing(ATTACK, layers=("",), pairing=lp.losses.l1_mean, clean_weight=0.2),
    },
    "IntervalBoundPropagation": {
        "default": IntervalBoundPropagation(lp.Linf(0.1)),
        "warmed_up": IntervalBoundPropagation(lp.Linf(0.1), clean_weight=0.3, warmup=2, regularization=0),
        "euclidean": IntervalBoundPropagation(lp.threat.L2(0.5), regularization=0),
    },
    "CertifiedLogitPairing": {
        "default": CertifiedLogitPairing(lp.Linf(0.1)),
        "warmed_up": CertifiedLogitPairing(lp.Linf(0.1), weight=2, weight_warmup=1, warmup=2, regularization=0),
        "adversarial": CertifiedLogitPairing(lp.Linf(0.1), clean_weight=0.2, attack=ATTACK, bound_share=0.4, regularization=0),
    },
}


def documented_total(objective: Objective, terms: dict[str, Tensor], examples: int) -> Tensor:
    """The total as the class's docstring says it is made of its terms; a new class adds its case."""
    match objective:
        case StandardTraining():
            return terms["clean_loss"]
        case AdversarialLogitPairing(clean_weight=share, weight=weight):
            return share * terms["clean_loss"] + (1 - share) * terms["adversarial_loss"] + weight * terms["pairing"]
        case FeaturePairing(clean_weight=share, weight=weight, logit_weight=logit_weight):
            total = share * terms["clean_loss"] + (1 - share) * terms["adversarial_loss"] + weight * terms["pairing_model"]
            return total + logit_weight * terms["pairing"]
        case AdversarialTraining(clean_weight=0):
            return terms["adversarial_loss"]
        case AdversarialTraining(clean_weight=share):
            return share * terms["clean_loss"] + (1 - share) * terms["adversarial_loss"]
        case CleanLogitPairing(weight=weight):
            return terms["noisy_loss"] + weight * terms["pairing"]
        case LogitSqueezing(weight=weight):
            return terms["noisy_loss"] + weight * terms["logit_size"]
        case GaussianNoise():
            return terms["noisy_loss"]
        case OneStepAdversarialTraining(weight=weight, adversarial_share=share):
            replaced = max(1, round(share * examples))
            weights = torch.tensor([examples - replaced, weight * replaced], dtype=terms["kept_loss"].dtype)
            return (weights[0] * terms["kept_loss"] + weights[1] * terms["replaced_loss"]) / weights.sum()
        case Mixup():
            return terms["mixed_loss"]
        case VirtualAdversarialTraining(weight=weight) | TRADES(weight=weight):
            return terms["clean_loss"] + weight * terms["divergence"]
        case IntervalBoundPropagation(clean_weight=share, regularization=regularization):
            pairing = objective.weight * terms["pairing"] if isinstance(objective, CertifiedLogitPairing) else 0
            regularizers = regularization * (terms["tightness"] + terms["balance"]) if regularization else 0
            return share * terms["clean_loss"] + (1 - share) * terms["worst_loss"] + pairing + regularizers
        case MART(weight=weight):
            return terms["boosted_loss"] + weight * terms["divergence"]
    raise AssertionError(f"{type(objective).__name__} has no documented total: add its case")
