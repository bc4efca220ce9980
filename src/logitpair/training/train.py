"""Training: the whole road of a run, top to bottom."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from logitpair.config.run_config import RunConfig
from logitpair.data import batches, first
from logitpair.errors import InputError
from logitpair.models.inference import check_classes, frozen_eval
from logitpair.runtime import distributed, precision, threads
from logitpair.runtime.distributed import World
from logitpair.runtime.signals import GracefulStop
from logitpair.storage import checkpoint, run_lock
from logitpair.storage.atomic_files import is_json
from logitpair.training.activation_checkpointing import checkpoint_activations
from logitpair.training.checkpoints import Checkpoints
from logitpair.training.elastic import process_team
from logitpair.training.local_batches import LocalBatches
from logitpair.training.metrics import RunLog
from logitpair.training.process_team import Measures
from logitpair.training.trackers import Tracker
from logitpair.training.train_state import TrainState, initial_state
from logitpair.training.train_step import check_one_image, train_step
from logitpair.training.validation import validate

logger = logging.getLogger("logitpair")
LOG_EVERY = 20  # steps between two lines of metrics
TIMEOUT = timedelta(hours=1)  # that processes wait for each other: for a download, or the slowest batches of a validation


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved its state."""


def train(config: RunConfig, run: Path, *, device: torch.device, quiet: bool = False, trackers: Sequence[Tracker] = ()) -> nn.Module:
    """Train to the end, from the last checkpoint of ``run`` if it has one, and return the network in eval mode.

    The weights are the same whether or not the run was interrupted on the way (on the CPU, with as many threads): data order,
    noise and random starts are functions of the seed, the step and the image's position in the step's batch, and a checkpoint holds all
    the rest. So they are on any number of processes, to rounding, also where a run goes on with fewer or more of them, but for
    what works on a process's own images of the batch, such as BatchNorm (``docs/explanation/reproducibility.md`` names it all). With
    ``config.elastic`` this process is one of several workers that may be lost and come back on the way (``docs/how-to/elastic.md``).

    Args:
        config: the settings.
        run: the run directory; checkpoints, metrics and TensorBoard events go there.
        device: what to train on; under ``torchrun`` each process takes its own.
        quiet: no progress bar, and nothing logged.
        trackers: who else is told what is measured, by the process that writes the run's files.

    Raises:
        InputError: for data or a network that do not fit together, a damaged checkpoint, or a run that another process trains.
        NonFiniteLoss: when the loss or the gradient is NaN or infinite; nothing is overwritten.
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    with distributed.join(device, TIMEOUT) as world, GracefulStop() as stop, threads.restored(), ExitStack() as stack:
        if world.is_main:
            stack.enter_context(run_lock.held(run, shared=config.elastic.workers is not None))
        state, local_batches, held_out = set_up(config, run, world)
        end, per_epoch = run / "training.json", local_batches.per_epoch
        total = max(1, round(config.epochs * per_epoch))
        validate_every = max(1, round(config.validation.every * per_epoch))
        if state.step >= total and is_json(end):  # one that a crash cut is written again
            return state.evaluated.eval()
        elastic = config.elastic.workers is not None
        if elastic and end.exists():
            check_ended(run, state, total, world.device)
        elif world.is_main:
            end.unlink(missing_ok=True)  # of a training whose last checkpoints are gone
        network = training_network(config, state, world)
        shown = world.is_main and not quiet
        if shown:
            announce(config, run, state, total, world.device)

        with process_team(config.elastic, world, state, end) as team, RunLog(run, team, total, per_epoch, shown, trackers) as log:
            checkpoints = Checkpoints(run, config, team)

            def take_step() -> Measures | None:
                log.begin_step()
                batch = local_batches.at(state.step, team.rank, team.size)
                return train_step(config, state, network, batch, state.step / per_epoch, team, run)

            for measures in team.steps(take_step, total, stop):
                log.add(measures, local_batches.global_size(state.step - 1))
                validates = state.step == total or state.step % validate_every == 0
                saves = validates or state.step % config.checkpoint_every == 0
                found = validate(state, held_out, config, run, world) if validates else {}
                if saves or state.step % LOG_EVERY == 0:
                    log.write(found)
                if saves:
                    checkpoints.save(best=found.get("validation_white_box") == state.best)

            if state.step >= total:
                checkpoints.finish()
            elif elastic and end.exists():  # the other workers ended the run without this one
                state.load(checkpoint.path_of(run), world.device)
            else:
                log.write({})
                checkpoints.save()
                distributed.barrier(world)  # a process that leaves while its last message is on the way may hang
                raise Interrupted(f"stopped at step {state.step} of {total}; the same command again goes on from there")
            distributed.barrier(world)
            return state.evaluated.eval()


def set_up(config: RunConfig, run: Path, world: World) -> tuple[TrainState, LocalBatches, Any]:
    """The state to begin or go on with, the batches and the held-out images; all that can be refused before training is."""
    with distributed.main_first(world):  # the main process may have to download
        dataset = config.data.train()
        held_out = first(config.data.validation(), config.validation.examples)
    last, logged = checkpoint.path_of(run), run / "metrics.jsonl"
    if world.is_main and not last.exists() and logged.exists() and logged.stat().st_size:
        warnings.warn(f"{run} was begun and holds no checkpoint to go on from; it is trained again from its first step", stacklevel=3)
    state = initial_state(config, world.device, resuming=last.exists())
    x, y = next(batches(held_out, 2, world.device))
    check_classes(state.model, x, config.data.classes, config.data.name)
    with frozen_eval(state.model):
        threads.suit(state.model, x, config.batch_size)
    config.objective.prepare(state.model, x)
    local_batches = LocalBatches(config, dataset, world.device)
    local_batches.check(size := config.elastic.workers or world.size)
    if local_batches.smallest(size) == 1:
        check_one_image(config, state.model, x[:1], y[:1])
    if last.exists():
        state.load(last, world.device)
    return state, local_batches, held_out


def check_ended(run: Path, state: TrainState, total: int, device: torch.device) -> None:
    """Read again the state of an elastic run that has ended, perhaps since it was read first.

    Raises:
        InputError: if that is not the end: workers would leave at once, since the end is what tells them that others have done the rest.
    """
    if checkpoint.path_of(run).exists():
        state.load(checkpoint.path_of(run), device)
    if state.step < total:
        raise InputError(f"--out: {run} holds the training.json of a finished training and step {state.step} of {total}; "
                         "to train to its end again, move training.json away first")  # fmt: skip


def training_network(config: RunConfig, state: TrainState, world: World) -> nn.Module:
    """The network of ``state`` as training runs it."""
    if config.activation_checkpointing:
        checkpoint_activations(state.model)
    network = cast(nn.Module, torch.compile(state.model)) if config.compile else state.model
    return distributed.data_parallel(network, world)


def announce(config: RunConfig, run: Path, state: TrainState, total: int, device: torch.device) -> None:
    """Log what is about to begin."""
    begins = f"Resuming at step {state.step} of {total}" if state.step else f"Training {total} steps"
    dtype = precision.name_of(config.precision, device)
    logger.info(f"{begins}, {config.batch_size} images each, on {device} in {dtype} -> {run}")
