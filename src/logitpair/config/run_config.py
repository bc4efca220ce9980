"""The settings of a run, as frozen dataclasses: what a recipe fills in and a command line overrides."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from logitpair.attacks import Attack
from logitpair.data import ImageData
from logitpair.errors import InputError, is_out_of_memory, raised
from logitpair.objectives import Objective
from logitpair.optim import Constant, Schedule
from logitpair.runtime.precision import Precision
from logitpair.validate import at_least, check_seed, fraction, instance, positive


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How training is watched: robust accuracy on held-out training images, which also chooses the ``best`` checkpoint.

    Args:
        attack: the white-box attack.
        every: epochs between two validations.
        examples: how many held-out images, from the first.
        recovery: attacks that training goes on with, in turn, each time that its robust accuracy falls below half of the best so far
            (catastrophic overfitting, arXiv 2001.03994): it goes back to the weights of the ``best`` checkpoint and takes the next in
            the place of ``objective.attack``, at the step that it has come to. With none that is left it warns and goes on.
    """

    attack: Attack
    every: float = 1.0
    examples: int = 500
    recovery: tuple[Attack, ...] = ()

    def __post_init__(self) -> None:
        positive("validation.every", self.every)
        for attack in self.recovery:
            instance("validation.recovery", attack, Attack, "a list of attacks such as logitpair.attacks.PGD")
        at_least("validation.examples", self.examples, 1)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What ``logitpair evaluate`` does with the run by default.

    Args:
        attacks: white-box attacks by name; with sources, also the black-box ones.
        batch_size: images attacked together (no result depends on it).
        curve: radii of the accuracy-against-eps curve, in [0, 1] pixel scale; empty for none.
        curve_examples: how many test images the curve is measured on, drawn at random.
    """

    attacks: dict[str, Attack]
    batch_size: int = 256
    curve: tuple[float, ...] = ()
    curve_examples: int = 500

    def __post_init__(self) -> None:
        if not self.attacks:
            raise InputError("evaluation.attacks is empty; it must name at least one attack")
        at_least("evaluation.batch_size", self.batch_size, 1)
        at_least("evaluation.curve_examples", self.curve_examples, 1)
        instance("evaluation.curve", self.curve, Sequence, "a list of radii, or [] for none")
        threat = next(iter(self.attacks.values())).threat
        for eps in self.curve:
            at_least("evaluation.curve", eps, 0)
            try:
                replace(threat, eps=eps)
            except InputError as error:
                raise InputError(f"evaluation.curve: {error}") from error


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Training that begins with given weights, and may leave some of them as they are.

    Args:
        weights: a run directory (its moving average where it kept one), a ``state_dict`` file (.pt) or a .safetensors file; random
            weights without any.
        trainable: layers (or single parameters) that train, by their whole names, such as ``logits`` or ``network.model.layer4``; all
            if empty. BatchNorm statistics follow the data everywhere.
        fresh: layers (or single parameters and buffers) that keep their new random values, such as the last layer when the classes
            differ. They always train, and need ``weights`` for the others.
    """

    weights: Path | None = None
    trainable: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fresh and self.weights is None:
            without = "fine_tuning.weights is not given; without it all layers are fresh"
            raise InputError(f"fine_tuning.fresh is {list(self.fresh)} but {without}")


