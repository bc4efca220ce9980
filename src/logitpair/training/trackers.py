"""Trackers of experiments: Weights & Biases, MLflow, trackio, or one of your own, beside what the run directory keeps by itself."""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from logitpair.config import recipes
from logitpair.config.parsing import flatten
from logitpair.errors import InputError, first_line, raised
from logitpair.runtime.lazy_imports import import_optional
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import Accuracy, AuditResults, EvaluationResults

logger = logging.getLogger("logitpair")
PROJECT = "logitpair"  # where a tracker's own environment names no project
DESCRIBED = ("network", "data", "threat", "examples", "seed")  # of results, what makes their numbers mean something
WITHOUT = "all goes on without it, and the run directory has the numbers"


@runtime_checkable
class Tracker(Protocol):
    """What is told what a training, an evaluation or an audit measures, in the process that writes its files; it may raise what it likes.

    ``name`` is what messages and ``trackers.json`` call it.
    """

    name: str

    def start(self, run: Path, config: Mapping[str, Any], begun: str | None) -> str:
        """Begin to track the run in ``run``, or go on with what ``begun`` names; returns the name by which it is gone on with.

        ``config`` are the settings as ``config.yaml`` holds them, nested and plain; of a network without a run, what its results say it is.
        """
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a line of ``metrics.jsonl``. Steps only grow, also where a killed run repeats some."""
        ...

    def summarize(self, metrics: Mapping[str, float]) -> None:
        """Take numbers of the whole run, such as ``test/white_box`` of an evaluation; what comes later takes the place of its namesake."""
        ...

    def end(self, finished: bool) -> None:
        """Training, evaluation or audit is over: ``finished``, or to be gone on with."""
        ...


class Trackers:
    """Several trackers, none of which stops what has begun: what one raises is warned of once, and it is left out from then on.

    Their names for the run are kept in its ``trackers.json``.
    """

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._given, self._active = trackers, list[Tracker]()

    def start(self, run: Path, *, resuming: bool, described: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on with what a run that is resumed from a checkpoint was tracked as; ``described`` is for one without settings.

        Raises:
            InputError: for a tracker that cannot begin with a new run.
        """
        if not self._given:
            return
        path, settings = run / "trackers.json", run / "config.yaml"
        config = recipes.read_yaml(settings)["run"] if settings.exists() else described or {}
        begun = _begun(path) if resuming and path.exists() else {}
        for tracker in self._given:
            try:
                begun[tracker.name] = tracker.start(run, config, begun.get(tracker.name))
                self._active.append(tracker)
            except Exception as error:  # whatever its library raises
                if not resuming:
                    raise InputError(_line(tracker, error)) from error
                logger.warning(f"{_line(tracker, error)}; {WITHOUT}")
        if begun:
            atomic_write(path, json.dumps(begun, indent=2) + "\n")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        self._each(lambda tracker: tracker.log(step, metrics))

    def summarize(self, metrics: Mapping[str, float]) -> None:
        """Tell all."""
        self._each(lambda tracker: tracker.summarize(metrics))

    def end(self, finished: bool) -> None:
        """Let all that have begun finish."""
        self._each(lambda tracker: tracker.end(finished))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in [*self._active]:
            try:
                tell(tracker)
            except Exception as error:  # whatever its library raises
                self._active.remove(tracker)
                logger.warning(f"{_line(tracker, error)}; {WITHOUT}")


