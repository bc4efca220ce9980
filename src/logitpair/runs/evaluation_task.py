"""What is evaluated or audited: a network, its test images, the attacks, and what is known of all three."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import torch
from torch import nn

from logitpair.attacks import Attack
from logitpair.config import parsing, recipes
from logitpair.config.attack_specs import read_attacks
from logitpair.data import Data, Photos, batches, count, first
from logitpair.data.data_fingerprint import known_labels
from logitpair.errors import InputError
from logitpair.evaluation.evaluate import evaluate
from logitpair.evaluation.result import Evaluation
from logitpair.models import read_model
from logitpair.models.inference import check_classes, count_logits, device_of, to_channels_last
from logitpair.runs import run_directory
from logitpair.runs.overwrite_guard import refuse_overwriting_evaluation
from logitpair.runtime.distributed import ALONE, World
from logitpair.storage import checkpoint
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.result_files import read_record
from logitpair.storage.results import DataSet, Network, Published, SourceRun, Task, Training

BatchSize = int | Literal["auto"]
"""Images attacked together; ``auto`` for as many as are of use and fit."""

MANY = 1024  # images that keep any GPU busy; where they do not fit, evaluation halves them


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """Everything that ``evaluate`` needs: the arguments of that name, the ``model`` on its device and in eval mode."""

    model: nn.Module
    test: Data
    attacks: Mapping[str, Attack] = field(default_factory=dict[str, Attack])  # none for what attacks nothing
    curve: Sequence[float] = ()
    curve_examples: int = 500
    batch_size: int = 256
    workers: int = 0
    record: Task = field(default_factory=Task)  # what `results.json` says besides the results

    def under(self, attacks: Mapping[str, Attack]) -> Self:
        """The same under other attacks, without the numbers that were published for its own."""
        if attacks == self.attacks:
            return self
        return replace(self, attacks=attacks, record=msgspec.structs.replace(self.record, published=()))

    @classmethod
    def from_run(
        cls,
        run: Path,
        *,
        device: torch.device,
        which: Literal["last", "best"] = "last",
        attacks: str | None = None,
        data_dir: Path | None = None,
        examples: int | None = None,
        batch_size: BatchSize | None = None,
    ) -> Self:
        """A run on the first ``examples`` of its data set's test images, by its recipe's attacks unless others are named."""
        content, config = run_directory.load_config(run, data_dir=data_dir)
        settings = config.evaluation
        test = config.data.test()
        chosen = settings.attacks if attacks is None else read_attacks(attacks, next(iter(settings.attacks.values())))
        model = run_directory.load_network(run, config, which, device)
        if (first := next(batches(test, 1, device), None)) is None:
            raise InputError("data: holds no examples")
        check_classes(model, first[0], config.data.classes, config.data.name)
        step = _step_of(run, which)
        training = _finished_training(run, step if which == "last" else None)
        return cls(
            model=model,
            test=first_examples(test, examples, len(config.data.classes)),
            attacks=chosen,
            curve=settings.curve if next(iter(chosen.values())).threat.eps else (),  # eps 0 cannot be scaled
            curve_examples=min(settings.curve_examples, examples or settings.curve_examples),
            batch_size=images_together(batch_size, settings.batch_size, device),
            workers=config.workers,
            record=Task(
                recipe=content["recipe"],
                scale=content["scale"],
                checkpoint=which,
                step=step,
                data=DataSet(name=config.data.name, split="test", class_names=tuple(config.data.classes)),
                test_images=count(test),
                published=published(content, chosen),
                training=training,
            ),
        )

    @classmethod
    def from_model(
        cls,
        network: Network,
        images: Photos,
        *,
        device: torch.device,
        attacks: str | None = None,
        examples: int | None = None,
        batch_size: BatchSize | None = None,
    ) -> Self:
        """A network that was trained elsewhere, on the first ``examples`` of a folder of images, in the order of the classes' folders."""
        model = read_model(
            network.name,
            weights=Path(network.weights) if network.weights else None,
            classes=network.classes,
            pretrained=network.pretrained,
            mean=network.mean,
            std=network.std,
        ).to(device)
        first = images.first()
        test = images.test(count_logits(model, first))
        model = to_channels_last(model, first)
        data = DataSet(
            name=images.name,
            split="test",
            class_names=tuple(test.classes),
            size=images.size,
            resize=images.resize,
            interpolation=images.interpolation,
            grey=images.grey,
        )
        named = {} if attacks is None else read_attacks(attacks)
        chosen = first_examples(test, examples, len(set(known_labels(test))))
        together = images_together(batch_size, 256, device)
        return cls(
            model=model, test=chosen, attacks=named, batch_size=together, record=Task(network=network, data=data, test_images=count(test))
        )

    def evaluate(
        self,
        folder: Path,
        *,
        sources: Mapping[str, Path],
        worst_case_only: bool = False,
        seed: int = 0,
        keep_adversarial: bool = False,
        world: World = ALONE,
    ) -> Evaluation:
        """Evaluate, also on images made against the runs of ``sources``; work in progress and kept images are in ``folder``."""
        refuse_overwriting_evaluation(folder, self, sources, keeps_images=keep_adversarial, worst_case_only=worst_case_only)
        networks, known = load_sources(sources, self.model)
        evaluation = evaluate(
            self.model,
            self.test,
            attacks=self.attacks,
            sources=networks,
            curve=self.curve,
            curve_examples=self.curve_examples,
            worst_case_only=worst_case_only,
            seed=seed,
            batch_size=self.batch_size,
            workers=self.workers,
            name=folder.name,
            folder=folder,
            adversarial=folder / "adversarial" if keep_adversarial else None,
            world=world,
        )
        published = () if worst_case_only else self.record.published  # papers give the worst of the attacks, each run alone
        return evaluation.with_task(msgspec.structs.replace(self.record, sources=known, published=published))


