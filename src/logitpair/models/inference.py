"""How a network is run: frozen and in eval mode, to logits that are checked for shape."""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from logitpair.errors import InputError, first_line, is_out_of_memory
from logitpair.storage.results import NO_CLASS
from logitpair.validate import check_logits

Images = Float[Tensor, "batch channels height width"]


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights lie; the CPU for one without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def compute_logits(model: nn.Module, x: Images) -> Float[Tensor, "batch classes"]:
    """The model's logits in the images' dtype (whatever autocast computed them in), checked for shape.

    The model is given a copy, which it may change in place.
    """
    return check_logits(model(x.clone()), x)


def logits_in_eval(model: nn.Module, x: Images) -> Float[Tensor, "batch classes"]:
    """The logits without a gradient, by the eval mode that is set for this call, whatever mode the model was left in."""
    with frozen_eval(model), torch.no_grad():
        return compute_logits(model, x)


def predict(logits: Float[Tensor, "batch classes"]) -> Int[Tensor, " batch"]:
    """The class of each row; ``NO_CLASS``, which is never right, where logits are not finite."""
    return torch.where(torch.isfinite(logits).all(1), logits.argmax(1), NO_CLASS)


@contextmanager
def frozen_eval(model: nn.Module) -> Generator[None]:
    """Run the model as ``model.eval()`` leaves it, with frozen parameters; on leaving, restore modes, ``requires_grad`` and buffers.

    What an overridden ``train`` sets beside them is restored by calling it for the mode from before.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        _set_mode(model, training=False)
        for parameter, _ in trainable:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        _set_mode(model, modes[0][1])
        for module, training in modes:  # a module comes before those within it, whose modes it sets too
            if module.training != training:
                _set_mode(module, training)
        for module, training in modes:
            module.training = training
        for parameter, needed in trainable:
            parameter.requires_grad_(needed)
        with torch.no_grad():
            for module, name, buffer, before in buffers:  # written in place, or replaced by another tensor
                setattr(module, name, buffer)
                buffer.copy_(before)


def _set_mode(model: nn.Module, training: bool) -> None:
    try:
        model.train() if training else model.eval()
    except NotImplementedError:  # an exported program's, which stays in the mode that it was exported in
        for module in model.modules():
            module.training = training


def check_accepts(name: str, model: nn.Module, x: Images) -> Float[Tensor, "1 classes"]:
    """Refuse a model that is for other images, and return the logits of the first, with a gradient where the model gives one."""
    with torch.inference_mode(False), torch.enable_grad(), frozen_eval(model):
        try:
            return compute_logits(model, x[:1].clone().requires_grad_())
        except InputError:
            raise
        except Exception as error:  # its own code may raise anything
            if is_out_of_memory(error):
                raise
            weights = next((parameter.dtype for parameter in model.parameters()), x.dtype)
            hint = f"; convert the images ({x.dtype}) or the weights ({weights})" if weights != x.dtype else ""
            raise InputError(f"{name} cannot take images of {list(x.shape[1:])}: {first_line(error)}{hint}") from error


def check_classes(model: nn.Module, x: Images, classes: Sequence[str], data: str) -> None:
    """Refuse a network that does not take such images, or whose logits are not as many as the ``classes`` of the data set ``data``."""
    found = check_accepts("--model", model, x).shape[1]
    if found != len(classes):
        names = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise InputError(
            f"model: gives {found} logits for {len(classes)} classes of {data} ({names}); see --model.classes, and --data-dir for the data"
        )


def count_logits(model: nn.Module, image: Tensor) -> int:
    """How many logits the model gives, found by running it on one image and on two.

    Args:
        model: the network, in eval mode.
        image: one such as it is to be evaluated on, ``[channels, height, width]``, uint8 or in [0, 1].

    Raises:
        InputError: if it does not take such images, one or several at a time, or returns no logits.
    """
    x = _two(model, image)
    _user_logits(model, x[:1])
    logits = _user_logits(model, x)  # attacks run on the active examples alone: batches of any size
    if not torch.isfinite(logits).all():
        raise InputError("--model: returns logits that are not finite; are these its weights, and is this its normalisation?")
    return logits.shape[1]


def to_channels_last(model: nn.Module, image: Tensor) -> nn.Module:
    """The model with its weights in ``channels_last``, in which convolutions are quicker, or as it was where its logits are then others.

    One that lays out activations anew by ``view`` or ``as_strided`` may then not run, give other logits, or give no gradient. ``image`` is
    as of ``count_logits``, which has accepted it.
    """
    x = _two(model, image)
    logits = _user_logits(model, x)
    try:
        nn.Module.to(model, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with frozen_eval(model):
            leaf = x.clone().requires_grad_()
            again = compute_logits(model, leaf)
            if again.requires_grad:
                torch.autograd.grad(again.sum(), leaf, allow_unused=True)
        same = torch.allclose(again.detach(), logits, rtol=0, atol=1e-3 * float(logits.abs().max()))  # more than kernels differ by
    except Exception:  # the network is the user's and may raise anything
        same = False
    if not same:
        nn.Module.to(model, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


def _two(model: nn.Module, image: Tensor) -> Images:
    """The image twice as a batch, in [0, 1] and where the model's weights lie."""
    image = image.to(device_of(model)).contiguous()
    image = image.float() / 255 if image.dtype == torch.uint8 else image
    return torch.stack([image, image])


def _user_logits(model: nn.Module, x: Images) -> Tensor:
    """The logits of the network that ``--model`` names."""
    try:
        with torch.no_grad():
            logits = model(x.clone())
    except Exception as error:  # the network is the user's and may raise anything
        shape = " x ".join(map(str, x.shape))
        # TorchScript begins with a traceback, and ends with what is wrong
        line = str(error).strip().splitlines()[-1].strip() if "TorchScript" in first_line(error) else first_line(error)
        hint = "; with --grey photos have 1" if "to have 1 channels" in line else ""
        hint = "; --size gives another" if re.search(r"\.size\(\)\[[23]\]", line) else hint
        raise InputError(f"--model: does not take images {shape} (batch, channels, height, width): {line}{hint}") from error
    try:
        return check_logits(logits, x)
    except InputError as error:
        raise InputError(f"--{error}") from error
