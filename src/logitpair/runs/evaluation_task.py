"""What is evaluated: a network, its test images, the attacks, and what is known of all three."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
import yaml
from torch import nn
from torch.utils.data import Dataset, Subset

from logitpair.attacks import Attack
from logitpair.config import recipes
from logitpair.config.attack_specs import read_attacks
from logitpair.config.recipes import with_root
from logitpair.data import Data, Photos, count, first
from logitpair.data.image_dataset import ImageFiles
from logitpair.errors import InputError
from logitpair.models import read_model
from logitpair.models.inference import count_logits, device_of
from logitpair.runs import run_directory as runs
from logitpair.storage import checkpoint
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.results import Network, Task


@dataclass(frozen=True)
class EvaluationTask:
    """Everything that ``evaluate`` needs.

    Args:
        model: on its device, in eval mode.
        test: the images.
        attacks: by name.
        curve: radii of the accuracy-against-eps curve.
        curve_examples: how many images the curve is measured on.
        batch_size: images attacked together.
        workers: processes that load images.
        about: what ``results.json`` says besides: ``recipe``, ``scale``, ``checkpoint``, ``step``, ``data``, ``training``, ``published``.
    """

    model: nn.Module
    test: Data
    attacks: Mapping[str, Attack]
    curve: Sequence[float] = ()
    curve_examples: int = 500
    batch_size: int = 256
    workers: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


def of_run(
    run: Path,
    *,
    device: torch.device,
    which: Literal["last", "best"] = "last",
    attacks: str | None = None,
    data_dir: Path | None = None,
    examples: int | None = None,
) -> EvaluationTask:
    """A run on its data set's test images, by its recipe's attacks unless others are named (``suites.read_attacks``).

    Raises:
        InputError: for a folder that holds no run, and for attacks or data that are refused.
    """
    content, _ = runs.load_config(run)
    config = recipes.resolve(with_root(content["run"], data_dir)).config
    settings = config.evaluation
    test = _first(config.data.test(), examples)
    if examples is not None:
        _tell_missing(test, len(config.data.classes))
    own = settings.attacks
    chosen = own if attacks is None else read_attacks(attacks, next(iter(own.values())))
    model = runs.load(run, which=which, device=device)
    training = run / "training.json"
    if not training.exists():
        warnings.warn(f"{run} has not finished training", stacklevel=2)
    about = {
        "recipe": content["recipe"],
        "scale": content["scale"],
        "checkpoint": which,
        "data": {"name": config.data.name, "split": "test", "class_names": list(config.data.classes)},
        "step": steps_of(run, which),
        "training": json.loads(training.read_text()) if training.exists() else None,
        "published": published(content, chosen),
    }
    return EvaluationTask(
        model=model,
        test=test,
        attacks=chosen,
        curve=settings.curve if next(iter(chosen.values())).threat.eps else (),  # eps 0 cannot be scaled
        curve_examples=min(settings.curve_examples, examples or settings.curve_examples),
        batch_size=settings.batch_size,
        workers=config.workers,
        about=about,
    )


def of_model(
    name: str,
    photos: Photos,
    *,
    device: torch.device,
    attacks: str,
    examples: int | None = None,
    weights: Path | None = None,
    classes: int | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> EvaluationTask:
    """A network that was trained elsewhere, on photos.

    Args:
        name: as ``models.read_model`` takes it: ``timm:resnet18``, a TorchScript file, an import path.
        photos: what to evaluate on.
        device: where to put the network.
        attacks: as ``suites.read_attacks`` takes them.
        examples: the first so many photos, in the order of the classes' folders; None for all.
        weights, classes, pretrained, mean, std: as for ``models.read_model``.

    Raises:
        InputError: for a network, photos or attacks that are refused.
    """
    model = read_model(name, weights=weights, classes=classes, pretrained=pretrained, mean=mean, std=std).to(device)
    test = photos.test(count_logits(model, photos.first()))
    about = {
        "recipe": None,
        "scale": None,
        "checkpoint": None,
        "network": {
            "name": name,
            "weights": weights.as_posix() if weights else None,
            "pretrained": pretrained,
            "classes": classes,
            "mean": None if mean is None else list(mean),
            "std": None if std is None else list(std),
            "labels": photos.labels.as_posix() if photos.labels else None,
        },
        "data": {"name": photos.name, "split": "test", "class_names": list(test.classes), "size": photos.size, "resize": photos.resize},
        "training": None,
        "published": [],
    }
    chosen = _first(test, examples)
    _tell_few([label for _, label in test.files[:examples]], len({label for _, label in test.files}))
    return EvaluationTask(model, chosen, read_attacks(attacks), about=about)


def _tell_missing(test: Data, classes: int) -> None:
    """Warn where the first photos of a data set that was cut short are of few classes, for most come class by class."""
    indices: Sequence[int] = range(count(test) or 0)
    while isinstance(test, Subset):
        indices, test = [test.indices[index] for index in indices], test.dataset
    if isinstance(test, ImageFiles):
        labels = [test.label(index) for index in indices]
        if labels == sorted(labels):
            _tell_few(labels, classes)


def _tell_few(labels: Sequence[int], classes: int) -> None:
    there = len(set(labels))
    if there < classes:
        warnings.warn(
            f"--examples {len(labels)}: only {there} of {classes} classes are among the first {len(labels)} photos; they come in the order"
            " of the classes' folders, so that the accuracy says nothing of the others",
            stacklevel=3,
        )


def _first(test: Dataset[Any], examples: int | None) -> Data:
    total = count(test)
    if examples is not None and total is not None and examples > total:
        warnings.warn(f"--examples: {examples:,} are asked for, there are {total:,}", stacklevel=3)
    return first(test, examples)


def published(content: Mapping[str, Any], attacks: Mapping[str, Attack]) -> list[dict[str, Any]]:
    """Published numbers for a run, accuracies as fractions: what its recipe says under ``about``, ``published``.

    None for a run at another scale, with other settings than the recipe's or under other attacks: it repeats nobody's experiment.

    Args:
        content: of the run's ``config.yaml``.
        attacks: that it is evaluated by.
    """
    name = content["recipe"]
    if name not in recipes.names() or content["scale"] != "paper":
        return []
    recipe = recipes.load(name)
    settings = recipes.resolve(recipe.run)
    differs = runs.differing(content["run"], yaml.safe_load(settings.text), besides=("seed", "precision", "compile"))
    if differs or dict(attacks) != settings.config.evaluation.attacks:
        return []
    entries = recipe.about.get("published", [])
    return [{key: value / 100 if isinstance(value, int | float) else value for key, value in entry.items()} for entry in entries]


def task_of(about: Mapping[str, Any]) -> Task:
    """What ``results.json`` says besides, as a record."""
    return msgspec.convert({key: value for key, value in about.items() if value is not None}, Task)


def sources_of(paths: Mapping[str, Path], model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, dict[str, Any]]]:
    """The networks of other runs by name, and what ``results.json`` says of each: its ``run`` and ``step``.

    Warns of runs that have not finished training, and of a source that is the network itself.

    Args:
        paths: the runs, by name.
        model: the network that their images are for, on its device.

    Raises:
        InputError: for a folder that holds no run.
    """
    networks: dict[str, nn.Module] = {}
    for name, path in paths.items():
        try:
            networks[name] = runs.load(path, device=device_of(model))
        except InputError as error:
            raise InputError(f"--source {name}: {error}") from error
        if not (path / "training.json").exists():
            warnings.warn(f"{path} has not finished training", stacklevel=2)
        if weights_of(networks[name]) == weights_of(model):
            warnings.warn(f"--source {name}: {path} holds the very weights that are evaluated; this is no black box", stacklevel=2)
    return networks, {name: {"run": path.as_posix(), "step": steps_of(path, "last")} for name, path in paths.items()}


def steps_of(run: Path, which: str) -> int:
    """Optimizer steps behind a run's checkpoint."""
    return checkpoint.load(run / "checkpoints" / f"{which}.pt")["step"]


