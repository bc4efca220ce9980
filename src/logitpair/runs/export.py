"""A trained network in files that other programs read, each read back and compared with the network before it counts."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

import logitpair
from logitpair.errors import InputError, first_line
from logitpair.models import compute_logits, read_model
from logitpair.models.inference import check_accepts
from logitpair.models.model_file import MADE_BY
from logitpair.models.package import Architecture, write_package
from logitpair.runs import run_directory
from logitpair.runtime.lazy_imports import import_optional
from logitpair.storage.atomic_files import atomic_write

Images = Float[Tensor, "batch channels height width"]
Format = Literal["safetensors", "torch-export", "onnx"]
TOLERANCE = 1e-4  # of the spread of the logits: other kernels round otherwise
NAMES: Mapping[Format, str] = {"safetensors": "exported", "torch-export": "exported.pt2", "onnx": "exported.onnx"}  # in the run directory


def export_run(run: Path, format: Format, x: Images, *, out: Path | None = None, which: Literal["last", "best"] = "last") -> Path:
    """Write the network of a run, and return the path, which ``--model`` and ``read_model`` take.

    Args:
        run: a run directory.
        format: ``safetensors``, a folder with ``config.json`` beside the weights, for a network of ``logitpair.models``; ``torch-export``,
            a file of ``torch.export`` with the network's code, which runs without logitpair on batches of any size; ``onnx``, a file that
            other runtimes take, with the input ``images`` and the output ``logits``, compared as ``onnx``'s own NumPy code runs it.
        x: images in [0, 1], at least two, that the network is compared on with what was written.
        out: the folder or the file; by default ``exported``, ``exported.pt2`` or ``exported.onnx`` in the run directory.
        which: the checkpoint.

    Raises:
        InputError: for what holds no run, images of a shape that the network does not take, a network that ``torch.export`` cannot follow,
            ``onnx`` without the libraries of that extra, and logits that differ by more than 0.0001 of their spread.
    """
    content, config = run_directory.load_config(run)
    model = run_directory.load_network(run, config, which, "cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    check_accepts("--shape: the network", model, x)
    out = out or run / NAMES[format]
    if format == "safetensors":
        network = content["run"]["model"]
        arguments = {key: value for key, value in (network.get("init_args") or {}).items() if key != "pretrained"}
        crop_pct = getattr(config.data, "crop_pct", 1.0)  # of data sets whose images are cut out of photos
        write_package(out, Architecture(network["class_path"], arguments), model, tuple(x.shape[1:]), crop_pct)
    else:
        atomic_write(out, _program(model, x, format))
    _compare(model, _AsOnnxRuns(out) if format == "onnx" else read_model(str(out)), x, out)
    return out


def _program(model: nn.Module, x: Images, format: Format) -> bytes:
    """What ``torch.export`` makes of the network, for any number of images, or ``torch.onnx`` of that."""
    if format == "onnx":
        _import("onnxscript", "script")
    stream = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # what torch says to itself
            program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            if format == "onnx":
                written = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["images"], output_names=["logits"])
                model_proto = written.model_proto  # type: ignore[union-attr]
                model_proto.producer_name = MADE_BY
                return model_proto.SerializeToString()
        torch.export.save(program, stream, extra_files={MADE_BY: logitpair.__version__})
    except Exception as error:  # the network may do anything
        raise InputError(f"--format {format}: {type(model).__name__} cannot be exported ({first_line(error)})") from error
    return stream.getvalue()


def _import(module: str, holds: str) -> Any:
    return import_optional(module, holds, needed_by="--format onnx", extra="onnx")


class _AsOnnxRuns(nn.Module):
    """An ONNX file as ONNX defines its operators, in NumPy, and not as ``read_model`` does."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.evaluator = _import("onnx.reference", "ReferenceEvaluator").ReferenceEvaluator(str(path))

    def forward(self, x: Images) -> Tensor:
        return torch.from_numpy(self.evaluator.run(None, {"images": x.numpy()})[0])


def _compare(model: nn.Module, written: nn.Module, x: Images, out: Path) -> None:
    with torch.no_grad():
        for images in (x, x[:1]):  # a program may have been fixed to the number of images
            ours, theirs = compute_logits(model, images), compute_logits(written, images)
            difference, spread = (ours - theirs).abs().max(), ours.std(correction=0).clamp(min=torch.finfo(ours.dtype).eps)
            if not difference <= TOLERANCE * spread:
                raise InputError(
                    f"--format: '{out}' gives logits that differ by {difference / spread:.2g} of their spread from the network's"
                )
