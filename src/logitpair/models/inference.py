"""How a network is run: frozen and in eval mode, to logits that are checked for shape."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError, first_line
from logitpair.validate import check_logits

Images = Float[Tensor, "batch channels height width"]


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights lie; the CPU for one without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def compute_logits(model: nn.Module, x: Images) -> Float[Tensor, "batch classes"]:
    """The model's logits in the images' dtype (whatever autocast computed them in), checked for shape."""
    return check_logits(model(x), x)


def check_accepts(name: str, model: nn.Module, x: Images) -> Float[Tensor, "1 classes"]:
    """The logits of the first of the images, with a gradient where the model gives one.

    Raises:
        InputError: naming the model, if it is for other images.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen_eval(model):
        try:
            return compute_logits(model, x[:1].clone().requires_grad_())
        except (RuntimeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name} cannot take images of {list(x.shape[1:])}: {first_line(error)}") from error


def count_logits(model: nn.Module, image: Tensor) -> int:
    """How many logits the model gives, found by running it on the image, once alone and once beside itself.

    Args:
        model: the network, in eval mode.
        image: one such as it is to be evaluated on, ``[channels, height, width]``, uint8 or in [0, 1].

    Raises:
        InputError: if it does not take such images, one or several at a time, or returns no logits.
    """
    device = device_of(model)
    image = image.to(device).float().div(255) if image.dtype == torch.uint8 else image.to(device)
    logits = image
    for x in (image[None], torch.stack([image, image])):  # an attack drops what is broken, so that batches have any size
        try:
            with torch.no_grad():
                logits = model(x)
        except Exception as error:  # the network is the user's and may raise anything
            shape = " x ".join(map(str, x.shape))
            raise InputError(f"--model: does not take images {shape} (batch, channels, height, width): {error_line(error)}") from error
        try:
            logits = check_logits(logits, x)
        except InputError as error:
            raise InputError(f"--{error}") from error
    if not torch.isfinite(logits).all():
        raise InputError("--model: returns logits that are not finite; are these its weights, and is this its normalisation?")
    return logits.shape[1]


@contextmanager
def frozen_eval(model: nn.Module) -> Generator[None]:
    """Run the model in eval mode with frozen parameters; on leaving, put back modes, ``requires_grad`` and buffers."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        for module in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for module, name, buffer, before in buffers:  # written in place, or replaced by another tensor
                setattr(module, name, buffer)
                buffer.copy_(before)


def error_line(error: BaseException) -> str:
    """The line of an error that says most: the last of TorchScript's, which begins with a traceback, else the first."""
    line = first_line(error)
    return str(error).strip().splitlines()[-1].strip() if "TorchScript" in line else line
