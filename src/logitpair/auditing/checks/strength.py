"""A test of the search with planted truth: adversarial images that are there by construction, and how many of them it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import nan
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.attacks import BlockStart
from logitpair.attacks.base import Images, Labels
from logitpair.auditing.checks.finding import finding
from logitpair.auditing.checks.sample import Sample
from logitpair.auditing.strategies import SearchStrategy
from logitpair.evaluation.network_checks import DIFFER
from logitpair.losses import misclassification_margin
from logitpair.models.inference import compute_logits, predict
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.storage.results import Finding
from logitpair.threat import Threat

FOUND = 0.95  # of the planted images: an honest network hides none of them
ENOUGH = 16  # planted images; of fewer nothing is concluded
COST = 50.0  # gradients of the searches that are tested: not the long repetition of one, and not Square
ROUNDS = 2  # of each search, for what the first has left
DRAWS = 48  # of noise for each image that the new layer is fitted to, and as many that must not break it
INNER = 0.95  # of eps: the radius of the noise that the layer is fitted to
NEAR = 0.5  # of the way from that noise to the planted image, where the layer changes its answer: nearer to it, flat features hide a needle
RIDGE = 0.1  # of the variance of the noise, added to its covariance
Features = Float[Tensor, "batch features"]
Call = tuple[nn.Module, tuple[Any, ...], Tensor]  # a layer, its inputs and its output


class NotPlantable(Exception):
    """Why no adversarial images can be planted in this network."""


@torch.no_grad()
def strength(sample: Sample, strategies: Sequence[SearchStrategy], threat: Threat) -> Finding:
    """Plant an adversarial image in the ball around each image of the sample, and let the search find it.

    For each image the last layer of the network is exchanged for one of two classes (``plant``) under which the image and noise around it
    have their label, and one known point of the ball has not. The rest of the network stays, before that layer and behind it. An image
    that ``DRAWS`` draws of noise break is no test of a search and is not counted.

    Where the test cannot be made the finding passes, ``measured["found"]`` is null and the evidence says why.

    Args:
        sample: images that the network gets right.
        strategies: the audit's searches; those on the network itself that cost at most ``COST`` gradients are tested.
        threat: the ball that is audited.

    Source: Zimmermann et al. 2022, arXiv 2206.13991, section 4 (the binarization test). Departures: what lies behind the last layer
    stays, so that masks there are tested too; the layer is fitted in closed form, to noise in blocks too; images that noise breaks are
    left out, where the paper compares the attack's rate of success with that of noise; the answer changes half-way between noise and the
    planted image (``NEAR``) and not just before the latter, where also networks trained by logit pairing hide one of ten.
    """
    try:
        planted = plant(sample, threat)
        left = _search(planted, sample, strategies)
    except NotPlantable as reason:
        return _finding(True, f"not applied, as {reason}: nothing is known of the search by this check", 0, None)
    number, found = len(planted.rows), 1 - len(left.rows) / len(planted.rows)
    what = f"adversarial images planted around {number} of {len(sample.x)} images, which {DRAWS} draws of noise do not find"
    return _finding(found >= FOUND, f"the searches by gradients find {found:.1%} of the {what} (at least {FOUND:.0%})", number, found)


def _finding(passed: bool, evidence: str, planted: int, found: float | None) -> Finding:
    share = nan if found is None else found
    return finding("strength", passed, evidence, FOUND, forbids_trust=not passed, planted=float(planted), found=share)


def _search(left: PlantedNetwork, sample: Sample, strategies: Sequence[SearchStrategy]) -> PlantedNetwork:
    """The rows whose adversarial image no search finds, each being run on what those before it left."""
    tested = [strategy for strategy in strategies if strategy.source is None and strategy.cost <= COST]
    for repetition, strategy in product(range(ROUNDS), tested):
        if len(left.rows):
            streams = ExampleStreams(derive_seed(sample.seed, "strength", strategy.name, repetition), left.rows)
            attack = strategy.attack(repetition).without_early_stop()  # each row has a layer of its own: none may leave the batch
            x_adv = attack.find_unchecked(left, sample.x[left.rows], left.y, streams).x_adv
            left = left.only(predict(compute_logits(left, x_adv)) == left.y)
    return left


class PlantedNetwork(nn.Module):
    """The network with another last layer for each row of a batch, which tells the image's label ``y`` from the class ``other``.

    Args:
        model: the network.
        layer: its last layer, whose output is replaced.
        rows: which images of a sample these are, ``[batch]``.
        y: their labels.
        weight: of ``lead``, by which ``other`` leads, positive where the image is adversarial.
        bias: of it.
        scale: how far every further class stays behind.
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module, rows: Labels, y: Labels, weight: Features, bias: Float[Tensor, " batch"], scale: float
    ) -> None:
        super().__init__()
        self.model, self.layer, self.rows, self.y = model, layer, rows, y
        self.weight, self.bias, self.scale = weight, bias, scale

    def forward(self, x: Images) -> Tensor:
        return _hooked(self.model, [self.layer], self._two_classes, x)

    def only(self, chosen: Tensor) -> Self:
        """The network for some of the rows."""
        rows, y, weight, bias = (part[chosen] for part in (self.rows, self.y, self.weight, self.bias))
        return type(self)(self.model, self.layer, rows, y, weight, bias, self.scale)

    def _two_classes(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        _check_rows(output, len(self.rows))
        lead = torch.einsum("bf...,bf->b...", inputs[0].to(self.weight.dtype), self.weight) + self.bias.view(-1, *[1] * (output.ndim - 2))
        rows, replaced = torch.arange(len(output), device=output.device), torch.full_like(output, -self.scale)
        replaced[rows, self.y] = (-lead / 2).to(output.dtype)
        replaced[rows, (self.y + 1) % output.shape[1]] = (lead / 2).to(output.dtype)
        return replaced


def plant(sample: Sample, threat: Threat) -> PlantedNetwork:
    """The network with a last layer for each image in whose ball there is then one adversarial image at least, and not by chance.

    Raises:
        NotPlantable: where there is no last layer that can be exchanged, or too few images are left.
    """
    model, x, y = sample.model, sample.x, sample.y
    layer, streams, small = last_layer(model, x, y), sample.streams("strength"), threat.scaled(INNER)

    def noise(ball: Threat, number: int) -> Images:
        return BlockStart().draw(ball, x, streams) if number % 2 else ball.random_start(x, streams)

    clean, outputs = features(model, layer, x)
    if (features(model, layer, x)[0] - clean).abs().max() > DIFFER * (clean.max() - clean.min()):
        raise NotPlantable("the features of the same images differ from call to call")
    x_adv = BlockStart().draw(threat, x, streams)
    around = torch.stack([clean, *(features(model, layer, noise(small, number))[0] for number in range(DRAWS))], 1)
    weight, bias = separate(around, features(model, layer, x_adv)[0])
    scale = misclassification_margin(outputs, y.cpu()).abs().median().item()  # as far ahead as the network's own classes are
    rows = torch.arange(len(x), device=x.device)
    planted = PlantedNetwork(model, layer, rows, y, (scale * weight).to(x), (scale * bias).to(x), scale)
    good = (predict(compute_logits(planted, x)) == y) & (predict(compute_logits(planted, x_adv)) != y)
    for number in range(DRAWS):
        good &= predict(compute_logits(planted, noise(threat, number))) == y
    if (number := int(good.sum())) < ENOUGH:
        raise NotPlantable(
            f"an adversarial image that noise does not find can be planted around {number} of {len(x)} images ({ENOUGH} needed)"
        )
    return planted.only(good)


def separate(
    around: Float[Tensor, "batch draws features"], planted: Features
) -> tuple[Float[Tensor, "batch features"], Float[Tensor, " batch"]]:
    """Weight and bias of a linear function of the features that is positive at ``planted``, -1 at the first draw, negative at all.

    It is Fisher's discriminant with a ridge, by the matrix of the draws' products, as there are fewer draws than features. Where no
    function can be all that, it is anything, NaN too.
    """
    mean = around.mean(1)
    draws, away = around - mean[:, None], planted - mean
    products = draws @ draws.mT
    ridge = RIDGE * products.diagonal(dim1=1, dim2=2).mean(1) + torch.finfo(around.dtype).tiny
    solved = torch.linalg.solve_ex(products + ridge[:, None, None] * torch.eye(draws.shape[1]).to(products), draws @ away[:, :, None])[0]
    weight = away - (draws.mT @ solved).squeeze(2)
    of_draws, of_planted = (draws @ weight[:, :, None]).squeeze(2), (away * weight).sum(1)
    inner = of_draws.amax(1)
    zero = inner + NEAR * (of_planted - inner)
    unit = zero - of_draws[:, 0]
    return weight / unit[:, None], -(zero + (mean * weight).sum(1)) / unit


def last_layer(model: nn.Module, x: Images, y: Labels) -> nn.Module:
    """The linear layer or 1x1 convolution that gives the numbers of the classes: the last layer with weights that is run.

    Raises:
        NotPlantable: where there is none.
    """
    calls = _calls(model, [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))], x[:2])
    layer, inputs, output = calls[-1]
    if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
        raise NotPlantable("its last layer with weights is a convolution")
    if not inputs or output.ndim not in (2, 4) or output.shape[1] <= max(1, int(y.max())):
        raise NotPlantable(f"its last layer with weights gives {list(output.shape[1:])} for an image and not a number for each class")
    return layer


