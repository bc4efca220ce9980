"""What training changes from step to step, and its way to and from a checkpoint."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from msgspec import convert, to_builtins
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from logitpair.attacks import Attack
from logitpair.config.old_names import modernized_optimizer
from logitpair.config.run_config import FineTuning, RunConfig
from logitpair.errors import InputError, first_line
from logitpair.optim import decayed_apart, moving_average
from logitpair.storage import checkpoint, weights
from logitpair.storage.class_path import describe
from logitpair.storage.results import Recovery


@dataclass
class TrainState:
    """Everything that training changes, and so everything a checkpoint holds."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    collapsed: bool = False  # whether the last validation found robust accuracy far below the best
    recoveries: list[Recovery] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        values: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        values |= {"scaler": self.scaler.state_dict(), "step": self.step, "best": self.best, "seconds": self.seconds}
        values |= {"collapsed": self.collapsed, "recoveries": to_builtins(self.recoveries)}
        return values if self.ema is None else values | {"ema": self.ema.state_dict()}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Become what ``state_dict`` gave."""
        self.model.load_state_dict(values["model"])
        self.optimizer.load_state_dict(modernized_optimizer(values["optimizer"], self.optimizer.state_dict()))
        if self.ema is not None:
            self.ema.load_state_dict(values["ema"])
        self.scaler.load_state_dict(values["scaler"])
        self.step, self.best, self.seconds = values["step"], values["best"], values["seconds"]
        self.collapsed = values.get("collapsed", False)  # a checkpoint of 0.1 knows neither
        self.recoveries = convert(values.get("recoveries", []), list[Recovery])

    def load(self, path: Path, device: torch.device) -> None:
        """Continue from a checkpoint, refused if it is damaged or belongs to another network."""
        values = checkpoint.load(path, device)
        try:
            self.load_state_dict(values)
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(f"checkpoint: '{path}' does not fit this run's network ({first_line(error)})") from error

    def go_back(self, path: Path, device: torch.device, attack: Attack) -> None:
        """Take what was learned from a checkpoint, to go on with another attack; steps, time and the learning rate go on."""
        step, seconds, recoveries = self.step, self.seconds, self.recoveries
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.load(path, device)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.recoveries = [*recoveries, Recovery(step=step, back_to_step=self.step, attack=describe(attack))]
        self.step, self.seconds = step, seconds

    @property
    def evaluated(self) -> nn.Module:
        """The weights that evaluation uses: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module


def initial_state(config: RunConfig, device: torch.device, *, resuming: bool) -> TrainState:
    """A new network with its optimizer, as the seed determines them, or with the weights that fine-tuning begins with."""
    torch.manual_seed(config.seed)
    model = config.network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fine_tune(model, config.fine_tuning, resuming)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        optimizer = config.optimizer(trained if config.decay_all else cast(Any, decayed_apart(trained)))
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"optimizer: {first_line(error)}; see --optimizer") from error
    if not config.decay_all and "weight_decay" not in optimizer.defaults:
        raise InputError(f"decay_all is False but {type(optimizer).__name__} has no weight_decay; accepted: True, or another optimizer")
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    scaler.scale(torch.zeros((), device=device))  # makes its state, also in a standby worker, which has no loss to scale
    return TrainState(model, optimizer, scaler, moving_average(model, config.ema) if config.ema else None)


def fine_tune(model: nn.Module, settings: FineTuning, resuming: bool) -> None:
    """Load the weights to begin with (a checkpoint has them already when ``resuming``), and freeze what is not to be trained."""
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
