"""Training: the whole road of a run, top to bottom."""

from __future__ import annotations

import contextlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from logitpair.config.run_config import RunConfig
from logitpair.data import batches, first
from logitpair.errors import InputError, first_line
from logitpair.evaluation.evaluate import evaluate
from logitpair.models.inference import compute_logits, frozen_eval
from logitpair.runtime import distributed, environment, precision
from logitpair.runtime.progress import console, progress_bar
from logitpair.runtime.signals import GracefulStop
from logitpair.storage.atomic_files import atomic_write
from logitpair.training.activation_checkpointing import checkpoint_activations
from logitpair.training.local_batches import LocalBatches
from logitpair.training.metrics import Clock, MetricsLog, Window, summary
from logitpair.training.train_state import State, initial_state
from logitpair.training.train_step import take_step

LOG_EVERY = 20  # steps between two lines of metrics
PATIENCE = timedelta(hours=1)  # that processes wait for each other: for a download, or the slowest share of a validation


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved its state."""


def train(config: RunConfig, run: Path, *, device: torch.device, quiet: bool = False) -> nn.Module:
    """Train to the end, from where ``run`` stands, and return the network in eval mode.

    The weights are the same whether or not the run was interrupted on the way (on the CPU, with as many threads): data order,
    noise and random starts are functions of the seed, the step and the image's place in the step's batch, and a checkpoint holds all
    the rest. So they are on any number of processes, to rounding, also where a run goes on with fewer or more of them, but for
    BatchNorm, dropout and mixup, which work on a process's own part of the batch (``docs/training.md``). With ``config.elastic`` this
    process is one of several workers that may be lost and come back on the way (``docs/elastic.md``).

    Args:
        config: the settings.
        run: the run directory; checkpoints, metrics and TensorBoard events go there.
        device: what to train on; under ``torchrun`` each process takes its own.
        quiet: no progress bar and no lines.

    Raises:
        InputError: for data or a network that do not fit together, or a damaged checkpoint.
        NonFiniteLoss: when the loss or the gradient is NaN or infinite; nothing is overwritten.
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    with distributed.join(device, PATIENCE) as world, GracefulStop() as interrupt, contextlib.ExitStack() as stack:
        device = world.device
        with distributed.main_first(world):  # the main process may have to download
            dataset = config.data.train()
            held_out = first(config.data.validation(), config.validation.examples)
        checkpoints = run / "checkpoints"
        resuming = (checkpoints / "last.pt").exists()
        state = initial_state(config, device, resuming=resuming)
        check_classes(state.model, held_out, config, device)
        config.objective.prepare(state.model, next(batches(held_out, 2, device))[0])
        feed = LocalBatches(config, dataset)
        feed.check(config.elastic.workers or world.size)
        if resuming:
            state.load(checkpoints / "last.pt", device)
        if config.activation_checkpointing:
            checkpoint_activations(state.model)
        network = cast(nn.Module, torch.compile(state.model)) if config.compile else state.model
        model = distributed.data_parallel(network, world)
        dtype = precision.resolve(config.precision, device)
        total, ended = max(1, round(config.epochs * feed.per_epoch)), run / "training.json"
        if state.step >= total and ended.exists():
            return state.evaluated.eval()
        every = max(1, round(config.validation.every * feed.per_epoch))
        metrics, saved = None, state.step
        window, clock = Window(), Clock()
        bar = stack.enter_context(progress_bar(disable=quiet or not world.is_main))
        task = bar.add_task("train", total=total, completed=state.step, note="")
        say = _nothing if quiet or not world.is_main else console.print
        resumed = f"Resuming at step {state.step} of {total}" if state.step else f"Training {total} steps"
        say(f"{resumed}, {config.batch_size} images each, on {device} in {str(dtype).removeprefix('torch.')} -> {run}")
        team = stack.enter_context(config.elastic.join(world, state.model, state.parts, state.put, say))
        writes = team.place.is_main or (world.is_main and state.step >= total)

        while state.step < total and team.gather(lambda: interrupt.requested or ended.exists()):
            epoch, share = state.step / feed.per_epoch, feed.share(state.step, team.place)
            measures = take_step(config, state, model, share, epoch, world, team, checkpoints)
            if measures is None:
                say(f"step {state.step} is taken again: a worker was lost")
                continue
            if not team.place.is_spare:
                window.add(measures, share.of)

            finished = state.step == total
            validate = finished or state.step % every == 0
            stop = distributed.any_process(interrupt.requested, world)
            save = validate or stop or state.step % config.checkpoint_every == 0
            line: dict[str, float] = {}
            improved = False
            if window.steps and (save or state.step % LOG_EVERY == 0):
                line = window.close(world) | {"lr": state.optimizer.param_groups[0]["lr"]}
            if validate:
                line |= robust_accuracy(state.evaluated, held_out, config, run / "validation", world)
                improved = line["validation_white_box"] >= state.best
                state.best = max(state.best, line["validation_white_box"])
                say(f"step {state.step}/{total} · {summary(line)}")
            writes = team.writes_the_end(ended) if finished else team.place.is_main
            if writes and metrics is None:
                metrics = stack.enter_context(MetricsLog(run, resume_at=state.step - 1))
            if writes and metrics is not None and line:
                metrics.write(state.step, epoch, line)
                bar.update(task, note=summary(line))
            if save:
                state.seconds += clock.lap()
            if save and writes:
                state.save(checkpoints, config.checkpoints_kept, improved)
                saved = state.step
            bar.update(task, completed=state.step)
            if stop and not finished:
                break
        if state.step < total:
            distributed.wait(world)  # a process that leaves while its last message is on the way may hang
            if not ended.exists():
                if writes and saved < state.step:  # told to stop while it waited for workers
                    state.save(checkpoints, config.checkpoints_kept, best=False)
                raise Interrupted(f"stopped at step {state.step} of {total}; the same command again goes on from there")
            state.load(checkpoints / "last.pt", device)  # the other workers ended the run without this one
        elif writes:
            atomic_write(ended, json.dumps(record(state, team.place.size, device, dtype), indent=2) + "\n")
        distributed.wait(world)
        return state.evaluated.eval()


