"""``logitpair evaluate``"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace

from logitpair import checkpoint, recipes, run as runs
from logitpair.commands.options import add_data_dir, add_device, device_of, with_root
from logitpair.console import console, print_table
from logitpair.data import first
from logitpair.errors import InputError
from logitpair.evaluate import evaluate
from logitpair.evaluation import Evaluation
from logitpair.suites import read_attacks

SUMMARY = "accuracy of a run: clean, white box, and black box from other runs"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", type=Path, help="run directory that `logitpair train` wrote")
    parser.add_argument("--source", action="append", type=str, metavar="NAME=RUN", help="another run, for black-box images; repeatable")
    parser.add_argument(
        "--attacks",
        type=str | None,
        default=None,
        help="instead of the recipe's: names such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps) with commas between them, "
        "paper (the paper's eight at the sizes of the recipe's first), or a YAML file; see docs/library.md",
    )
    add_data_dir(parser)
    parser.add_argument("--examples", type=int | None, default=None, help="the first N test images only")
    parser.add_argument("--batch-size", type=int | None, default=None, help="images attacked together (no result depends on it)")
    parser.add_argument("--checkpoint", type=str, default="last", help="last, or best (by white-box accuracy on held-out training images)")
    parser.add_argument("--name", type=str, default="test", help="results go to RUN/evaluation/NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks' randomness")
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Evaluate, print the table, write ``results.json`` and ``ledger.npz``."""
    sources = dict(parse_source(source) for source in arguments.source or [])
    evaluation = evaluate_run(
        arguments.run,
        sources=sources,
        attacks=arguments.attacks,
        data_dir=arguments.data_dir,
        examples=arguments.examples,
        batch_size=arguments.batch_size,
        which=arguments.checkpoint,
        name=arguments.name,
        seed=arguments.seed,
        device=device_of(arguments.device),
    )
    path = evaluation.save(arguments.run / "evaluation" / arguments.name)
    print_table(evaluation)
    console.print(f"Wrote {path}\nNext: logitpair report {arguments.run}")


def evaluate_run(
    run: Path,
    *,
    sources: dict[str, Path],
    device: torch.device,
    attacks: str | None = None,
    data_dir: Path | None = None,
    examples: int | None = None,
    batch_size: int | None = None,
    which: str = "last",
    name: str = "test",
    seed: int = 0,
) -> Evaluation:
    """Evaluate a run on its data set's test images, by its recipe's attacks unless others are named (``suites.read_attacks``).

    Raises:
        InputError: for a folder that holds no run, or an option out of range.
    """
    if which not in ("last", "best"):
        raise InputError(f"--checkpoint: '{which}' is not accepted; accepted: last, best")
    if Path(name).name != name:
        raise InputError(f"--name: '{name}' is not the name of a folder")
    if examples is not None and examples < 1:
        raise InputError(f"--examples must be at least 1, not {examples}")
    content, _ = runs.load_config(run)
    config = recipes.resolve(with_root(content["run"], data_dir)).config
    settings = config.evaluation
    own = settings.attacks
    chosen = own if attacks is None else read_attacks(attacks, next(iter(own.values())))
    model = runs.load(run, which=which, device=device)
    networks = {source: runs.load(path, device=device) for source, path in sources.items()}
    for path in (run, *sources.values()):
        if not (path / "training.json").exists():
            warnings.warn(f"{path} has not finished training", stacklevel=2)
    evaluation = evaluate(
        model,
        first(config.data.test(), examples),
        attacks=chosen,
        sources=networks,
        curve=settings.curve,
        curve_examples=min(settings.curve_examples, examples or settings.curve_examples),
        seed=seed,
        batch_size=settings.batch_size if batch_size is None else batch_size,
        workers=config.workers,
        name=name,
    )
    training = run / "training.json"
    about = {
        "recipe": content["recipe"],
        "scale": content["scale"],
        "checkpoint": which,
        "data": {"name": config.data.name, "split": "test", "class_names": list(config.data.classes)},
        "step": steps_of(run, which),
        "sources": {source: {"run": path.as_posix(), "step": steps_of(path, "last")} for source, path in sources.items()},
        "training": json.loads(training.read_text()) if training.exists() else None,
    }
    return dataclasses.replace(evaluation, results=evaluation.results | about)


def steps_of(run: Path, which: str) -> int:
    """Optimizer steps behind a run's checkpoint."""
    return checkpoint.load(run / "checkpoints" / f"{which}.pt")["step"]


def parse_source(text: str) -> tuple[str, Path]:
    """``NAME=RUN`` as a pair.

    Raises:
        InputError: for anything else.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path) or name == "white_box":
        raise InputError(f"--source: '{text}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
    return name, Path(path)
