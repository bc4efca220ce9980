"""Feature pairing, which the paper names as future work."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.errors import InputError
from logitpair.models.inference import frozen_eval
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, forward_together, mean_of
from logitpair.objectives.warmup import WeightWarmup
from logitpair.runtime.distributed import unwrap_model


@dataclass(frozen=True)
class FeaturePairing(WeightWarmup, AdversarialTraining):
    """M-PGD plus the pairing of intermediate features of an image and of its adversarial example.

    Works on any network, without a change to it: the features are what its named modules return. Each module's penalty counts alike.

    Args:
        layers: names of modules as ``model.named_modules()`` gives them, such as ``conv2`` or ``network.layer4``; each must return
            one tensor ``[batch, ...]`` and run once in a forward. Paired is what they return, before anything changes it in place.
        weight: of the mean of the layers' penalties, at least 0.
        logit_weight: of the logits' penalty besides, at least 0; with it and ``weight`` 0 this is adversarial logit pairing.
        pairing: ``pairing(clean, adversarial) -> [batch]``, on features flattened to ``[batch, features]`` and on logits.
        weight_warmup: epochs over which both weights grow linearly from 0; 0 starts at full size.

    Raises:
        InputError: for no layers or one named twice, or (before training and when called) one that the model does not have, that does
            not run once, or that does not return one tensor a batch.

    Source: arXiv 1803.06373, the conclusion's suggestion; the form, that of its section 3.2 with features for logits, is ours.
    """

    _: KW_ONLY
    layers: tuple[str, ...]
    weight: float = 0.5
    logit_weight: float = 0.0
    pairing: losses.Loss = losses.squared_l2_mean
    weights: ClassVar[tuple[str, ...]] = ("weight", "logit_weight")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.layers, str) or not self.layers or len(set(self.layers)) < len(self.layers):
            raise InputError(f"layers must be a list of names of modules, at least one and each once, not {self.layers!r}")

    def prepare(self, model: nn.Module, x: Images) -> None:
        with torch.no_grad(), frozen_eval(model), recorded(model, self.layers, len(x)):
            model(x)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        x_adv = self.adversarial_examples(model, x, y, generator)
        with recorded(unwrap_model(model), self.layers, 2 * len(x)) as features:
            clean, adversarial = forward_together(model, y, x, x_adv)
        cross_entropy, terms = self.mixed_cross_entropy(clean, adversarial, y)
        penalties = [mean_of(self.pairing(*features[layer].to(x.dtype).flatten(1).chunk(2)), x) for layer in self.layers]
        terms |= {f"pairing_{layer or 'model'}": penalty for layer, penalty in zip(self.layers, penalties, strict=True)}
        terms["pairing"] = mean_of(self.pairing(clean, adversarial), x)
        total = cross_entropy + self.weight * torch.stack(penalties).mean() + self.logit_weight * terms["pairing"]
        return LossTerms(total, terms, {"clean": clean, "adversarial": adversarial})


@contextmanager
def recorded(model: nn.Module, layers: tuple[str, ...], images: int) -> Generator[dict[str, Tensor]]:
    """What the named modules return in the one forward of this block, by name; each must run once and return ``[images, ...]``."""
    modules, features = dict(unwrap_model(model).named_modules()), dict[str, Tensor]()

    def record(layer: str, module: nn.Module, inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2 or len(output) != images:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"layers: '{layer}' returns {found}, not one tensor [{images}, ...]; name another module")
        if layer in features:
            raise InputError(f"layers: '{layer}' runs more than once in a forward; name another module")
        features[layer] = output.clone()  # the next module may write into it

    with ExitStack() as hooks:
        for layer in layers:
            if layer not in modules:
                raise InputError(f"layers: the model has no module '{layer}'; it has {', '.join(filter(None, modules))}")
            hooks.callback(modules[layer].register_forward_hook(partial(record, layer)).remove)
        yield features
        if missing := [layer for layer in layers if layer not in features]:
            raise InputError(f"layers: '{missing[0]}' does not run in the model's forward; name another module")
