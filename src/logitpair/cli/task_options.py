"""The options that name what a command works on: a run, or a network that logitpair did not train."""

from __future__ import annotations

import re
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, refuse_given
from logitpair.errors import InputError

OF_A_MODEL = ("weights", "pretrained", "classes", "mean", "std", "labels", "size", "resize", "out")


def add_task(parser: ArgumentParser) -> None:
    """``RUN``, or ``--model`` and what goes with it; ``--source``, ``--data-dir``, ``--examples`` and ``--batch-size``."""
    parser.add_argument(
        "run", nargs="?", type=Path | None, default=None, help="run directory that `logitpair train` wrote; or give --model"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help="a network that logitpair did not train: timm:resnet18, a TorchScript file, or an import path; tested on the photos in "
        "--data-dir (docs/how-to/own-models.md)",
    )
    for name, kind, meaning in (
        ("weights", Path, "its state_dict (.pt, .safetensors)"),
        ("classes", int, "its number of logits, for timm:NAME"),
        ("mean", str, "what it is normalised by, as 0.485,0.456,0.406"),
        ("std", str, "likewise, as 0.229,0.224,0.225"),
        ("labels", Path, "file of class names in the order of the logits"),
        ("size", int, "height and width of its images in pixels (default: timm's, else 224)"),
        ("resize", int, "the shorter side before the centre is cropped"),
    ):
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=f"with --model: {meaning}")
    parser.add_argument("--pretrained", action="store_true", help="with --model timm:NAME: the published weights, which are downloaded")
    add_options(parser, "out", help="with --model: folder of the results; runs/MODEL by default")
    add_options(parser, "source", "data-dir", "examples", "batch-size", "device")


def results_folder(arguments: Namespace) -> Path:
    """The folder of the results: the run's, or that of a model; options of one given to the other are refused."""
    if (arguments.run is None) == (arguments.model is None):
        raise InputError("RUN: give either a run directory or --model" + (", not both" if arguments.run else ""))
    if arguments.run is not None:
        refuse_given(arguments, OF_A_MODEL, "goes with --model; a run has its own")
        return arguments.run
    check_folder(arguments.out)
    refuse_given(arguments, ("checkpoint",), "goes with a run; a model is given by --model and --weights")
    path = Path(arguments.model)
    return arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else arguments.model)