def _begun(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (ValueError, OSError) as error:
        logger.warning(f"--tracker: '{path}' is damaged ({first_line(error)}); the run is tracked as a new one")
        return {}


def _line(tracker: Tracker, error: Exception) -> str:
    return f"--tracker: {tracker.name} {raised(error)}"


class WandB:
    """Weights & Biases, by its own environment variables: ``WANDB_PROJECT``, ``WANDB_MODE=offline`` and the others."""

    name = "wandb"

    def __init__(self) -> None:
        self._library = _library(self.name, "init")
        self._run: Any = None

    def start(self, run: Path, config: Mapping[str, Any], begun: str | None) -> str:
        self._run = self._library.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=begun,
            name=None if begun else run.name,
            resume="allow",
            config=dict(config),
            dir=os.environ.get("WANDB_DIR", run),
            settings=self._library.Settings(console="off"),  # the terminal is ours
        )
        return self._run.id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def summarize(self, metrics: Mapping[str, float]) -> None:
        self._run.summary.update(dict(metrics))

    def end(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    """MLflow, by its own environment variables: ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and the others."""

    name = "mlflow"

    def __init__(self) -> None:
        self._library = _library(self.name, "MlflowClient")
        self._client, self._run = None, ""

    def start(self, run: Path, config: Mapping[str, Any], begun: str | None) -> str:
        self._client: Any = self._library.MlflowClient()
        if begun:
            self._client.update_run(begun, status="RUNNING")
            self._run = begun
            return begun
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._run = self._client.create_run(number, run_name=run.name).info.run_id
        settings = [self._library.entities.Param(key, str(value)[:500]) for key, value in flatten(config).items()]
        for first in range(0, len(settings), 100):  # as many as a request takes, as the letters of each
            self._client.log_batch(self._run, params=settings[first : first + 100])
        return self._run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._run, [self._library.entities.Metric(name, value, now, step) for name, value in metrics.items()])

    def summarize(self, metrics: Mapping[str, float]) -> None:
        self.log(0, metrics)

    def end(self, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


class Trackio:
    """trackio, by its own environment variables: ``TRACKIO_DIR``, ``TRACKIO_SPACE_ID`` and the others."""

    name = "trackio"

    def __init__(self) -> None:
        self._library = _library(self.name, "init")
        self._run: Any = None

    def start(self, run: Path, config: Mapping[str, Any], begun: str | None) -> str:
        name = begun or f"{run.name}-{secrets.token_hex(4)}"  # by which it is found again
        resume = "must" if begun else "never"
        self._run = self._library.init(
            project=PROJECT, name=name, resume=resume, config=dict(config), embed=False, auto_log_cpu=False, auto_log_gpu=False
        )
        return name

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def summarize(self, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics))  # as the next step

    def end(self, finished: bool) -> None:
        self._library.finish()


TRACKERS: Mapping[str, Callable[[], Tracker]] = {kind.name: kind for kind in (WandB, MLflow, Trackio)}


def named(texts: Sequence[str]) -> list[Tracker]:
    """The trackers that ``--tracker`` names, each text one or several with commas.

    Raises:
        InputError: for a name that is none, and a library that is not installed.
    """
    names = dict.fromkeys(name.strip() for text in texts for name in text.split(","))
    for name in names:
        if name not in TRACKERS:
            events = "; a training's TensorBoard events are in RUN/tensorboard without it" if name == "tensorboard" else ""
            raise InputError(f"--tracker: '{name}' is none; accepted: {', '.join(TRACKERS)}{events}")
    return [TRACKERS[name]() for name in names]


def tell(trackers: Sequence[Tracker], run: Path, record: EvaluationResults | AuditResults) -> None:
    """Tell trackers an evaluation's or an audit's accuracies, after its name, as the run that they tracked before or as a new one."""
    told = Trackers(trackers)
    described = {key: value for key, value in msgspec.to_builtins(record).items() if key in DESCRIBED}
    told.start(run, resuming=True, described=described)
    told.summarize({f"{record.name}/{name}": accuracy.top1 for name, accuracy in _accuracies(record).items()})
    told.end(finished=True)


def _accuracies(record: EvaluationResults | AuditResults) -> dict[str, Accuracy]:
    if isinstance(record, AuditResults):
        certified = {"certified": record.certified} if record.certified else {}
        return {"clean": record.clean, "reference": record.reference, "robust_accuracy": record.robust_accuracy} | certified
    # no name is the beginning of another one: MLflow would have a folder and a file of it
    attacks = {f"attacks/{name}": accuracy for name, accuracy in record.attacks.items()}
    black_box = {f"black_box/{source}": accuracy for source, accuracy in record.black_box.items()}
    white_box = {"white_box": record.white_box} if record.white_box else {"white_box_union": record.white_box_union}
    return {"clean": record.clean} | white_box | attacks | black_box


def _library(name: str, holds: str) -> Any:
    return import_optional(name, holds, needed_by=f"--tracker {name}", extra=name)