def features(model: nn.Module, layer: nn.Module, x: Images) -> tuple[Features, Float[Tensor, "batch outputs"]]:
    """What goes into the layer and what comes out of it, in float64 on the CPU; of maps the means."""
    _, inputs, output = _calls(model, [layer], x)[-1]
    of_layer, outputs = (part.cpu().double() for part in (inputs[0], output))
    return of_layer.reshape(*of_layer.shape[:2], -1).mean(2), outputs.reshape(*outputs.shape[:2], -1).mean(2)


def _calls(model: nn.Module, layers: Sequence[nn.Module], x: Images) -> list[Call]:
    """Each call of these layers when the model is run, at least one."""
    calls: list[Call] = []
    _hooked(model, layers, lambda *call: calls.append(call), x)
    if not calls:
        raise NotPlantable("no layer of the network can be seen, as in TorchScript, an exported program or a compiled network")
    _check_rows(calls[-1][2], len(x))
    return calls


def _check_rows(output: Tensor, images: int) -> None:
    if len(output) != images:
        raise NotPlantable(f"its last layer is run on {len(output)} rows where there are {images} images")


def _hooked(model: nn.Module, layers: Sequence[nn.Module], hook: Callable[..., Any], x: Images) -> Tensor:
    """The model's output, ``hook`` being called with each of these layers that is run, its inputs and its output."""
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        return model(x)
    finally:
        for handle in handles:
            handle.remove()