def refuse_overwriting(folder: Path, subject: EvaluationTask, sources: Iterable[str] = (), kept: bool = False) -> None:
    """Keep a finished evaluation from being written over by one that says less, or is of another network.

    Args:
        folder: where the results are to go.
        subject: of the evaluation that is asked for.
        sources: the names of its sources.
        kept: whether its adversarial images are to be kept.

    Raises:
        InputError: if the folder holds one of more examples, with an attack or source that is missing now, with adversarial images that
            would not be kept, of another checkpoint or network, or one that cannot be read.
    """
    path, about = folder / "results.json", subject.about
    try:
        before = json.loads(path.read_text())
        total, of, which = int(before["examples"]), before.get("network"), before.get("checkpoint")
        of = None if of is None else msgspec.structs.asdict(msgspec.convert(of, Network))
        made = {name: entry["parameters"] for name, entry in before["attacks"].items()}
        now = {name: describe(attack) for name, attack in subject.attacks.items()}
        lost = [f"attack '{name}'" for name, parameters in made.items() if now.get(name) != parameters]
        lost += [f"source '{name}'" for name in before["black_box"] if name not in set(sources)]
        lost += ["--keep-adversarial"] if not kept and any("images" in entry for entry in before["attacks"].values()) else []
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is damaged; delete the folder or give another --name") from error
    network = None if about.get("network") is None else msgspec.structs.asdict(msgspec.convert(about["network"], Network))
    if of != network:
        raise InputError(f"--out: '{folder}' holds an evaluation of {_differing(of, network)}; give another --out or --name")
    if which != about.get("checkpoint"):
        raise InputError(
            f"--checkpoint: '{folder}' holds an evaluation of {which}, this one is of {about.get('checkpoint')}; give another --name"
        )
    examples = count(subject.test)
    if examples is not None and total > examples:
        raise InputError(f"--examples: '{folder}' holds an evaluation of {total:,} images, this one has {examples:,}; give another --name")
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InputError(f"--name: '{folder}' holds an evaluation with {lost[0]}{more}, which this one is without; give another --name")


def _differing(of: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """What the network of an evaluation was, as far as it is another one now."""
    if of is None:
        return "a run"
    key = next((key for key in of if now and key in now and of[key] != now[key]), "name")
    return str(of["name"]) if key == "name" else f"{of['name']} with --{key} {of[key]}"