def _nothing(text: str) -> None:
    """What a quiet run says."""


def check_classes(model: nn.Module, held_out: Any, config: RunConfig, device: torch.device) -> None:
    """Refuse a network whose logits are not as many as the data's classes."""
    x, _ = next(batches(held_out, 1, device))
    try:
        with frozen_eval(model), torch.no_grad():
            found = compute_logits(model, x).shape[1]
    except RuntimeError as error:
        reason = first_line(error)
        raise InputError(f"model: does not take {config.data.name}'s images {list(x.shape[1:])} ({reason}); see --model") from error
    if found != len(config.data.classes):
        raise InputError(f"model: gives {found} logits for {len(config.data.classes)} classes of {config.data.name}; see --model.classes")


def robust_accuracy(model: nn.Module, held_out: Any, config: RunConfig, shared: Path, world: distributed.World) -> dict[str, float]:
    """Clean and white-box accuracy on held-out images; several processes share the work by way of the folder ``shared``."""
    each = -(-len(held_out) // world.size)
    evaluation = evaluate(
        model,
        held_out,
        attacks={"validation": config.validation.attack},
        seed=config.seed,
        batch_size=min(config.evaluation.batch_size, each),
        workers=config.workers,
        folder=shared if world.size > 1 else None,
        world=world,
        progress=False,
    )
    if world.is_main:
        shutil.rmtree(shared, ignore_errors=True)
    results = evaluation.results
    return {"validation_clean": results["clean"]["top1"], "validation_white_box": results["white_box"]["top1"]}


def record(state: State, processes: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What the training took, for ``training.json``: validation and checkpoints included, time lost to a kill not."""
    return {
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "processes": processes,
        "precision": str(dtype).removeprefix("torch."),
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
