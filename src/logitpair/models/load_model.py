"""The network that ``--model`` names: one of timm, a file that holds one, or an import path."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.models.import_path import build, find
from logitpair.models.inference import error_line
from logitpair.models.model_file import NetworkFile, kind_of
from logitpair.models.normalized import Normalized
from logitpair.models.pretrained import Timm, require_timm
from logitpair.storage.weights import load_weights, read_weights

TIMM = "timm:"
FILES = (".pt", ".pth", ".pt2", ".ts", ".torchscript", ".jit", ".bin", ".ckpt", ".safetensors")
PREFIXES = ("_orig_mod.", "network.model.", "model.")  # as torch.compile, Timm and Normalized put before a network's names


def read_model(
    name: str,
    *,
    weights: Path | None = None,
    classes: int | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """The network that a name stands for, in eval mode on the CPU, taking images in [0, 1].

    An import path, a TorchScript file and an exported program run code that whoever made them wrote: name only what you trust.
    Weights are read without running any.

    Args:
        name: ``timm:NAME``, timm's network with its normalisation inside; the path of a TorchScript file or an exported program;
            or an import path such as ``my_package.my_module.MyNet`` or ``my_module:make_net`` of a class or a function that is called
            without arguments. The current folder can be imported from.
        weights: what ``read_weights`` reads: a ``state_dict``, a ``.safetensors`` file or a run directory; for ``timm:`` and
            import paths.
        classes: number of logits, for ``timm:`` only; None: as many as ``weights`` have, or else as the published network has.
        pretrained: load the weights that timm publishes (needs the network).
        mean, std: one number a channel, or one for all, in the pixels' unit ([0, 1]): for a network that wants normalised images.

    Raises:
        InputError: naming the option, for what leads to no network, weights that do not fit it, and options that exclude each other.
    """
    of_timm = name.startswith(TIMM)
    if not of_timm and (pretrained or classes is not None):
        raise InputError(f"{'--pretrained' if pretrained else '--classes'} is for {TIMM}NAME only, and --model is '{name}'")
    if weights is not None and pretrained:
        raise InputError("--weights and --pretrained both give weights; accepted: one of them")
    if classes is not None and classes < 2:
        raise InputError(f"--classes must be at least 2, not {classes}")
    _check_normalisation(name, mean, std)
    is_file = name != "" and not of_timm and (Path(name).exists() or name.endswith(FILES) or "/" in name)
    if is_file and weights is not None:
        raise InputError(
            f"--weights: a file such as '{name}' has weights of its own; accepted: --weights beside {TIMM}NAME or an import path"
        )
    tensors = None if weights is None else _read_weights(weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # what stays random is the same every time
        if of_timm:
            model = _of_timm(name.removeprefix(TIMM), tensors, weights, classes, pretrained)
        elif is_file:
            model = _of_file(Path(name))
        else:
            found = find(name)
            model = build(found, name)
            if tensors is not None and weights is not None:
                _put(model, tensors, weights)
            elif isinstance(found, type):  # a function may well have loaded some
                warnings.warn(f"--model: without --weights, {name} has the weights that it begins with, mostly random ones", stacklevel=2)
    if mean is not None and std is not None:
        model = Normalized(model, mean, std)
    return model.eval()


def image_size(name: str) -> int:
    """Height and width in pixels of the images that a network is for: what timm says of it, 224 where nobody says.

    Raises:
        InputError: for a name that timm does not know.
    """
    if not name.startswith(TIMM):
        return 224
    timm = require_timm(name.removeprefix(TIMM), "--model")
    try:
        return timm.get_pretrained_cfg(name.removeprefix(TIMM)).input_size[-1]
    except RuntimeError:  # an unknown tag, which is told when the network is built
        return 224


def _check_normalisation(name: str, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if mean is None and std is None:
        return
    if mean is None or std is None:
        raise InputError(
            f"{'--mean' if std is None else '--std'} is given without {'--std' if std is None else '--mean'}; they go together"
        )
    if name.startswith(TIMM):
        raise InputError(f"--mean, --std: '{name}' comes with its own normalisation; accepted: neither, or an import path instead")
    if len(mean) != len(std) or not mean:
        raise InputError(f"--mean has {len(mean)} numbers and --std {len(std)}; accepted: as many, one a channel")
    if not all(0 <= value <= 1 for value in mean):
        raise InputError(f"--mean must lie in [0, 1], the unit of the pixels, not {list(mean)} (divide what is in 0..255 by 255)")
    if not all(0 < value < math.inf for value in std):
        raise InputError(f"--std must be above 0 in every channel, not {list(std)}")


def _of_file(path: Path) -> nn.Module:
    if path.is_dir():
        raise InputError(f"--model: '{path}' is a folder; a run directory is evaluated by `logitpair evaluate RUN`, without --model")
    if not path.is_file():
        raise InputError(f"--model: no file '{path}'")
    if path.suffix == ".py":
        raise InputError(f"--model: '{path}' is Python source; accepted: an import path such as {path.stem}:make_net")
    return NetworkFile(path)


def _of_timm(name: str, tensors: dict[str, Tensor] | None, path: Path | None, classes: int | None, pretrained: bool) -> nn.Module:
    timm = require_timm(name, "--model")
    try:
        config: Any = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the tag behind the dot
        tags = ", ".join(timm.list_pretrained(name.partition(".")[0])[:5])
        raise InputError(f"--model: {error} It has {tags}") from error
    published = config.num_classes
    if pretrained and classes not in (None, published):
        raise InputError(f"--classes: the published {name} has {published} logits, and --pretrained cannot make them {classes}")
    logits = published if classes is None else classes
    if tensors is not None and path is not None:
        tensors = _named_as(f"{_classifier(config)}.weight", tensors)
        logits = _logits_of(tensors, name, config, path, classes)
    if not logits:
        raise InputError(
            f"--classes is not given, and timm's {name} comes without a classifier; accepted: the number of logits, at least 2"
        )
    if tensors is None and not pretrained:
        warnings.warn(f"--model: {TIMM}{name} has random weights; --weights FILE or --pretrained gives others", stacklevel=3)
    try:
        network = Timm(name, logits, pretrained)
    except Exception as error:
        if not pretrained:
            raise
        reason = error_line(error.__cause__ or error)
        raise InputError(
            f"--pretrained: cannot fetch the published weights of {name} ({reason}); where there is no network, give --weights FILE"
        ) from error
    if tensors is not None and path is not None:
        _put(network.network.model, tensors, path)
    return network


def _classifier(config: Any) -> str:
    """The name of the layer that makes a timm network's logits."""
    return config.classifier if isinstance(config.classifier, str) else next(iter(config.classifier or ()), "")


