"""The network that ``--model`` names: one of timm, a file or a folder that holds one, one of a hub, or an import path."""

import functools
import importlib
import inspect
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from logitpair.errors import InputError, raised
from logitpair.models.model_file import NetworkFile, kind_of
from logitpair.models.normalized import Normalized, check_normalisation
from logitpair.models.onnx_file import ONNX, OnnxFile, input_size
from logitpair.models.package import package_folder, published_config, read_config, read_package, weights_file
from logitpair.models.pretrained import Timm, require_timm
from logitpair.models.robustbench import ROBUSTBENCH, from_robustbench
from logitpair.storage.weights import load_weights, not_fetched, read_weights, without_prefix
from logitpair.validate import type_name

TIMM = "timm:"
ACCEPTED = (
    "timm:NAME, robustbench:NAME, hf:OWNER/NAME, onnx:FILE, a folder that `logitpair export` wrote, a TorchScript file, or an import path "
    "such as my_package.my_module.MyNet or my_module:make_net"
)
FILES = (".pt", ".pth", ".pt2", ".ts", ".torchscript", ".jit", ".bin", ".ckpt", ".safetensors", ".onnx")


def read_model(
    name: str,
    *,
    weights: Path | str | None = None,
    classes: int | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """The network of this name, in eval mode on the CPU, taking images in [0, 1].

    An import path, a TorchScript file and an exported program run code that whoever made them wrote: name only what you trust.
    Weights are read without running any.

    Args:
        name: ``timm:NAME``, timm's network with its normalisation inside; ``robustbench:NAME``, one of RobustBench's zoo; the folder that
            ``logitpair export`` wrote, or ``hf:OWNER/NAME[@REVISION]``, the same or timm's layout on a hub; the path of a TorchScript file
            or an exported program; that of an ONNX file, also as ``onnx:FILE``; or an import path such as
            ``my_package.my_module.MyNet`` or ``my_module:make_net`` of a class or a function that is called without arguments. The current
            folder can be imported from.
        weights: for ``timm:`` and import paths, a ``state_dict``, a ``.safetensors`` file, a run directory, or ``hf:OWNER/NAME[@REVISION]``
            or a folder with ``config.json``, from which a class with ``PyTorchModelHubMixin`` takes its arguments as well.
        classes: number of logits, for ``timm:`` only; None: as many as ``weights`` have, or else as the published network has.
        pretrained: load the weights that timm publishes (needs the network).
        mean, std: one number a channel, or one for all, in [0, 1] pixel scale: for a network that wants normalised images.

    Raises:
        InputError: naming the option, for what leads to no network, weights that do not fit it, and options that exclude each other.
    """
    of_timm, of_zoo = name.startswith(TIMM), name.startswith(ROBUSTBENCH)
    if not of_timm and (pretrained or classes is not None):
        raise InputError(f"{'--pretrained' if pretrained else '--classes'} is for {TIMM}NAME only, and --model is '{name}'")
    if weights is not None and pretrained:
        raise InputError("--weights and --pretrained both give weights; accepted: one of them")
    if classes is not None and classes < 2:
        raise InputError(f"--classes must be at least 2, not {classes}")
    folder = package_folder(name)
    packaged = None if weights is None else package_folder(str(weights), "--weights")
    weights = None if weights is None else weights_file(packaged) if packaged else Path(weights)
    _check_normalisation(name, of_timm or of_zoo or folder is not None, mean, std)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # what stays random is the same every time
        if of_timm:
            model = _from_timm(name.removeprefix(TIMM), weights, classes, pretrained)
        elif folder is not None or of_zoo:
            if weights is not None:
                raise InputError(f"--weights: '{name}' has weights of its own; accepted: --weights beside {TIMM}NAME or an import path")
            model = read_package(folder) if folder else from_robustbench(name.removeprefix(ROBUSTBENCH))
        elif name and (Path(name).exists() or name.startswith(ONNX) or name.endswith(FILES) or "/" in name):
            model = _from_file(name, weights)
        else:
            model = _from_import_path(name, weights, packaged)
    if mean is not None and std is not None:
        if getattr(model, "made_here", False):
            raise _has_own_normalisation(name)
        model = Normalized(model, mean, std)
    return model.eval()


class Preprocessing(NamedTuple):
    """How images are cut for a network.

    Attributes:
        size: height and width of what it sees, in pixels.
        resize: what the shorter side is resized to before the centre is cropped, in pixels; None: ``size``.
        interpolation: by which it is resized.
    """

    size: int
    resize: int | None = None
    interpolation: str = "bilinear"


def preprocessing(name: str, size: int | None = None) -> Preprocessing:
    """What is noted of a network of timm, a zoo or a folder, for images of ``size`` or of the size noted; for any other network 224 pixels.

    Raises:
        InputError: for a name that timm does not know, and a folder that notes no such size.
    """
    if name.startswith(TIMM):
        timm = require_timm(name.removeprefix(TIMM), "--model")
        try:
            noted: dict[str, Any] = timm.get_pretrained_cfg(name.removeprefix(TIMM)).to_dict()
        except RuntimeError:  # an unknown tag, which building the network refuses
            noted = {}
    elif name.startswith(ROBUSTBENCH):
        noted = {"input_size": [224 if name.startswith(f"{ROBUSTBENCH}imagenet") else 32]}
    elif _is_onnx(name):
        noted = {"input_size": [input_size(Path(name.removeprefix(ONNX))) or 224]}
    else:
        folder = package_folder(name)
        noted = published_config(read_config(folder)) if folder else {}
    shape, kept = noted.get("input_size") or [224], noted.get("crop_pct") or 1.0
    seen = size or (shape[-1] if isinstance(shape, list | tuple) else 0)
    if not (isinstance(seen, int) and seen > 0 and isinstance(kept, int | float) and kept > 0):
        raise InputError(f"--model: {name} notes input_size {shape} and crop_pct {kept}; accepted: pixels, and a fraction above 0")
    mode = "border" if kept > 1 else noted.get("crop_mode", "center")
    if mode != "center":
        warnings.warn(f"--model: timm cuts images for {name} by '{mode}'; here their centre is cropped", stacklevel=2)
    return Preprocessing(seen, math.floor(seen / kept) if kept < 1 else None, noted.get("interpolation", "bilinear"))


def _check_normalisation(name: str, has_own: bool, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if mean is None and std is None:
        return
    if mean is None or std is None:
        given, other = ("--std", "--mean") if mean is None else ("--mean", "--std")
        raise InputError(f"{given} is given without {other}; they go together")
    if has_own:
        raise _has_own_normalisation(name)
    if len(mean) != len(std) or not mean:
        raise InputError(f"--mean has {len(mean)} numbers and --std {len(std)}; accepted: as many, one a channel")
    try:
        check_normalisation(mean, std)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _has_own_normalisation(name: str) -> InputError:
    return InputError(f"--mean, --std: '{name}' comes with its own normalisation; accepted: neither, or an import path instead")


def _from_file(name: str, weights: Path | None) -> nn.Module:
    path = Path(name.removeprefix(ONNX))
    if weights is not None:
        accepted = f"--weights beside {TIMM}NAME or an import path"
        raise InputError(f"--weights: a file such as '{path}' has weights of its own; accepted: {accepted}")
    if path.is_dir():
        raise InputError(f"--model: '{path}' is a folder; a run directory is evaluated by `logitpair evaluate RUN`, without --model")
    if not path.is_file():
        raise InputError(f"--model: no file '{path}'{not_fetched(str(path)) or f'; accepted: {ACCEPTED}'}")
    if path.suffix == ".py":
        raise InputError(f"--model: '{path}' is Python source; accepted: an import path such as {path.stem}:make_net")
    return OnnxFile(path) if _is_onnx(name) else NetworkFile(path)


def _is_onnx(name: str) -> bool:
    return name.startswith(ONNX) or name.endswith(".onnx")


def _from_import_path(name: str, weights: Path | None, packaged: Path | None) -> nn.Module:
    found = _find(name)
    if packaged and isinstance(found, type) and hasattr(found, "_hub_mixin_config"):  # the class itself knows what its config.json means
        return _build(functools.partial(found.from_pretrained, packaged, strict=True), name)
    model = _build(found, name)
    if weights is not None:
        _load_weights(model, _read_weights(weights), weights)
    elif isinstance(found, type):  # a function may well have loaded some
        warnings.warn(f"--model: without --weights, {name} has the weights that it begins with, mostly random ones", stacklevel=3)
    return model


def _find(path: str) -> Any:
    """What ``package.module.Name`` or ``module:name`` leads to; importing it runs the code found there."""
    module, colon, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not (module and colon and name) or not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise InputError(f"--model: '{path}' is neither a file nor an import path; accepted: {ACCEPTED}")
    found = _import(module, path)
    for part in name.split("."):
        if not hasattr(found, part):
            callables = [key for key, value in getattr(found, "__dict__", {}).items() if callable(value) and not key.startswith("_")]
            has = ", ".join(callables[:5]) or "no class and no function"
            raise InputError(f"--model: '{module}' has no '{name}'; it has {has}")
        found = getattr(found, part)
    return found


def _build(found: Any, path: str) -> nn.Module:
    """What was found by the path if it is a network, or what the class or function returns when it is called without arguments."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise InputError(f"--model: '{path}' is {type_name(found)}; accepted: a class or a function that gives an nn.Module")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        wanted = str(error).rpartition("argument: ")[2]
        raise InputError(f"--model: '{path}' needs an argument {wanted}; accepted: a class or function that needs none") from error
    except ValueError:  # written in C, without a signature
        pass
    try:
        network = found()
    except Exception as error:
        raise InputError(f"--model: '{path}()' {raised(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"--model: '{path}()' returned {type_name(network)}; accepted: an nn.Module from images to logits")
    return network


def _import(module: str, path: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as ``python -m`` does
    importlib.invalidate_caches()  # the file may be newer than what Python knows of its folder
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is the user's and may raise anything; a script may end itself
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise InputError(f"--model: '{path}': no module '{missing}' in '{here}' or among those installed") from error
        raise InputError(f"--model: importing '{module}' {raised(error)}") from error


def _from_timm(name: str, weights: Path | None, classes: int | None, pretrained: bool) -> nn.Module:
    timm = require_timm(name, "--model")
    try:
        config: Any = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the tag behind the dot
        tags = ", ".join(timm.list_pretrained(name.partition(".")[0])[:5])
        raise InputError(f"--model: {error} It has {tags}") from error
    published = config.num_classes
    if pretrained and classes not in (None, published):
        raise InputError(f"--classes: the published {name} has {published} logits, and --pretrained cannot make them {classes}")
    if weights is not None:
        layer = config.classifier if isinstance(config.classifier, str) else next(iter(config.classifier or ()), "")
        return _timm_with_weights(name, f"{layer}.weight", weights, classes)
    logits = published if classes is None else classes
    if not logits:
        accepted = "the number of logits, at least 2"
        raise InputError(f"--classes is not given, and timm's {name} comes without a classifier; accepted: {accepted}")
    if not pretrained:
        warnings.warn(f"--model: {TIMM}{name} has random weights; --weights FILE or --pretrained gives others", stacklevel=3)
    try:
        return Timm(name, logits, pretrained)
    except InputError as error:
        raise InputError(f"--{error} by --weights FILE") from error


def _timm_with_weights(name: str, layer: str, path: Path, classes: int | None) -> nn.Module:
    """timm's network with as many logits as its last layer has in the weights."""
    tensors = without_prefix(_read_weights(path), [layer])
    logits = len(tensors[layer]) if layer in tensors else classes
    if logits is None:
        first = ", ".join(list(tensors)[:3])
        raise InputError(f"--weights: '{path}' has no '{layer}', the last layer of timm's {name}; is it the same network? It has {first}")
    if classes not in (None, logits):
        raise InputError(f"--classes is {classes}, but the weights '{path}' are for {logits} ('{layer}')")
    model = Timm(name, logits)
    _load_weights(model.network.model, tensors, path)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.is_file() and kind_of(path):
        raise InputError(f"--weights: '{path}' holds a whole network; give it by --model, without --weights")
    try:
        return read_weights(path)
    except InputError as error:
        raise InputError(f"--{error}") from error


def _load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    if not network.state_dict():
        raise InputError(f"--weights: the network has no weights that '{path}' could replace")
    try:
        load_weights(network, tensors, path)
    except InputError as error:
        raise InputError(f"--{error}") from error