def images_together(asked: BatchSize | None, usual: int, device: torch.device) -> int:
    """Images attacked together: more than usual are no faster on a CPU."""
    if asked == "auto":
        return max(usual, MANY) if device.type == "cuda" else usual
    return asked or usual


def published(content: Mapping[str, Any], attacks: Mapping[str, Attack]) -> tuple[Published, ...]:
    """Published numbers for a run, given the content of its ``config.yaml``: what its recipe says under ``about``, as fractions.

    None for a run at another scale, with other settings than the recipe's or under other attacks: it repeats nobody's experiment.
    """
    name = content["recipe"]
    if name not in recipes.names() or content["scale"] != "paper":
        return ()
    recipe = recipes.load(name)
    settings = parsing.resolve(recipe.run)
    differs = run_directory.differing(content["run"], settings, besides=("seed", "precision", "compile"))
    if differs or dict(attacks) != settings.config.evaluation.attacks:
        return ()
    entries = recipe.about.get("published", [])
    fractions = [{key: value / 100 if isinstance(value, int | float) else value for key, value in entry.items()} for entry in entries]
    return msgspec.convert(fractions, tuple[Published, ...])


def load_sources(paths: Mapping[str, Path], model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, SourceRun]]:
    """The networks of other runs by name, for images against ``model``, and what ``results.json`` says of each."""
    networks: dict[str, nn.Module] = {}
    steps: dict[str, int] = {}
    for name, path in paths.items():
        try:
            networks[name] = run_directory.load(path, device=device_of(model))
        except InputError as error:
            raise InputError(f"--source {name}: {error}") from error
        steps[name] = _step_of(path, "last")
        _finished_training(path, steps[name])
        if weights_of(networks[name]) == weights_of(model):
            warnings.warn(f"--source {name}: {path} holds the very weights that are evaluated; this is no black box", stacklevel=2)
    return networks, {name: SourceRun(run=path.as_posix(), step=steps[name]) for name, path in paths.items()}


def _finished_training(run: Path, step: int | None) -> Training | None:
    """What is recorded of the training; None, with a warning, where there is nothing or the last checkpoint's step is not its end."""
    path = run / "training.json"
    training = read_record(path, Training, "logitpair train") if path.exists() else None
    if training is None:
        warnings.warn(f"{run} has not finished training", stacklevel=3)
    elif step not in (None, training.steps):
        warnings.warn(
            f"{run} holds a checkpoint of step {step} of a training of {training.steps}; the same `train` again goes on to its end",
            stacklevel=3,
        )
        return None
    return training


def _step_of(run: Path, which: str) -> int:
    return checkpoint.load(checkpoint.path_of(run, which))["step"]


def first_examples(test: Data, examples: int | None, classes: int) -> Data:
    """The first images, all for None; warns where there are fewer, and where they come class by class and are not of all classes."""
    total, chosen = count(test), first(test, examples)
    if examples is not None and total is not None and examples > total:
        warnings.warn(f"--examples: {examples:,} is more than the {total:,} there are", stacklevel=3)
    labels = [] if examples is None else known_labels(chosen)
    present = len(set(labels))
    if labels == sorted(labels) and 0 < present < classes:
        warnings.warn(
            f"--examples {len(labels)}: only {present} of {classes} classes are among the first {len(labels)} photos; they come in the "
            "order of the classes' folders, so that the accuracy says nothing of the others; keep fewer of each instead",
            stacklevel=3,
        )
    return chosen
