"""The audit's own search against its description, written out for one image at a time on a network of two layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import DiversifiedPGD
from logitpair.rng import ExampleStreams

EPS, SIDE, CLASSES = 0.2, 7, 4
BLOCKS = (1 / 28, 1 / 14, 1 / 7, 1 / 4, 1 / 2)
Array = np.ndarray


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 12), nn.ReLU(), nn.Linear(12, CLASSES)).double().eval()


class WrittenOut:
    """One image; gradients by hand."""

    def __init__(self, network: nn.Sequential, x: Array, y: int, position: int) -> None:
        self.layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in network if isinstance(layer, nn.Linear)]
        self.x, self.y, self.streams = x, y, ExampleStreams(5, torch.tensor([position]))

    def uniform(self, *shape: int) -> Array:
        return self.streams.uniform(torch.Size([1, *shape]), torch.float64, torch.device("cpu"))[0].numpy()

    def logits(self, x: Array) -> tuple[Array, Array]:
        (weight, bias), (last, last_bias) = self.layers
        z = weight @ x.ravel() + bias
        return last @ np.maximum(z, 0) + last_bias, z

    def margin(self, x: Array) -> float:
        logits = self.logits(x)[0]
        return np.delete(logits, self.y).max() - logits[self.y]

    def gradient(self, x: Array, of_logits: Array, smoothing: float) -> Array:
        z = self.logits(x)[1]
        gate = 1 / (1 + np.exp(-z / (smoothing * np.abs(z).mean()))) if smoothing else z > 0
        return (self.layers[0][0].T @ (gate * (self.layers[1][0].T @ of_logits))).reshape(x.shape)

    def project(self, x: Array) -> Array:
        return np.clip(x, np.maximum(self.x - EPS, 0), np.minimum(self.x + EPS, 1))

    def corner(self) -> Array:
        noise, size = self.uniform(1, SIDE, SIDE), max(1, round(BLOCKS[int(self.uniform().item() * 5)] * SIDE))
        up = np.array([[noise[0, row // size, column // size] < 0.5 for column in range(SIDE)] for row in range(SIDE)])
        return self.project(self.x + np.where(up[None], EPS, -EPS))

    def restart(self, attack: DiversifiedPGD) -> Array:
        candidates = [self.corner() for _ in range(attack.candidates)]
        x_adv, direction = max(candidates, key=self.margin), 2 * self.uniform(CLASSES) - 1
        for step in range(attack.diversify + attack.steps):
            progress = max(0.0, (step - attack.diversify) / attack.steps)
            last = step == attack.diversify + attack.steps - 1
            if step < attack.diversify:
                of_logits = direction
            else:
                logits = self.logits(x_adv)[0]
                logits[self.y] = -np.inf
                of_logits = np.eye(CLASSES)[logits.argmax()] - np.eye(CLASSES)[self.y]
            gradient = self.gradient(x_adv, of_logits, 0.0 if last else attack.smoothing * (1 - progress))
            x_adv = self.project(x_adv + 2 * EPS * (1 - progress) * np.sign(gradient))
        return x_adv


@pytest.mark.parametrize("options", [{}, {"smoothing": 0.4, "steps": 6}, {"candidates": 1, "diversify": 0}, {"diversify": 3, "steps": 3}])
@pytest.mark.parametrize("restarts", [1, 3])
def test_agrees_with_its_description_written_out(network: nn.Sequential, options: dict[str, float], restarts: int) -> None:
    x = torch.rand(6, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = network(x).argmax(1)
    attack = DiversifiedPGD(lp.Linf(EPS), early_stop=False, restarts=restarts, **options)  # type: ignore[arg-type]
    found = attack(network, x, y, generator=ExampleStreams(5, torch.arange(6)))
    for position in range(6):
        alone = WrittenOut(network, x[position].numpy(), int(y[position]), position)
        ends = [alone.restart(attack) for _ in range(restarts)]
        np.testing.assert_allclose(found[position].numpy(), max(ends, key=alone.margin), rtol=0, atol=1e-12)


def test_by_default_it_restarts_never_and_chooses_among_four_corners(network: nn.Sequential) -> None:
    attack = DiversifiedPGD(lp.Linf(EPS))
    assert (attack.restarts, attack.candidates, attack.diversify, attack.steps, attack.smoothing) == (1, 4, 2, 20, 0.0)
    x: Tensor = torch.rand(6, 1, SIDE, SIDE, dtype=torch.float64)
    found = lp.attacks.DiversifiedPGD(lp.Linf(1e-6)).find(network, x, network(x).argmax(1))
    assert found.gradients.tolist() == [22] * 6
    assert found.forwards.tolist() == [1 + 4 + 1] * 6
