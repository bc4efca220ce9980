"""One step of training: forward, backward, the gradients of all processes, the optimizer."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from logitpair.config.run_config import RunConfig
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.runtime import distributed, precision
from logitpair.runtime.distributed import ProcessTeam, World
from logitpair.training.local_batches import LocalBatch
from logitpair.training.metrics import measured
from logitpair.training.train_state import State


class NonFiniteLoss(ArithmeticError):
    """A loss term or the gradient became NaN or infinite; the message names the step, the term and the last good checkpoint."""


def take_step(
    config: RunConfig, state: State, model: nn.Module, share: LocalBatch, epoch: float, world: World, team: ProcessTeam, checkpoints: Path
) -> dict[str, Tensor] | None:
    """One step of the optimizer.

    Args:
        config: the settings.
        state: what the step changes.
        model: the network of ``state``, as training runs it: compiled, data-parallel.
        share: this process's part of the batch.
        epoch: where the step begins.
        world: the processes that must agree on whether the loss is finite.
        team: those that share the step.
        checkpoints: what there is to go back to.

    Returns:
        What it measured, such that the mean over ``world`` is that over the whole batch; None if a process was lost on the way and
        nothing has changed.

    Raises:
        NonFiniteLoss: for a loss or a gradient that is NaN or infinite, before it reaches the weights.
    """
    place = team.place
    set_learning_rate(state.optimizer, config.schedule.factor(epoch, config.epochs))
    torch.manual_seed(derive_seed(config.seed, "step", state.step, place.rank))  # for networks with dropout
    streams = derive_seed(config.seed, "step", state.step)
    objective = config.objective.at(epoch)
    state.model.train()
    state.optimizer.zero_grad()
    measures: dict[str, Tensor] = {}
    micro = config.batch_size // place.size // config.accumulate  # images; fewer micro-batches where the last batch is smaller
    parts = share.micro_batches(max(1, min(config.accumulate, share.of // place.size // micro)))
    for number, part in enumerate(parts, 1):
        with distributed.synchronized(model, number == len(parts)):
            with precision.autocast(precision.resolve(config.precision, place.device), place.device):
                result = objective(model, part.x, part.y, generator=ExampleStreams(streams, part.positions))
            weight = len(part) * place.size / part.of  # of the part's mean in the mean over all parts and, then, processes
            state.scaler.scale(result.total * weight).backward()
        for name, value in measured(result, part.y).items():
            measures[name] = measures.get(name, 0) + weight * value
    averaged = team.average(state.model, measures)
    if averaged is None:
        return None
    refuse_non_finite(averaged, state.step, checkpoints, world)
    state.scaler.scale(torch.zeros((), device=place.device))  # a spare worker had nothing to scale, and its scaler must exist
    averaged["gradient_norm"] = check_gradient(state, checkpoints)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    state.step += 1
    return averaged


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Multiply every group's initial learning rate by the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def refuse_non_finite(measures: dict[str, Tensor], step: int, checkpoints: Path, world: World) -> None:
    """Stop, on every process, before a NaN or infinite loss reaches the weights."""
    finite = torch.stack(list(measures.values())).isfinite()
    if distributed.any_process(not finite.all(), world):
        distributed.wait(world)  # as where a run is stopped
        broken = [name for name, good in zip(measures, finite.tolist(), strict=True) if not good and name != "loss"] or ["total"]
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
