"""Weights from a file or a run: what fine-tuning begins with and a bare ``state_dict`` is evaluated by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from logitpair import checkpoint
from logitpair.errors import InputError

NESTED_IN = ("state_dict", "model", "model_state_dict", "network")  # where other tools' checkpoints keep the weights


def read(path: Path, which: str = "last") -> dict[str, Tensor]:
    """The named tensors of a run directory (its moving average where it kept one), a ``state_dict`` file or a ``.safetensors`` file.

    Nothing in the file is executed.

    Args:
        path: a folder that ``logitpair train`` wrote, one of its checkpoints, or a file that ``torch.save(model.state_dict(), ...)`` or
            safetensors wrote; checkpoints of other tools that keep the weights under ``state_dict`` or ``model`` are understood.
        which: of a run directory, the ``last`` checkpoint or the ``best``.

    Raises:
        InputError: if it is missing, damaged or holds no tensors.
    """
    if path.is_dir():
        path = path / "checkpoints" / f"{which}.pt"
    if not path.is_file():
        raise InputError(f"weights: no file '{path}'")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        if not isinstance(error, (SafetensorError, OSError)) and "weights_only" in str(error).lower():
            reason = "holds more than weights; save model.state_dict()"
        else:
            reason = "is truncated or no file of weights"
        raise InputError(f"weights: '{path}' {reason}; accepted: a run directory, a state_dict (.pt) or .safetensors") from error
    if isinstance(content, dict) and content.get("format") == checkpoint.FORMAT and "ema" in content:
        content = {key: value for key, value in content["ema"].items() if key != "n_averaged"}
    for key in NESTED_IN:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"weights: '{path}' holds no named tensors; accepted: a run directory, a state_dict (.pt) or .safetensors")
    if all(str(key).startswith("module.") for key in content):  # saved from inside a data-parallel or averaging wrapper
        content = {str(key).removeprefix("module."): value for key, value in content.items()}
    return content


def put(model: nn.Module, weights: dict[str, Tensor], path: Path, fresh: tuple[str, ...] = ()) -> None:
    """Load the weights into the model, but for the parameters and buffers whose names begin with one of ``fresh``.

    Raises:
        InputError: naming the first tensor that is missing, left over, not finite or of another shape, and what came from where.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(fresh)}
    given = {name: tensor for name, tensor in weights.items() if not name.startswith(fresh)}
    for name in sorted(own.keys() | given.keys()):
        if name not in given or name not in own:
            where = f"'{path}' has no '{name}'" if name in own else f"the model has no '{name}', which '{path}' holds"
            raise InputError(f"weights: {where}; is it the same network? The model's begin {', '.join(list(own)[:3])}")
        if given[name].shape != own[name].shape:
            raise InputError(f"weights: '{name}' is {list(given[name].shape)} in '{path}' and {list(own[name].shape)} in the model")
        if not torch.isfinite(given[name]).all():
            raise InputError(f"weights: '{name}' in '{path}' is not finite")
    model.load_state_dict(given, strict=False)
