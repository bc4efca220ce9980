"""One step of training: forward, backward, the gradients of all processes, the optimizer."""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError
from logitpair.objectives import LossTerms
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.runtime import distributed, precision
from logitpair.storage import checkpoint
from logitpair.training.local_batches import LocalBatch, micro_count
from logitpair.training.process_team import Measures, ProcessTeam
from logitpair.training.recovery import objective_of
from logitpair.training.train_state import TrainState


class NonFiniteLoss(ArithmeticError):
    """A loss term or the gradient became NaN or infinite; the message names the step, the term and the last good checkpoint."""


def train_step(
    config: RunConfig, state: TrainState, model: nn.Module, batch: LocalBatch, epoch: float, team: ProcessTeam, run: Path
) -> Measures | None:
    """Take one step of the optimizer and return what it measured; None if a process was lost on the way and nothing has changed.

    ``model`` is the network of ``state`` as training runs it (compiled, data-parallel). The mean over ``team.world`` of what is returned
    is that over the whole batch. A loss or gradient that is NaN or infinite raises ``NonFiniteLoss`` before it reaches the weights.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * config.schedule.factor(epoch, config.epochs)
    torch.manual_seed(derive_seed(config.seed, "step", state.step, team.rank))  # for networks with dropout
    state.model.train()
    state.optimizer.zero_grad()
    measures = team.average(backward(config, state, model, batch, epoch, team))
    if measures is None:
        return None
    finite = torch.stack(list(measures.values())).isfinite()
    if distributed.any_process(not finite.all(), team.world):
        distributed.barrier(team.world)  # a process that leaves while its last message is on the way may hang
        broken = [name for name, good in zip(measures, finite.tolist(), strict=True) if not good and name != "loss"] or ["total"]
        raise NonFiniteLoss(f"step {state.step}: the loss term {', '.join(broken)} is not finite; {last_good(run)}")
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.get_total_norm([p.grad for p in state.model.parameters() if p.grad is not None])
    if not state.scaler.is_enabled() and not torch.isfinite(norm):  # a float16 scaler skips such steps itself
        raise NonFiniteLoss(f"step {state.step}: the gradient is not finite though the loss is; {last_good(run)}")
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    state.step += 1
    return measures | {"gradient_norm": norm}


def backward(config: RunConfig, state: TrainState, model: nn.Module, batch: LocalBatch, epoch: float, team: ProcessTeam) -> Measures:
    """Add up the gradients of this process's micro-batches, and what they measured; a standby, which has no images, has none."""
    objective, device = objective_of(state, config).at(epoch), team.world.device
    seed = derive_seed(config.seed, "step", state.step)
    micro_batches = batch.micro_batches(micro_count(config, batch.global_size, team.size))
    measures: Measures = {}
    buffers = _Buffers(state.model) if len(micro_batches) > 1 else None
    for number, micro in enumerate(micro_batches, 1):
        with distributed.synchronized(model, number == len(micro_batches)):
            with precision.autocast(precision.resolve(config.precision, device), device), _one_image_refused(config, len(micro)):
                result = objective(model, micro.x, micro.y, generator=ExampleStreams(seed, micro.positions))
            weight = len(micro) * team.size / micro.global_size  # of its mean in the mean over all micro-batches and, then, processes
            state.scaler.scale(result.total * weight).backward()
        for name, value in measured(result, micro.y).items():
            measures[name] = measures.get(name, 0) + weight * value
        if buffers is not None:
            buffers.go_back()
    if buffers is not None:
        buffers.average()
    return measures


class _Buffers:
    """BatchNorm's statistics and the like, which every micro-batch changes from where the step began, as those of a process do."""

    def __init__(self, model: nn.Module) -> None:
        self.buffers = list(model.buffers())
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after: list[list[Tensor]] = []  # of each micro-batch

    def go_back(self) -> None:
        """To the beginning of the step, keeping what a micro-batch made."""
        self.after.append([buffer.clone() for buffer in self.buffers])
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)

    def average(self) -> None:
        """Leave the mean of what the micro-batches made; of counts and the like, what the last one made."""
        for buffer, *values in zip(self.buffers, *self.after, strict=True):
            mean = torch.stack(values).mean(0, dtype=torch.float64) if buffer.is_floating_point() else values[-1]
            buffer.copy_(mean)


def check_one_image(config: RunConfig, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Refuse a network that cannot train on a single image, ``x`` and ``y``, before training comes to a batch of one.

    Raises:
        InputError: if BatchNorm meets a single value a channel, at the beginning or, where the objective changes, at the end.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):  # pyright: ignore[reportPrivateUsage]
        for epoch in (0.0, config.epochs):
            trial = copy.deepcopy(model).train()  # whose statistics may change
            with _one_image_refused(config, len(x)):
                config.objective.at(epoch)(trial, x, y, generator=ExampleStreams(config.seed, torch.arange(len(x))))


@contextmanager
def _one_image_refused(config: RunConfig, images: int) -> Generator[None]:
    """A block that runs the network on so many images, in which BatchNorm's complaint of a single one names the setting."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        reason = (
            f"BatchNorm cannot train on a single value a channel, and {images} of a batch's images come together at the end of an epoch"
        )
        raise InputError(f"batch_size: {reason}; accepted: another than {config.batch_size}, or a smaller accumulate") from error


def measured(result: LossTerms, y: Tensor) -> Measures:
    """The loss, its terms and the accuracies on a batch, by name."""
    accuracies = {f"{name}_accuracy": (logits.argmax(1) == y).float().mean() for name, logits in result.logits.items()}
    return {name: value.detach() for name, value in {"loss": result.total, **result.terms, **accuracies}.items()}


def last_good(run: Path) -> str:
    """What the user can go back to."""
    last = checkpoint.path_of(run)
    kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written yet"
    return f"{kept}. Try a smaller learning rate or weight, or a longer warm-up"