def _logits_of(tensors: dict[str, Tensor], name: str, config: Any, path: Path, classes: int | None) -> int:
    """How many logits the weights are for."""
    layer = f"{_classifier(config)}.weight"
    if layer not in tensors:
        if classes is not None:
            return classes
        first = ", ".join(list(tensors)[:3])
        raise InputError(f"--weights: '{path}' has no '{layer}', the last layer of timm's {name}; is it the same network? It has {first}")
    found = len(tensors[layer])
    if classes not in (None, found):
        raise InputError(f"--classes is {classes}, but the weights '{path}' are for {found} ('{layer}')")
    return found


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.is_file() and kind_of(path):
        raise InputError(f"--weights: '{path}' holds a whole network; give it by --model, without --weights")
    try:
        return read_weights(path)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _put(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = next(iter(network.state_dict()), None)
    if own is None:
        raise InputError(f"--weights: the network has no weights that '{path}' could replace")
    try:
        load_weights(network, _named_as(own, tensors), path)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _named_as(one: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what wrappers put before all of their names, if ``one`` of the network's own is then among them."""
    bare = tensors
    for prefix in PREFIXES:
        if one not in bare and all(key.startswith(prefix) for key in bare):
            bare = {key.removeprefix(prefix): value for key, value in bare.items()}
    return bare if one in bare else tensors
