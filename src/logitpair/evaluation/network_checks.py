"""What a network must be to be evaluated, and how far its logits depend on more than the image: on the call, or on the batch."""

import logging
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.inference import Images, check_accepts, compute_logits, frozen_eval

CALLS = 3  # of the same images again
ALONE = 8  # images that are run one by one too
MEASURED = 32  # images that an evaluation measures on
DIFFER = 1e-3  # of the logits' spread: more than float32 kernels differ by on other batch sizes

logger = logging.getLogger("logitpair")


def check_networks(model: nn.Module, sources: Mapping[str, nn.Module], x: Images) -> dict[str, bool]:
    """Refuse networks for other images, and sources of other classes than the model; whether each one's logits carry a gradient."""
    networks = {"model": model} | {f"sources: '{name}'": source for name, source in sources.items()}
    logits = {name: check_accepts(name, network, x) for name, network in networks.items()}
    for name, found in logits.items():
        if found.shape[1] != logits["model"].shape[1]:
            raise InputError(f"{name} has {found.shape[1]} classes, the model {logits['model'].shape[1]}")
    return {name: found.requires_grad for name, found in logits.items()}


def warn_of_misleading(model: nn.Module, have_gradients: Mapping[str, bool], x: Images) -> None:
    """Warn of networks without a gradient, and of a model that is random or lets the images of a batch influence each other."""
    for name, has_gradient in have_gradients.items():
        if not has_gradient:
            warnings.warn(f"{name}: its logits carry no gradient; gradient attacks make no progress", stacklevel=4)
    x = x[:MEASURED]
    with frozen_eval(model), torch.no_grad():
        logits = compute_logits(model, x)
        calls, batches = between_calls(model, x, logits), between_batches(model, x, logits)
    if calls > DIFFER:
        found = f"model: gives other logits for the same images from call to call (by up to {calls:.2g} of their spread)"
        logger.warning("%s; each accuracy is that of one draw, and attacks look weaker than they are", found)
    elif batches > DIFFER:
        found = f"model: gives an image other logits alone than within a batch (by up to {batches:.2g} of their spread)"
        logger.warning("%s; accuracies depend on batch_size", found)


def between_calls(model: nn.Module, x: Images, logits: Tensor) -> float:
    """By how much the logits of the same images differ at most from call to call, as a fraction of their spread."""
    return max(difference(logits, compute_logits(model, x), logits) for _ in range(CALLS))


def between_batches(model: nn.Module, x: Images, logits: Tensor) -> float:
    """By how much an image's logits alone differ at most from ``logits``, those of the batch, as a fraction of their spread."""
    rows = torch.linspace(0, len(x) - 1, min(ALONE, len(x))).long().tolist()  # from all over the batch
    alone = torch.cat([compute_logits(model, x[[row]]) for row in rows])
    return difference(logits[rows], alone, logits[rows])


def difference(a: Tensor, b: Tensor, logits: Tensor) -> float:
    """The largest difference of two tensors, as a fraction of the spread of the logits."""
    spread = (logits.nan_to_num().amax() - logits.nan_to_num().amin()).clamp_min(torch.finfo(logits.dtype).tiny)
    return float(((a - b).nan_to_num().abs().amax() / spread).item())
