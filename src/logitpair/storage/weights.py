"""Weights from a file or a run: what fine-tuning begins with, and what a ``state_dict`` is evaluated by."""

import codecs
import re
import string
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from logitpair.errors import InputError, is_out_of_memory
from logitpair.storage import checkpoint
from logitpair.validate import dense

NESTED_IN = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights", "params")  # where checkpoints keep the weights
WITHIN = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")  # PyTorch's own wrappers, of any layer
PREFIXES = ("module.", "network.model.", "model.")  # as DataParallel, Timm and Normalized make names
ACCEPTED = "accepted: a run directory, a state_dict (.pt) or .safetensors"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a run directory or checkpoint (its moving average where it kept one), a ``state_dict`` or ``.safetensors`` file.

    Checkpoints of other tools are understood that keep the weights under ``NESTED_IN``, or under any name and no others. Nothing in the
    file is executed.
    """
    if path.is_dir():
        path = checkpoint.path_of(path)
    if not path.is_file():
        raise InputError(f"weights: no file '{path}'{not_fetched(str(path))}")
    content = _read(path)
    if isinstance(content, dict) and {"format", "step"} <= content.keys():  # a checkpoint of ours
        if content["format"] != checkpoint.FORMAT:
            raise InputError(f"weights: '{path}' is a checkpoint of format {content['format']}; this version reads {checkpoint.FORMAT}")
        if "ema" in content:
            content = {key.removeprefix("module."): value for key, value in content["ema"].items() if key != "n_averaged"}
    while isinstance(content, dict) and (inner := next((content[key] for key in NESTED_IN if isinstance(content.get(key), dict)), None)):
        content = inner
    if not _are_tensors(content):
        parts = [key for key, value in content.items() if _are_tensors(value)] if isinstance(content, dict) else []
        if len(parts) != 1:
            found = f"named tensors under {' and under '.join(map(repr, parts))}" if parts else "no named tensors"
            if isinstance(content, dict) and any(isinstance(value, Tensor) for value in content.values()):
                other = next(key for key, value in content.items() if not isinstance(value, Tensor))
                found = f"named tensors and beside them '{other}', which is none"
            raise InputError(f"weights: '{path}' holds {found}; {ACCEPTED}")
        content = content[parts[0]]
    return content


def _are_tensors(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _read(path: Path) -> Any:
    if what := not_what_was_meant(path):
        raise InputError(f"weights: '{path}' {what}{checkpoint.before(path)}; {ACCEPTED}")
    with path.open("rb") as file:
        begin = file.read(9)
    try:
        if begin[8:] == b"{":  # of safetensors, whose first 8 bytes are a length
            return safetensors.torch.load_file(path)
        with path.open("rb") as file:  # by its name, torch.load takes some files for safetensors
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to, and takes text for a pickle
        if is_out_of_memory(error):
            raise
        runs_code = "weights_only" in str(error).lower() and begin.startswith((b"PK", b"\x80"))
        reason = "holds more than weights; save model.state_dict()" if runs_code else "is truncated or no file of weights"
        raise InputError(f"weights: '{path}' {reason}{checkpoint.before(path)}; {ACCEPTED}") from error


def not_what_was_meant(path: Path) -> str | None:
    """What a file is that was downloaded in place of another; None if it is no such file."""
    with path.open("rb") as file:
        begin = file.read(512).removeprefix(codecs.BOM_UTF8).lstrip()
    if begin.startswith(b"version https://git-lfs.github.com/"):
        return "is a Git LFS pointer, not the file that it stands for (git lfs pull fetches it)"
    # the length that safetensors begin with ends in zeros, and pickles hold codes that no text does
    is_text = begin and ((begin.startswith((b"<", b"{")) and b"\0" not in begin) or not begin.translate(None, string.printable.encode()))
    return "is text, as a web page or a message of a server is, not the file that was asked for" if is_text else None


def not_fetched(name: str) -> str:
    """What to say of an address on the internet or on a hub that is given where a file is meant; nothing of any other name."""
    return "; addresses are not fetched: download it, and give the file" if re.match(r"(https?|ftp|s3|gs|hf|hf[-_]hub):", name) else ""


def without_prefix(weights: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """The weights by the network's own ``names``, as far as wrappers have changed these: within, or by prefixes of all of them."""
    wrapped = any(map(WITHIN.search, names))
    stripped = {
        name if wrapped else WITHIN.sub("", str(name)): value
        for name, value in weights.items()
        if name != "n_averaged" or name in names  # which PyTorch's AveragedModel keeps beside what it averages
    }
    while not stripped.keys() & set(names):
        prefix = next((prefix for prefix in PREFIXES if all(str(name).startswith(prefix) for name in stripped)), None)
        if prefix is None:
            return weights
        stripped = {str(name).removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


def within(name: str, layers: tuple[str, ...]) -> bool:
    """Whether a parameter or buffer is one of these layers or lies in one, by whole names: ``1.bias`` in ``1``, not ``10.bias``."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path, fresh: tuple[str, ...] = ()) -> None:
    """Load the weights into the model, but for the layers ``fresh``; refused is the first tensor that does not fit or is not finite.

    Prefixes of wrappers are taken off, and counts of batches, which old versions of PyTorch did not keep, may be missing.
    """
    given, weights = weights, without_prefix(weights, model.state_dict().keys())
    expected = {name: tensor for name, tensor in model.state_dict().items() if not within(name, fresh)}
    loaded = {name: tensor for name, tensor in weights.items() if not within(name, fresh)}
    for name in sorted(expected.keys() | loaded.keys()):
        if name not in loaded and name.endswith("num_batches_tracked"):
            continue
        if name not in loaded or name not in expected:
            where = f"'{path}' has no '{name}'" if name in expected else f"the model has no '{name}', which '{path}' holds"
            begin = f"The model's begin {', '.join(list(expected)[:3])}; the file's {', '.join(map(str, list(given)[:3]))}"
            raise InputError(f"weights: {where}; is it the same network? {begin}")
        value, own = loaded[name], expected[name]
        dense(f"weights: '{name}' in '{path}'", value, "a tensor")
        if not is_lazy(own) and value.shape != own.shape:
            raise InputError(f"weights: '{name}' is {list(value.shape)} in '{path}' and {list(own.shape)} in the model")
        if own.is_floating_point() and not value.is_floating_point():  # integers are what rounding left of weights
            raise InputError(f"weights: '{name}' is {value.dtype} in '{path}' and {own.dtype} in the model")
        if not torch.isfinite(value.to(own.dtype) if own.is_floating_point() else value).all():  # as the model holds it
            raise InputError(f"weights: '{name}' in '{path}' is not finite")
    model.load_state_dict(loaded, strict=False)
