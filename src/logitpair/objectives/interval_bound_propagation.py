"""Training for a certificate, by interval bound propagation (IBP)."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.linear import lower_bounds
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, RandomSource, forward_together
from logitpair.objectives.batch_statistics import batch_statistics
from logitpair.objectives.warmup import smooth_ramp
from logitpair.runtime.distributed import unwrap_model
from logitpair.threat import AnyThreat, check_threat
from logitpair.validate import at_least, fraction

TOLERANCE = 0.5  # of both regularisers: what is better than it is not made better still (arXiv 2103.17268, section 4.1)
_graphs: WeakKeyDictionary[nn.Module, tuple[object, Graph]] = WeakKeyDictionary()  # with what each was read from


@dataclass(frozen=True)
class IntervalBoundPropagation(Objective):
    """Cross-entropy on the worst logits that interval bounds allow in the ball, mixed with cross-entropy on the clean ones.

    The bounds are those of the differences to the true class's logit, the last layer merged with them. BatchNorm normalises bounds by the
    mean and variance of the batch that it is given; dropout is left out of them. A network that is trained so can be certified
    (``logitpair certify``); it needs operations that bounds are known of, and begins best with weights drawn for it, as those of
    ``logitpair.models.StridedConvNet``.

    Args:
        threat: the ball, often larger than the one to be certified later (MNIST 0.4 for 0.3).
        clean_weight: weight of the clean cross-entropy at the end of the warm-up, in [0, 1]; it falls there from 1.
        warmup: epochs over which eps grows from 0, by ``smooth_ramp``; 0 starts at full size.
        regularization: weight at the beginning of what keeps bounds tight and both sides of the ReLUs in balance, at least 0; it falls
            to 0 over the warm-up.

    Sources: arXiv 1810.12715, section 3; the treatment of BatchNorm and the regularisers, arXiv 2103.17268, sections 3.2 and 3.3, and the
    growth of eps.
    """

    threat: AnyThreat
    _: KW_ONLY
    clean_weight: float = 0.0
    warmup: float = 0.0
    regularization: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threat(self.threat)
        fraction("clean_weight", self.clean_weight)
        at_least("warmup", self.warmup, 0)
        at_least("regularization", self.regularization, 0)

    def at(self, epoch: float) -> Self:
        grown = smooth_ramp(epoch, self.warmup)
        return replace(
            super().at(epoch),
            threat=self.threat.scaled(grown),
            clean_weight=1 - grown + grown * self.clean_weight,
            regularization=(1 - grown) * self.regularization,
        )

    def prepare(self, model: nn.Module, x: Images) -> None:
        graph_of(model, x)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        (clean,), worst, layers = self.bounded_logits(model, y, x)
        total, terms = self.mixed_cross_entropy(clean, worst, y)
        total = total + self.regularization * self.regularizer(layers, terms)
        return LossTerms(total, terms, {"clean": clean, "certified": worst})

    def bounded_logits(self, model: nn.Module, y: Labels, x: Images, *others: Images) -> tuple[tuple[Tensor, ...], Tensor, list[Interval]]:
        """The logits of ``x`` and of ``others`` that go along; the worst of ``x``; and where ``x`` and what ReLUs take lie."""
        network = unwrap_model(model)
        graph = graph_of(network, x)
        with batch_statistics(network) as statistics:
            logits = forward_together(model, y, x, *others)
        graph, ball = graph.normalised_by(statistics), Ball(self.threat, x)
        inside = intervals(graph, ball.box)
        return logits, worst_logits(graph, inside, ball, logits[0], y), [inside[number] for number in (0, *graph.nonlinear_inputs)]

    def mixed_cross_entropy(self, clean: Tensor, worst: Tensor, y: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """``clean_weight`` of the clean mean cross-entropy plus the rest of the worst one, and the two by name."""
        terms = {"clean_loss": self.cross_entropy(clean, y).mean(), "worst_loss": self.cross_entropy(worst, y).mean()}
        return torch.lerp(terms["worst_loss"], terms["clean_loss"], self.clean_weight), terms

    def regularizer(self, inside: list[Interval], terms: dict[str, Tensor]) -> Tensor:
        """The sum of both regularisers, which join ``terms``; 0 once they have no weight, and for a network that is linear."""
        image, *layers = inside
        if not (self.regularization and layers):
            return terms["clean_loss"].new_zeros(())
        terms["tightness"] = torch.stack([tightness(image, layer) for layer in layers]).mean()
        terms["balance"] = torch.stack([balance(layer) for layer in layers]).mean()
        return terms["tightness"] + terms["balance"]


def graph_of(model: nn.Module, x: Images) -> Graph:
    """The operations of a network, read again only where its parts have changed or images are of another kind."""
    parts = [id(part) for part in (*model.modules(), *model.parameters(), *model.buffers())]
    source = x.shape[1:], x.dtype, x.device, parts
    if model not in _graphs or _graphs[model][0] != source:
        _graphs[model] = source, read_graph(model, x, trained=True)
    return _graphs[model][1]


def worst_logits(graph: Graph, inside: list[Interval], ball: Ball, clean: Tensor, y: Labels) -> Tensor:
    """The logits ``[batch, classes]`` that are worst within the bounds: each as far above the true class's, clean, as it can be there."""
    identity = torch.eye(clean.shape[1], dtype=clean.dtype, device=clean.device)
    differences = identity[y].unsqueeze(1) - identity  # of the true class's logit and each
    margins = lower_bounds(graph, differences, inside, ball, affine_only=True)
    return clean.gather(1, y.unsqueeze(1)) - margins


def tightness(image: Interval, layer: Interval) -> Tensor:
    """How much wider a layer's intervals are than the image's, from 0 (less than twice) to 1 (arXiv 2103.17268, eq. 8)."""
    return F.relu(TOLERANCE - image.width.mean() / layer.width.mean().clamp(min=1e-12)) / TOLERANCE


def balance(layer: Interval) -> Tensor:
    """How far the active and the inactive ReLUs of a layer are from contributing alike, from 0 to 2 (arXiv 2103.17268, eq. 9-10)."""
    center = (layer.lower + layer.upper) / 2
    active, inactive = layer.lower > 0, layer.upper < 0
    spread = (center - center.mean()) ** 2
    means = (center * active).mean(), -(center * inactive).mean()
    spreads = (spread * active).mean(), (spread * inactive).mean()
    return sum((F.relu(TOLERANCE - _ratio(a, b)) for a, b in (means, spreads)), center.new_zeros(())) / TOLERANCE


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two values of at least 0 by the larger; 1, and no gradient, where both are 0."""
    larger = torch.maximum(a, b)
    return torch.where(larger > 0, torch.minimum(a, b) / larger.clamp(min=1e-12), 1)
