"""logitpair: train image classifiers with adversarial logit pairing, and find out how robust they really are.

    import logitpair as lp

    attack = lp.attacks.PGD(lp.Linf(eps=0.3), step_size=0.01, steps=40)
    x_adv = attack(model, x, y)
    print(lp.evaluate(model, (x, y), attacks={"pgd": attack}))

Images are float32 in [0, 1], ``[batch, channels, height, width]``; a model maps them to logits ``[batch, classes]``.
Everything is imported on first use (PEP 562), so that what needs no PyTorch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
_MODULES = ("attacks", "data", "errors", "losses", "models", "objectives", "optim", "rng", "threat", "validate")
_HOMES = {
    "Audit": "auditing.result",
    "Certificate": "certification.result",
    "Evaluation": "evaluation.result",
    "InputError": "errors",
    "L2": "threat",
    "Linf": "threat",
    "Threat": "threat",
    "Transfer": "evaluation.transfer",
    "Verification": "evaluation.verify",
    "as_art": "models.other_libraries",
    "as_foolbox": "models.other_libraries",
    "audit": "auditing.audit",
    "certify": "certification.certify",
    "evaluate": "evaluation.evaluate",
    "load": "runs.run_directory",
    "reference_attack": "auditing.reference",
    "transfer": "evaluation.transfer",
    "verify": "evaluation.verify",
}

if TYPE_CHECKING:  # and so a type checker reports any other name
    from logitpair import attacks as attacks, data as data, losses as losses, models as models, objectives as objectives
    from logitpair.auditing.audit import audit as audit
    from logitpair.auditing.reference import reference_attack as reference_attack
    from logitpair.auditing.result import Audit as Audit
    from logitpair.certification.certify import certify as certify
    from logitpair.certification.result import Certificate as Certificate
    from logitpair.errors import InputError as InputError
    from logitpair.evaluation.evaluate import evaluate as evaluate
    from logitpair.evaluation.result import Evaluation as Evaluation
    from logitpair.evaluation.transfer import Transfer as Transfer, transfer as transfer
    from logitpair.evaluation.verify import Verification as Verification, verify as verify
    from logitpair.models.other_libraries import as_art as as_art, as_foolbox as as_foolbox
    from logitpair.runs.run_directory import load as load
    from logitpair.threat import L2 as L2, Linf as Linf, Threat as Threat
else:
    __all__ = sorted([*_HOMES, "attacks", "data", "losses", "models", "objectives"])

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            found = getattr(import_module(f"logitpair.{_HOMES[name]}"), name)
        elif name in _MODULES:
            found = import_module(f"logitpair.{name}")
        else:
            raise AttributeError(f"module 'logitpair' has no attribute '{name}'")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
