"""What a command works on, by the options that name it: a run, or a network that logitpair did not train. Torch comes with its loading."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, device_of, refuse_given, use_engine
from logitpair.errors import InputError, is_out_of_memory, raised

if TYPE_CHECKING:
    import torch

    from logitpair.runs.evaluation_task import EvaluationTask
    from logitpair.runtime.distributed import World

OF_A_MODEL = ("weights", "pretrained", "classes", "mean", "std", "labels", "size", "resize", "grey", "out")
TIMEOUT = timedelta(days=7)  # of processes that are done before the others: some images take many times as long as others


def add_task(parser: ArgumentParser, *, sources: bool = True) -> None:
    """``RUN``, or ``--model`` and what goes with it; ``--source``, ``--data-dir``, ``--examples`` and ``--batch-size``."""
    parser.add_argument(
        "run", nargs="?", type=Path | None, default=None, help="run directory that `logitpair train` wrote; or give --model"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help="a network that logitpair did not train: timm:resnet18, robustbench:NAME, hf:owner/name, onnx:FILE, an exported folder, a "
        "TorchScript file, or an import path; tested on the photos in --data-dir (docs/how-to/own-models.md)",
    )
    for name, kind, meaning in (
        ("weights", Path, "its state_dict (.pt, .safetensors), or hf:owner/name"),
        ("classes", int, "its number of logits, for timm:NAME"),
        ("mean", str, "what it is normalised by, as 0.485,0.456,0.406"),
        ("std", str, "likewise, as 0.229,0.224,0.225"),
        ("labels", Path, "file of class names in the order of the logits"),
        ("size", int, "height and width of its images in pixels (default: what is noted of the network, else 224)"),
        ("resize", int, "the shorter side before the centre is cropped"),
    ):
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=f"with --model: {meaning}")
    parser.add_argument("--grey", action="store_true", help="with --model: photos in one channel of grey, for a network that takes one")
    parser.add_argument("--pretrained", action="store_true", help="with --model timm:NAME: the published weights, which are downloaded")
    add_options(parser, "out", help="with --model: folder of the results; runs/MODEL by default")
    add_options(parser, *(["source"] if sources else []), "data-dir", "examples", "batch-size", "processes", "device", "engine")


def results_folder(arguments: Namespace) -> Path:
    """The folder of the results: the run's, or that of a model; options of one given to the other are refused."""
    if (arguments.run is None) == (arguments.model is None):
        raise InputError("RUN: give either a run directory or --model" + (", not both" if arguments.run else ""))
    if arguments.run is not None:
        refuse_given(arguments, OF_A_MODEL, "goes with --model; a run has its own")
        return arguments.run
    check_folder(arguments.out)
    refuse_given(arguments, ("checkpoint",), "goes with a run; a model is given by --model and --weights")
    path = Path(arguments.model.removeprefix("onnx:"))
    out = arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else arguments.model)
    photos = arguments.data_dir
    classes = [] if photos is None else [photos / split for split in ("val", "test") if (photos / split).is_dir()] or [photos]
    if any(out.resolve().is_relative_to(folder.resolve()) for folder in classes):
        raise InputError(f"--out: '{out}' lies among the classes of --data-dir and would be taken for one; give a folder elsewhere")
    return out


def parse_sources(texts: Sequence[str] | None) -> dict[str, Path]:
    """Every ``NAME=RUN``, by name; refused are anything else, a name that is given twice, and one that the ledger needs."""
    from logitpair.evaluation.attack_run import check_name

    sources: dict[str, Path] = {}
    for text in texts or ():
        name, _, path = text.partition("=")
        if not (name and path):
            raise InputError(f"--source: '{text}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
        check_name("--source", name)
        if name in sources:
            times = sum(other.startswith(f"{name}=") for other in texts or ())
            raise InputError(f"--source: '{name}' names {times} runs; accepted: every name once")
        sources[name] = Path(path)
    return sources


@contextlib.contextmanager
def joined(arguments: Namespace) -> Generator[World]:
    """The processes that share the work, on the device of ``--device``; what the network of ``--model`` raises meanwhile is one line."""
    from logitpair.runtime import distributed

    use_engine(arguments.get("engine"))
    try:
        with distributed.join(device_of(arguments.device), timeout=TIMEOUT) as world:
            yield world
    except (InputError, OSError, Warning):
        raise
    except Exception as error:  # the network is the user's and may raise anything
        if arguments.get("model") is None or is_out_of_memory(error):
            raise
        raise InputError(f"--model: {arguments.model} {raised(error)}") from error


@contextlib.contextmanager
def shared(arguments: Namespace) -> Generator[tuple[EvaluationTask, World]]:
    """What the options name, and the processes that share the work on it: those of ``torchrun``, or as many as ``--processes`` starts."""
    from logitpair.cli.processes import how_many, together

    with joined(arguments) as world:
        task = load_task(arguments, world.device)
        usual = arguments.get("budget", 0) / 10  # that an audit takes of its budget
        passes = usual or sum(getattr(attack, "steps", 1) * getattr(attack, "restarts", 1) for attack in task.attacks.values())
        number = how_many(arguments.processes or "auto", task, passes, world)
        with together(arguments.command_line, number, TIMEOUT) if number > 1 else contextlib.nullcontext(world) as world:
            yield task, world


def load_task(arguments: Namespace, device: torch.device) -> EvaluationTask:
    """The run, or the model on its images; without ``--attacks`` under the recipe's, and under none with a model."""
    from logitpair.data import Photos
    from logitpair.models import preprocessing
    from logitpair.runs.evaluation_task import EvaluationTask
    from logitpair.storage.results import Network

    common = {name: arguments[name] for name in ("attacks", "examples", "batch_size")}
    if arguments.run is not None:
        which = arguments.checkpoint or "last"
        return EvaluationTask.from_run(arguments.run, device=device, which=which, data_dir=arguments.data_dir, **common)
    network = Network(
        name=arguments.model,
        weights=arguments.weights.as_posix() if arguments.weights else None,
        pretrained=arguments.pretrained,
        classes=arguments.classes,
        mean=_numbers("--mean", arguments.mean),
        std=_numbers("--std", arguments.std),
        labels=arguments.labels.as_posix() if arguments.labels else None,
    )
    cut = preprocessing(arguments.model, arguments.size)
    resize = cut.resize if arguments.resize is None else arguments.resize
    if arguments.weights and arguments.size and arguments.resize is None and cut.resize:  # of published weights it is what they saw
        cropped = f"photos are resized to {resize} pixels and their centre cropped, as is noted of {arguments.model}"
        warnings.warn(f"--size {cut.size}: {cropped}; for weights that saw whole photos give --resize {cut.size} too", stacklevel=2)
    images = Photos(
        root=arguments.data_dir,
        size=cut.size,
        resize=resize,
        interpolation=cut.interpolation,
        labels=arguments.labels,
        grey=arguments.grey,
    )
    return EvaluationTask.from_model(network, images, device=device, **common)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError as error:
        raise InputError(f"{option}: '{text}' is no list of numbers such as 0.485,0.456,0.406") from error