@dataclass(frozen=True, kw_only=True)
class ElasticConfig:
    """Which workers share each step, where they may be lost on the way; needs ``pip install 'logitpair[elastic]'``.

    Args:
        workers: how many share a step's batch; those beyond are standbys. By default training is an ordinary one.
        lighthouse: address of torchft's server, such as ``http://host:29510``; the environment's ``TORCHFT_LIGHTHOUSE`` by default. Only
            with ``workers``.
        timeout: seconds after which a worker that does not answer within a step is given up.
    """

    workers: int | None = None
    lighthouse: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None:
            at_least("elastic.workers", self.workers, 1)
        elif self.lighthouse is not None:
            raise InputError(f"elastic.lighthouse is {self.lighthouse} but elastic.workers is not given; say how many share a step")
        positive("elastic.timeout", self.timeout)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a training run.

    Args:
        data: the data set.
        model: the network, by import path; it maps images in [0, 1] to logits.
        objective: the defense.
        optimizer: any optimizer of ``torch.optim``, or ``logitpair.optim.RMSProp``, by import path.
        decay_all: whether the optimizer's ``weight_decay`` acts on all weights; False leaves those of one dimension alone, which are
            the biases and BatchNorm's scales and shifts.
        schedule: what the learning rate is multiplied by as training goes on.
        epochs: passes over the training images (a fraction counts).
        batch_size: training images a step, over all processes; adversarial training adds as many adversarial ones.
        accumulate: micro-batches that each process computes its part of a step's batch in, where all of it takes too much memory. For
            what works on a process's own part a micro-batch counts as a process (``docs/explanation/reproducibility.md``).
        precision: arithmetic of forward and backward passes. ``auto`` is bfloat16 autocast where the hardware computes it faster
            (GPUs, CPUs with AMX or AVX-512 bf16) and float32 elsewhere. Weights, losses and evaluation are always float32.
        compile: the network's training forward and backward by ``torch.compile``, which pays for long trainings on a GPU and rounds
            otherwise; attacks and evaluation run it uncompiled.
        activation_checkpointing: keep only the inputs of the network's blocks, and run each again in the backward pass: less memory, a
            third more time, the same weights. Not together with ``compile``, which decides by itself what to keep.
        fine_tuning: weights to begin with and layers to train; by default all, from random weights.
        ema: decay of the moving average of the weights that evaluation uses; none by default.
        seed: determines initial weights, data order, noise and random starts.
        workers: processes that load images; 0 for data held in memory.
        checkpoint_every: steps between two checkpoints.
        checkpoints_kept: how many of the latest are kept, besides the best.
        elastic: workers that may be lost on the way; by default none may.
        validation: how training is watched.
        evaluation: what ``logitpair evaluate`` does with the run.
    """

    data: ImageData
    model: Callable[[], nn.Module]
    objective: Objective
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    validation: Validation
    evaluation: EvaluationSettings
    decay_all: bool = True
    schedule: Schedule = field(default_factory=Constant)
    epochs: float
    batch_size: int
    accumulate: int = 1
    precision: Precision = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    ema: float | None = None
    seed: int = 0
    workers: int = 0
    checkpoint_every: int = 500
    checkpoints_kept: int = 2
    elastic: ElasticConfig = field(default_factory=ElasticConfig)

    def __post_init__(self) -> None:
        positive("epochs", self.epochs)
        at_least("batch_size", self.batch_size, 1)
        at_least("accumulate", self.accumulate, 1)
        if self.compile and self.activation_checkpointing:
            raise InputError("activation_checkpointing is True beside compile; accepted: one of them")
        check_seed("seed", self.seed)
        at_least("workers", self.workers, 0)
        at_least("checkpoint_every", self.checkpoint_every, 1)
        at_least("checkpoints_kept", self.checkpoints_kept, 1)
        if self.validation.recovery:
            self._check_recovery()
        if self.ema is not None:
            fraction("ema", self.ema, zero=False, one=False)

    def network(self) -> nn.Module:
        """A new network, as ``model`` makes it.

        Raises:
            InputError: for sizes and the like that its class refuses, by whatever it raises then.
        """
        try:
            return self.model()
        except InputError as error:
            raise InputError(f"model: {str(error).removeprefix('model: ')}") from error
        except Exception as error:  # of code that may be the user's
            if is_out_of_memory(error):
                raise
            raise InputError(f"model: {raised(error)}; see --model") from error

    def _check_recovery(self) -> None:
        """Refuse attacks to recover with that the defense cannot take, and workers that each validate by themselves."""
        if self.elastic.workers is not None:
            raise InputError("validation.recovery is given beside elastic.workers, which may not agree on it; accepted: one of them")
        if "attack" not in {each.name for each in fields(self.objective)} or self.objective.attack is None:  # type: ignore[attr-defined]
            name = type(self.objective).__name__
            raise InputError(f"validation.recovery is given but {name} has no attack to take another for; accepted: []")
        for attack in self.validation.recovery:
            try:
                replace(self.objective, attack=attack)  # type: ignore[call-arg]
            except InputError as error:
                raise InputError(f"validation.recovery: {error}") from error
