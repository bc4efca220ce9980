"""Search in activation space: near the best image so far a mixed-integer programme chooses which ReLUs are on, where no gradient leads."""

import math
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from logitpair.attacks.active_set import nearness
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, QueryCounter, nth_other_class
from logitpair.attacks.iterated_local_search import Chains, IteratedLocalSearch
from logitpair.bounds.graph import Graph
from logitpair.bounds.operations import Affine, Interval, LeakyReLU
from logitpair.bounds.programme import Programme
from logitpair.bounds.read_graph import read_graph
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource
from logitpair.threat import AnyThreat
from logitpair.validate import positive, whole

PROGRAMME = 2000  # gradients that a programme is counted as, as long as it takes on the networks that this search is for, about
SHRINK, GROW = 1 / 1.2, 1.5  # of the radius: where a box leaves too many ReLUs open, and where its programme hardly gained
LEAST = 1e-3  # of eps, the radius that no box is made smaller than
WORTH = 0.05  # of the margin: what a programme must gain for the radius to stay as it is
NUMBERS = 5e7  # pixels times values of a network at most, beyond which its programmes take too long to be worth it


@dataclass(frozen=True)
class ActivationSearch(Attack):
    """Iterated local search in turns with mixed-integer programmes around the image that came nearest to misclassification.

    A programme finds the image with the largest margin within a box around that one, in which a part of the ReLUs may be on either side of
    0, so that no gradient says what lies beyond. The box is as large as leaves ``free`` of them open, and grows while that gains little.

    It is for the last few images, of small networks whose only nonlinear operations are ReLU and LeakyReLU (``relu_graph``); on others the
    local search is alone. Each programme is counted as 2,000 gradients of the image; it takes a part of a second to some ten seconds, in
    which Ctrl-C waits.

    Args:
        threat: the ball to search; L-infinity.
        turns: of the local search and the programmes, at least 1.
        kicks: of the local search in a turn, at least 1.
        chains: of the local search, at least 1.
        programmes: for an image in a turn at most.
        radius: of the first box, in eps; from 2 on it is the whole ball.
        free: ReLUs that a box may leave open, at least 1.
        nodes: of a programme's tree at most, from 1 to below 2**31.
        early_stop: False searches on to the last turn.

    Source: Zhang et al. 2022 ("A Branch and Bound Framework for Stronger Adversarial Attacks of ReLU Networks", ICML), whose local search
    also frees a part of the activations near images that cheap attacks found. Departs from it in choosing that part by a box around the
    image, and in kicks in the image's own pixels in between.
    """

    threat: AnyThreat
    _: KW_ONLY
    turns: int = 3
    kicks: int = 60
    chains: int = 6
    programmes: int = 8
    radius: float = 1 / 15
    free: int = 140
    nodes: int = 10
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("turns", "kicks", "chains", "programmes", "free", "nodes"):
            whole(name, getattr(self, name), 1)
        positive("radius", self.radius)
        if self.nodes >= 2**31:
            raise InputError(f"nodes must be below 2**31, not {self.nodes}")
        if not self.threat.fills_box:
            raise InputError(f"threat: a programme needs a box of images; accepted: Linf, not {type(self.threat).__name__}")

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        local = IteratedLocalSearch(self.threat, chains=self.chains, kicks=self.kicks, early_stop=self.early_stop)
        at, graph = local.begin(model, x, y), None
        for turn in range(self.turns):
            local.climb(model, x, at, range(turn * self.kicks, (turn + 1) * self.kicks), generator)
            with torch.autocast(x.device.type, enabled=False):
                graph = graph if turn else relu_graph(model, x)
                if graph:
                    for image in at.searched.nonzero()[:, 0].tolist():
                        self.improve(model, graph, x[image], at, int(at.nearest_rows()[image]))
            if self.early_stop:
                at.leave()
        return at.result()

    @torch.no_grad()
    def improve(self, model: nn.Module, graph: Graph, x: Tensor, at: Chains, row: int) -> None:
        """Solve programmes around the best image of a chain, whose place every better image takes."""
        image, chain, ball = at.image[row], torch.tensor([row], device=x.device), 2 * self.threat.eps
        y, radius = at.y[image].view(1), min(self.radius * self.threat.eps, ball)
        for _ in range(self.programmes):
            programme, within = self.around(graph, x, at.best[row], radius)
            if programme.free > self.free:
                return
            logits = compute_logits(model, at.best[chain])
            at.margin[chain] = before = nearness(logits, y)  # which the local search may have rounded to bfloat16
            target, classes = nth_other_class(logits, y, 1), logits.shape[1]
            found = programme.maximum((F.one_hot(target, classes) - F.one_hot(y, classes))[0].to(x), self.nodes)
            if found is not None:
                x_adv = self.threat.project(found[None], x[None])
                at.offer(chain, x_adv, compute_logits(model, x_adv))
            at.gradients[image] += PROGRAMME
            at.forwards[image] += 1 + (found is not None)
            gained = bool(at.margin[chain] - before > WORTH * before.abs())
            if (self.early_stop and at.broken[row]) or (within < radius and not gained) or within == ball:
                return
            radius = within if gained else min(GROW * within, ball)

    def around(self, graph: Graph, x: Tensor, best: Tensor, radius: float) -> tuple[Programme, float]:
        """A box around ``best``, of at most this radius, that leaves at most ``free`` ReLUs open: its programme and radius.

        More are open where many inputs of ReLUs are 0 but for rounding, and no box is small enough.
        """
        lower, upper = (bound[0] for bound in self.threat.box(x[None]))
        while True:
            programme = Programme(graph, Interval(torch.maximum(lower, best - radius), torch.minimum(upper, best + radius)))
            if programme.free <= self.free or radius <= LEAST * self.threat.eps:
                return programme, radius
            radius *= SHRINK


def relu_graph(model: nn.Module, x: Images) -> Graph | None:
    """The operations of a network for which programmes are solved; None where it is too large, of others, or not to be read for bounds."""
    try:
        graph = read_graph(model.model if isinstance(model, QueryCounter) else model, x[:1])
    except InputError:
        return None
    numbers = math.prod(graph.shapes[0]) * sum(map(math.prod, graph.shapes))
    return graph if numbers <= NUMBERS and all(isinstance(step.operation, Affine | LeakyReLU) for step in graph.steps) else None
