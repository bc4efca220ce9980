"""What a command works on, loaded by the options of ``task_options``."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from jsonargparse import Namespace

from logitpair.cli.options import device_of
from logitpair.data import Photos
from logitpair.errors import InputError, raised
from logitpair.evaluation.attack_run import check_name
from logitpair.models import image_size
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.storage.results import Network

TIMEOUT = timedelta(days=7)  # of processes that are done before the others: some images take many times as long as others


def load_task(arguments: Namespace, device: torch.device, *, examples: int | None, attacks: str | None) -> EvaluationTask:
    """The run, or the model on its images; ``attacks`` as ``--attacks`` names them, None for the recipe's and for none with a model."""
    if arguments.run is not None:
        return EvaluationTask.from_run(
            arguments.run,
            device=device,
            which=arguments.checkpoint or "last",
            attacks=attacks,
            data_dir=arguments.data_dir,
            examples=examples,
        )
    network = Network(
        name=arguments.model,
        weights=arguments.weights.as_posix() if arguments.weights else None,
        pretrained=arguments.pretrained,
        classes=arguments.classes,
        mean=_numbers("--mean", arguments.mean),
        std=_numbers("--std", arguments.std),
        labels=arguments.labels.as_posix() if arguments.labels else None,
    )
    size = image_size(arguments.model) if arguments.size is None else arguments.size
    images = Photos(root=arguments.data_dir, size=size, resize=arguments.resize, labels=arguments.labels)
    return EvaluationTask.from_model(network, images, device=device, attacks=attacks, examples=examples)


@contextlib.contextmanager
def joined(arguments: Namespace) -> Generator[World]:
    """The processes that share the work, on the device of ``--device``; what the network of ``--model`` raises meanwhile is one line."""
    name = arguments.get("model")
    try:
        with distributed.join(device_of(arguments.device), timeout=TIMEOUT) as world:
            yield world
    except (InputError, OSError):
        raise
    except Exception as error:  # the network is the user's and may raise anything
        if name is None:
            raise
        raise InputError(f"--model: {name} {raised(error)}") from error


def parse_sources(texts: Sequence[str] | None) -> dict[str, Path]:
    """Every ``NAME=RUN``, by name; refused are anything else, a name that is given twice, and one that the ledger needs."""
    pairs = [text.partition("=") for text in texts or ()]
    for name, equals, path in pairs:
        if not (name and equals and path):
            raise InputError(f"--source: '{name}{equals}{path}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
        check_name("--source", name)
    for name, times in Counter(name for name, _, _ in pairs).items():
        if times > 1:
            raise InputError(f"--source: '{name}' names {times} runs; accepted: every name once")
    return {name: Path(path) for name, _, path in pairs}


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError as error:
        raise InputError(f"{option}: '{text}' is no list of numbers such as 0.485,0.456,0.406") from error
