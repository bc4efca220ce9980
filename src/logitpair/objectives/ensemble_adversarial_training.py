"""Ensemble adversarial training."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import nn

from logitpair.errors import InputError, first_line
from logitpair.models.inference import compute_logits, frozen_eval
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import Images
from logitpair.rng import RandomSource, uniform_number
from logitpair.runtime.distributed import unwrap_model


@dataclass(frozen=True)
class EnsembleAdversarialTraining(AdversarialTraining):
    """Cross-entropy on clean images mixed with that on adversarial ones made against one of several networks.

    For each batch, one network is drawn uniformly from the one in training and the static ``sources``; the source stays as it is.
    Under data-parallel training the processes draw the same one.

    Args:
        attack: makes the adversarial examples (one step, in the source); it searches to its last step, against a network in eval mode.
        sources: networks that are trained already, images to logits. In a recipe a run by ``class_path: logitpair.runs.TrainedRun`` and
            ``run: FOLDER``, or any module by its import path, which must then bring its own weights. They move to the images' device
            and dtype.

    Raises:
        InputError: for no sources, or (before training) a source that cannot be loaded or has other classes than the model.

    Source: Tramer et al. 2018, arXiv 1705.07204, section 3.4. The warm-up is not in it.
    """

    _: KW_ONLY
    sources: tuple[nn.Module, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.sources, nn.Module) or not self.sources:
            raise InputError("sources must be a list of at least one trained network (without any, use AdversarialTraining)")

    def prepare(self, model: nn.Module, x: Images) -> None:
        with torch.no_grad(), frozen_eval(model):
            classes = compute_logits(model, x).shape[1]
            for number, source in enumerate(self.sources):
                try:
                    with frozen_eval(source.to(x)):
                        found = compute_logits(source, x).shape[1]
                except (InputError, RuntimeError) as error:
                    raise InputError(f"objective.sources[{number}]: {first_line(error)}") from error
                if found != classes:
                    raise InputError(f"objective.sources[{number}] gives {found} logits, the model {classes}")

    def source_model(self, model: nn.Module, x: Images, generator: RandomSource | None) -> nn.Module:
        networks = [unwrap_model(model), *(source.to(x) for source in self.sources)]
        return networks[int(uniform_number(generator) * len(networks))]
