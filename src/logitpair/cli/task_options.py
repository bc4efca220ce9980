"""What a command works on: a run, or a network that logitpair did not train; and the options that name it."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_data_dir, check_folder, refuse_given
from logitpair.data import Photos
from logitpair.errors import InputError
from logitpair.evaluation.attack_run import check_name
from logitpair.models import image_size
from logitpair.runs.evaluation_task import EvaluationTask, of_model, of_run
from logitpair.runtime.distributed import World

PATIENCE = timedelta(days=7)  # of processes whose share is done: some images take many times as long as others
OF_A_MODEL = ("weights", "pretrained", "classes", "mean", "std", "labels", "size", "resize", "out")


def add_subject(parser: ArgumentParser) -> None:
    """``RUN``, or ``--model`` and what goes with it; ``--data-dir`` and ``--examples``."""
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
    parser.add_argument("--weights", type=Path | None, default=None, help="with --model: its state_dict (.pt, .safetensors)")
    parser.add_argument("--pretrained", action="store_true", help="with --model timm:NAME: the published weights, which are downloaded")
    parser.add_argument("--classes", type=int | None, default=None, help="with --model timm:NAME: its number of logits")
    parser.add_argument("--mean", type=str | None, default=None, help="with --model: what it is normalised by, as 0.485,0.456,0.406")
    parser.add_argument("--std", type=str | None, default=None, help="with --model: likewise, as 0.229,0.224,0.225")
    parser.add_argument("--labels", type=Path | None, default=None, help="with --model: file of class names in the order of the logits")
    parser.add_argument(
        "--size", type=int | None, default=None, help="with --model: height and width of its images in pixels (default: timm's, else 224)"
    )
    parser.add_argument("--resize", type=int | None, default=None, help="with --model: the shorter side before the centre is cropped")
    parser.add_argument("--out", type=Path | None, default=None, help="with --model: folder of the results; runs/MODEL by default")
    add_data_dir(parser)
    parser.add_argument("--examples", type=int | None, default=None, help="the first N test images only")
    parser.add_argument("--batch-size", type=int | None, default=None, help="images attacked together (no result depends on it)")


def out_of(arguments: Namespace) -> Path:
    """The folder of the results: the run's, or that of a model.

    Raises:
        InputError: for neither a run nor a model, both, or options of one given to the other.
    """
    if (arguments.run is None) == (arguments.model is None):
        raise InputError("RUN: give either a run directory or --model" + (", not both" if arguments.run else ""))
    if arguments.run is None:
        check_folder(arguments.out)
        refuse_given(arguments, ("checkpoint",), "goes with a run; a model is given by --model and --weights")
        path = Path(arguments.model)
        return arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else arguments.model)
    refuse_given(arguments, OF_A_MODEL, "goes with --model; a run has its own")
    return arguments.run


def subject_of(arguments: Namespace, world: World, examples: int | None, attacks: str | None) -> EvaluationTask:
    """The run, or the model on its photos; ``attacks`` as ``--attacks`` names them, None for the recipe's.

    Raises:
        InputError: for what cannot be read, and for options that are missing.
    """
    if arguments.run is not None:
        return of_run(
            arguments.run,
            device=world.device,
            which=arguments.checkpoint or "last",
            attacks=attacks,
            data_dir=arguments.data_dir,
            examples=examples,
        )
    if attacks is None:
        raise InputError(
            "--attacks is not given; a model without a recipe needs it, such as pgd_4_1_10 (eps and step size in 1/255, steps)"
        )
    return of_model(
        arguments.model,
        Photos(
            root=arguments.data_dir,
            size=image_size(arguments.model) if arguments.size is None else arguments.size,
            resize=arguments.resize,
            labels=arguments.labels,
        ),
        device=world.device,
        attacks=attacks,
        examples=examples,
        weights=arguments.weights,
        classes=arguments.classes,
        pretrained=arguments.pretrained,
        mean=numbers("--mean", arguments.mean),
        std=numbers("--std", arguments.std),
    )


@contextlib.contextmanager
def blaming(name: str | None) -> Generator[None]:
    """Tell in one line what the network that ``--model`` names raises while it is worked on; None for a run, whose errors are ours.

    Raises:
        InputError: naming the network and what it raised.
    """
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:  # the network is the user's and may raise anything
        if name is None:
            raise
        said = " ".join(str(error).split())
        raise InputError(f"--model: {name} raised {type(error).__name__}{f': {said}' if said else ''}") from error


def numbers(option: str, text: str | None) -> list[float] | None:
    """``0.485,0.456,0.406`` as numbers.

    Raises:
        InputError: for anything else.
    """
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option}: '{text}' is no list of numbers such as 0.485,0.456,0.406") from error


def parse_sources(texts: Sequence[str]) -> dict[str, Path]:
    """Every ``NAME=RUN``, by name.

    Raises:
        InputError: for anything else, and for a name that is given twice or is the ledger's own.
    """
    pairs = [parse_source(text) for text in texts]
    for name, times in Counter(name for name, _ in pairs).items():
        check_name("--source", name)
        if times > 1:
            raise InputError(f"--source: '{name}' names {times} runs; accepted: every name once")
    return dict(pairs)


def parse_source(text: str) -> tuple[str, Path]:
    """``NAME=RUN`` as a pair.

    Raises:
        InputError: for anything else.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"--source: '{text}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
    return name, Path(path)
