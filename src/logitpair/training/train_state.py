"""What training changes from step to step, and its way to and from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from logitpair.config.run_config import FineTuning, RunConfig
from logitpair.errors import InputError, first_line
from logitpair.optim import decayed_apart, moving_average
from logitpair.storage import checkpoint, weights


@dataclass
class State:
    """Everything that training changes, and so everything a checkpoint holds."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    step: int = 0
    best: float = -1.0
    seconds: float = 0.0

    def parts(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        parts: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        parts |= {"scaler": self.scaler.state_dict(), "step": self.step, "best": self.best, "seconds": self.seconds}
        if self.ema is not None:
            parts["ema"] = self.ema.state_dict()
        return parts

    def put(self, parts: dict[str, Any]) -> None:
        """Become what ``parts`` gave."""
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(parts["ema"])
        self.scaler.load_state_dict(parts["scaler"])
        self.step, self.best, self.seconds = parts["step"], parts["best"], parts["seconds"]

    def save(self, folder: Path, keep: int, best: bool) -> None:
        """Write a checkpoint of this state."""
        checkpoint.save(folder, self.parts(), self.step, keep, best)

    def load(self, path: Path, device: torch.device) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: if it is damaged or belongs to another network.
        """
        parts = checkpoint.load(path, device)
        try:
            self.put(parts)
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(f"checkpoint: '{path}' does not fit this run's network ({first_line(error)})") from error

    @property
    def evaluated(self) -> nn.Module:
        """The weights that evaluation uses: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module


def initial_state(config: RunConfig, device: torch.device, *, resuming: bool) -> State:
    """A new network with its optimizer, as the seed determines them, or with the weights that fine-tuning begins with.

    Raises:
        InputError: for a network or an optimizer that cannot be built, weights that do not fit, or no layer by a given name.
    """
    torch.manual_seed(config.seed)
    try:
        model = config.model().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        fine_tune(model, config.fine_tuning, resuming)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = config.optimizer(trained if config.decay_all else cast(Any, decayed_apart(trained)))
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # torch refuses sizes by a RuntimeError
        raise InputError(f"model or optimizer: {first_line(error)}; see --model and --optimizer") from error
    if not config.decay_all and "weight_decay" not in optimizer.defaults:
        raise InputError(f"decay_all is False but {type(optimizer).__name__} has no weight_decay; accepted: True, or another optimizer")
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    return State(model, optimizer, scaler, moving_average(model, config.ema) if config.ema else None)


def fine_tune(model: nn.Module, settings: FineTuning, resuming: bool) -> None:
    """Give the model the weights to begin with (a checkpoint has them already when ``resuming``), and freeze what shall not train.

    Raises:
        InputError: for weights that do not fit, or a layer that the model does not have.
    """
    parameters = [name for name, _ in model.named_parameters()]
    known = {"trainable": (settings.trainable, parameters), "fresh": (settings.fresh, list(model.state_dict()))}
    for option, (layers, names) in known.items():
        for layer in layers:
            if not any(weights.within(name, (layer,)) for name in names):
                raise InputError(f"fine_tuning.{option}: the model has no layer '{layer}'; it has {', '.join(names[:8])}, ...")
    if settings.weights is not None and not resuming:
        weights.load_weights(model, weights.read_weights(settings.weights), settings.weights, settings.fresh)
    if settings.trainable:  # otherwise what a network of the user's freezes by itself stays frozen
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(weights.within(name, settings.trainable + settings.fresh))
