"""Training: the whole road of a run, top to bottom."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from logitpair import distributed, environment, precision
from logitpair.attacks.base import logits_of, undisturbed
from logitpair.config import RunConfig
from logitpair.console import console, progress_bar
from logitpair.data import batches, first, to_pixels
from logitpair.data.order import epoch_batches, steps_per_epoch
from logitpair.errors import InputError
from logitpair.evaluate import evaluate
from logitpair.files import atomic_write
from logitpair.interrupt import Interrupt
from logitpair.memory import checkpoint_activations
from logitpair.metrics import Clock, MetricsLog, Window, measured, summary
from logitpair.objectives import LossTerms
from logitpair.random import ExampleStreams, derive_seed
from logitpair.state import State, initial_state

LOG_EVERY = 20  # steps between two lines of metrics
PATIENCE = timedelta(hours=1)  # that processes wait for each other: for a download, or the slowest share of a validation


class NonFiniteLoss(ArithmeticError):
    """A loss term or the gradient became NaN or infinite; the message names the step, the term and the last good checkpoint."""


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved its state."""


def train(config: RunConfig, run: Path, *, device: torch.device, quiet: bool = False) -> nn.Module:
    """Train to the end, from where ``run`` stands, and return the network in eval mode.

    The weights are the same whether or not the run was interrupted on the way (on the CPU, with as many threads): data order,
    noise and random starts are functions of the seed, the step and the image's place in the step's batch, and a checkpoint holds all
    the rest. So they are on any number of processes, to rounding, also where a run goes on with fewer or more of them, but for
    BatchNorm, dropout and mixup, which work on a process's own part of the batch (``docs/training.md``).

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
    with distributed.join(device, PATIENCE) as world, Interrupt() as interrupt, contextlib.ExitStack() as stack:
        device = world.device
        with distributed.main_first(world):  # the main process may have to download
            dataset = config.data.train()
            held_out = first(config.data.validation(), config.validation.examples)
        checkpoints = run / "checkpoints"
        resuming = (checkpoints / "last.pt").exists()
        state = initial_state(config, device, resuming=resuming)
        check_classes(state.model, held_out, config, device)
        config.objective.prepare(state.model, next(batches(held_out, 2, device))[0])
        check_shares(len(dataset), config, world)  # type: ignore[arg-type]
        if resuming:
            state.load(checkpoints / "last.pt", device)
        if config.activation_checkpointing:
            checkpoint_activations(state.model)
        network = cast(nn.Module, torch.compile(state.model)) if config.compile else state.model
        model = distributed.data_parallel(network, world)
        dtype = precision.resolve(config.precision, device)
        per_epoch = steps_per_epoch(dataset, config.batch_size)
        total = max(1, round(config.epochs * per_epoch))
        if state.step >= total and (run / "training.json").exists():
            return state.evaluated.eval()
        every = max(1, round(config.validation.every * per_epoch))
        metrics = stack.enter_context(MetricsLog(run, resume_at=state.step)) if world.is_main else None
        window, clock = Window(), Clock()
        bar = stack.enter_context(progress_bar(disable=quiet or not world.is_main))
        task = bar.add_task("train", total=total, completed=state.step, note="")
        say = _nothing if quiet or not world.is_main else console.print
        resumed = f"Resuming at step {state.step} of {total}" if state.step else f"Training {total} steps"
        say(f"{resumed}, {config.batch_size} images each, on {device} in {str(dtype).removeprefix('torch.')} -> {run}")

        for images, y in remaining_batches(config, dataset, per_epoch, state, total, world):
            epoch = state.step / per_epoch
            examples = min(config.batch_size, len(dataset) - state.step % per_epoch * config.batch_size)  # type: ignore[arg-type]
            share = Share(to_pixels(images, device), y.to(device), distributed.positions(examples, world), examples)
            window.add(take_step(config, state, model, share, epoch, world, checkpoints), examples)

            finished = state.step == total
            validate = finished or state.step % every == 0
            stop = distributed.any_process(interrupt.requested, world)
            save = validate or stop or state.step % config.checkpoint_every == 0
            line: dict[str, float] = {}
            improved = False
            if save or state.step % LOG_EVERY == 0:
                line = window.close(world) | {"lr": state.optimizer.param_groups[0]["lr"]}
            if validate:
                line |= robust_accuracy(state.evaluated, held_out, config, run / "validation", world)
                improved = line["validation_white_box"] >= state.best
                state.best = max(state.best, line["validation_white_box"])
                say(f"step {state.step}/{total} · {summary(line)}")
            if metrics is not None and line:
                metrics.write(state.step, epoch, line)
                bar.update(task, note=summary(line))
            if save and world.is_main:
                state.seconds += clock.lap()
                state.save(checkpoints, config.checkpoints_kept, improved)
            bar.update(task, completed=state.step)
            if stop and not finished:
                distributed.wait(world)  # a process that leaves while its last message is on the way may hang
                raise Interrupted(f"stopped at step {state.step} of {total}; the same command again goes on from there")
        if world.is_main:
            atomic_write(run / "training.json", json.dumps(record(state, world, dtype), indent=2) + "\n")
        distributed.wait(world)
        return state.evaluated.eval()


@dataclass(frozen=True)
class Share:
    """What one process has of a step's batch.

    Args:
        x: images in [0, 1], ``[n, channels, height, width]``.
        y: labels, ``[n]``.
        positions: ``[n]``, where they stand in the whole batch.
        of: examples in the whole batch, over all processes.
    """

    x: Tensor
    y: Tensor
    positions: Tensor
    of: int

    def __len__(self) -> int:
        return len(self.y)

    def micro_batches(self, count: int) -> list[Share]:
        """The share dealt out as the whole batch is to processes, so that ``count`` micro-batches are as ``count`` times the processes."""
        return [Share(self.x[n::count], self.y[n::count], self.positions[n::count], self.of) for n in range(count)]


def take_step(
    config: RunConfig, state: State, model: nn.Module, share: Share, epoch: float, world: distributed.World, checkpoints: Path
) -> dict[str, Tensor]:
    """One step of the optimizer: what it measured, such that the mean over the processes is that over the whole batch."""
    set_learning_rate(state.optimizer, config.schedule.factor(epoch, config.epochs))
    torch.manual_seed(derive_seed(config.seed, "step", state.step, world.rank))  # for networks with dropout
    streams = derive_seed(config.seed, "step", state.step)
    objective = config.objective.at(epoch)
    state.model.train()
    state.optimizer.zero_grad()
    measures: dict[str, Tensor] = {}
    parts = share.micro_batches(min(config.accumulate, share.of // world.size))
    for number, part in enumerate(parts, 1):
        with distributed.synchronized(model, number == len(parts)):
            with precision.autocast(precision.resolve(config.precision, world.device), world.device):
                result = objective(model, part.x, part.y, generator=ExampleStreams(streams, part.positions))
            refuse_non_finite(result, state.step, checkpoints, world)
            weight = len(part) * world.size / part.of  # of the part's mean in the mean over all parts and, then, processes
            state.scaler.scale(result.total * weight).backward()
        for name, value in measured(result, part.y).items():
            measures[name] = measures.get(name, 0) + weight * value
    measures["gradient_norm"] = check_gradient(state, checkpoints)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    distributed.average_buffers(state.model, world)
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    state.step += 1
    return measures


def _nothing(text: str) -> None:
    """What a quiet run says."""


def check_classes(model: nn.Module, held_out: Any, config: RunConfig, device: torch.device) -> None:
    """Refuse a network whose logits are not as many as the data's classes."""
    x, _ = next(batches(held_out, 1, device))
    try:
        with undisturbed(model), torch.no_grad():
            found = logits_of(model, x).shape[1]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"model: does not take {config.data.name}'s images {list(x.shape[1:])} ({reason}); see --model") from error
    if found != len(config.data.classes):
        raise InputError(f"model: gives {found} logits for {len(config.data.classes)} classes of {config.data.name}; see --model.classes")


