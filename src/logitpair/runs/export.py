"""A trained network in files that other programs read, each read back and compared with the network before it counts."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError, first_line
from logitpair.models import compute_logits, read_model
from logitpair.models.package import Architecture, write_package
from logitpair.runs import run_directory
from logitpair.storage.atomic_files import atomic_write

Images = Float[Tensor, "batch channels height width"]
Format = Literal["safetensors", "torch-export"]
TOLERANCE = 1e-4  # of the spread of the logits: other kernels round otherwise
NAMES: Mapping[Format, str] = {"safetensors": "exported", "torch-export": "exported.pt2"}  # where the run directory is to hold it


def export_run(run: Path, format: Format, x: Images, *, out: Path | None = None, which: Literal["last", "best"] = "last") -> Path:
    """Write the network of a run, and return the path, which ``--model`` and ``read_model`` take.

    Args:
        run: a run directory.
        format: ``safetensors``, a folder with ``config.json`` beside the weights, for a network of ``logitpair.models``; ``torch-export``,
            a file of ``torch.export`` with the network's code, which runs without logitpair on batches of any size.
        x: images in [0, 1], at least two, that the network is compared on with what was written.
        out: the folder or the file; by default ``exported`` or ``exported.pt2`` in the run directory.
        which: the checkpoint.

    Raises:
        InputError: for what holds no run, a network that ``torch.export`` cannot follow, and logits that differ by more than 0.0001 of
            their spread.
    """
    content, config = run_directory.load_config(run)
    model = run_directory.load_network(run, config, which, "cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    out = out or run / NAMES[format]
    if format == "safetensors":
        network = content["run"]["model"]
        arguments = {key: value for key, value in (network.get("init_args") or {}).items() if key != "pretrained"}
        write_package(out, Architecture(network["class_path"], arguments), model, tuple(x.shape[1:]))
    else:
        atomic_write(out, _program(model, x))
    _compare(model, read_model(str(out)), x, out)
    return out


def _program(model: nn.Module, x: Images) -> bytes:
    """What ``torch.export`` makes of the network, for any number of images."""
    stream = io.BytesIO()
    try:
        with torch.no_grad():
            program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, stream)
    except Exception as error:  # the network may do anything
        raise InputError(f"--format torch-export: {type(model).__name__} cannot be exported ({first_line(error)})") from error
    return stream.getvalue()


def _compare(model: nn.Module, written: nn.Module, x: Images, out: Path) -> None:
    with torch.no_grad():
        for images in (x, x[:1]):  # a program may have been fixed to the number of images
            ours, theirs = compute_logits(model, images), compute_logits(written, images)
            difference, spread = (ours - theirs).abs().max(), ours.std(correction=0).clamp(min=torch.finfo(ours.dtype).eps)
            if not difference <= TOLERANCE * spread:
                raise InputError(
                    f"--format: '{out}' gives logits that differ by {difference / spread:.2g} of their spread from the network's"
                )
