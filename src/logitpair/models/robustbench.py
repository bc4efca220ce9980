"""Networks of RobustBench's zoo, by the package of that name."""

from torch import nn

from logitpair.errors import InputError, raised
from logitpair.runtime.lazy_imports import import_optional

ROBUSTBENCH = "robustbench:"
ACCEPTED = (
    f"{ROBUSTBENCH}NAME for CIFAR-10 in an L-infinity ball, such as {ROBUSTBENCH}Rice2020Overfitting, or {ROBUSTBENCH}DATASET/THREAT/NAME"
)


def from_robustbench(name: str) -> nn.Module:
    """The network that ``--model robustbench:NAME`` names, for images in [0, 1]; its weights are in ``./models``, or fetched there.

    Args:
        name: without the prefix: ``NAME``, or ``DATASET/THREAT/NAME`` such as ``cifar100/Linf/Rice2020Overfitting``.

    Raises:
        InputError: where the package is not installed, for a name that its zoo does not have, and weights out of reach.
    """
    dataset, threat, network = name.split("/") if name.count("/") == 2 else ("cifar10", "Linf", name)
    if not all((dataset, threat, network)) or "/" in network:
        raise InputError(f"--model: '{ROBUSTBENCH}{name}' is not accepted; accepted: {ACCEPTED}")
    zoo = import_optional("robustbench.utils", "load_model", needed_by=f"--model: {ROBUSTBENCH}NAME", extra="robustbench")
    try:
        return zoo.load_model(model_name=network, dataset=dataset, threat_model=threat)
    except KeyError as error:
        raise InputError(f"--model: RobustBench has no '{network}' for {dataset} and {threat}; accepted: {ACCEPTED}") from error
    except Exception as error:  # the zoo and its downloads raise what they like
        raise InputError(f"--model: RobustBench {raised(error)} for '{name}'; accepted: {ACCEPTED}") from error