def check_shares(examples: int, config: RunConfig, world: distributed.World) -> None:
    """Refuse batches that leave a process, or a micro-batch, without an image."""
    last = examples % config.batch_size or config.batch_size
    if last < world.size:
        raise InputError(f"batch_size: {config.batch_size} makes a batch of {last} images, too few for {world.size} processes")
    if config.accumulate > config.batch_size // world.size:
        raise InputError(
            f"accumulate: {config.accumulate} micro-batches of a batch_size of {config.batch_size} on {world.size} processes;"
            f" accepted: at most {config.batch_size // world.size}, an image each"
        )


def remaining_batches(
    config: RunConfig, dataset: Any, per_epoch: int, state: State, total: int, world: distributed.World
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches from ``state.step`` to the end of training."""
    while state.step < total:
        epoch, start = divmod(state.step, per_epoch)
        order = epoch_batches(
            dataset,
            config.batch_size,
            seed=config.seed,
            epoch=epoch,
            start=start,
            rank=world.rank,
            size=world.size,
            workers=config.workers,
        )
        for batch in order:
            if state.step == total:
                return
            yield batch


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Multiply every group's initial learning rate by the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def refuse_non_finite(result: LossTerms, step: int, checkpoints: Path, world: distributed.World) -> None:
    """Stop, on every process, before a NaN or infinite loss reaches the weights."""
    if distributed.any_process(not torch.isfinite(result.total), world):
        distributed.wait(world)  # as where a run is stopped
        broken = [name for name, value in result.terms.items() if not torch.isfinite(value)] or ["total"]
        raise NonFiniteLoss(f"step {step}: the loss term {', '.join(broken)} is not finite; {last_good(checkpoints)}")


def check_gradient(state: State, checkpoints: Path) -> Tensor:
    """The gradient's norm; stop before a NaN or infinite gradient reaches the weights (a float16 scaler skips such steps itself)."""
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.get_total_norm([p.grad for p in state.model.parameters() if p.grad is not None])
    if not state.scaler.is_enabled() and not torch.isfinite(norm):
        raise NonFiniteLoss(f"step {state.step}: the gradient is not finite though the loss is; {last_good(checkpoints)}")
    return norm


def last_good(checkpoints: Path) -> str:
    """What the user can go back to."""
    last = checkpoints / "last.pt"
    kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written yet"
    return f"{kept}. Try a smaller learning rate or weight, or a longer warm-up"


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


def record(state: State, world: distributed.World, dtype: torch.dtype) -> dict[str, Any]:
    """What the training took, for ``training.json``: validation and checkpoints included, time lost to a kill not."""
    return {
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "processes": world.size,
        "precision": str(dtype).removeprefix("torch."),
        "versions": environment.versions(),
        "hardware": environment.hardware(world.device),
    }
