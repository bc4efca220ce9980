"""logitpair: train image classifiers with adversarial logit pairing, and find out what they really withstand.

    import logitpair as lp

    attack = lp.attacks.PGD(lp.Linf(eps=0.3), step_size=0.01, steps=40)
    x_adv = attack(model, x, y)
    print(lp.evaluate(model, (x, y), attacks={"pgd": attack}))

Images are float32 in [0, 1], ``[batch, channels, height, width]``; a model maps them to logits ``[batch, classes]``.
"""

from logitpair import attacks, data, losses, models, objectives
from logitpair.auditing.audit import audit
from logitpair.auditing.reference import reference_attack, standard_protocol
from logitpair.auditing.result import Audit
from logitpair.errors import InputError
from logitpair.evaluation.evaluate import evaluate
from logitpair.evaluation.result import Evaluation
from logitpair.evaluation.transfer import Transfer, transfer
from logitpair.evaluation.verify import Verification, verify
from logitpair.runs.run_directory import load
from logitpair.threat import Linf

__version__ = "0.1.0"
__all__ = [
    "Audit",
    "Evaluation",
    "InputError",
    "Linf",
    "Transfer",
    "Verification",
    "attacks",
    "audit",
    "data",
    "evaluate",
    "load",
    "losses",
    "models",
    "objectives",
    "reference_attack",
    "standard_protocol",
    "transfer",
    "verify",
]
