"""The paper's eight attacks, written out in a straight line from its text, give the same images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.rng import ExampleStreams

SIZES = [(4 / 255, 1 / 255, 7), (0.1, 0.025, 5), (0.3, 0.01, 12), (1.0, 0.3, 3)]
SEED = 11


class Draws:
    """The numbers an attack draws, in its order: one an example for a random target, then one a pixel for the noise."""

    def __init__(self, x: Tensor, streams: bool) -> None:
        self.streams = ExampleStreams(SEED, torch.arange(len(x))) if streams else None
        self.plain = torch.Generator().manual_seed(SEED)

    def __call__(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if self.streams is not None:
            return self.streams.uniform(torch.Size(shape), dtype, torch.device("cpu"))
        return torch.rand(shape, generator=self.plain, dtype=dtype)


def least_likely(model: nn.Module, x: Tensor, y: Tensor, draws: Draws) -> list[int]:
    """By the clean prediction; of the classes that are wrong."""
    probabilities = model(x).softmax(1).tolist()
    return [min((p, k) for k, p in enumerate(row) if k != true)[1] for row, true in zip(probabilities, y.tolist(), strict=True)]


def random_class(model: nn.Module, x: Tensor, y: Tensor, draws: Draws) -> list[int]:
    """Each wrong class with the same probability."""
    classes = model(x).shape[1]
    numbers = draws((len(x), 1), torch.float32).flatten().tolist()
    return [[k for k in range(classes) if k != true][int(u * (classes - 1))] for u, true in zip(numbers, y.tolist(), strict=True)]


def descend(model: nn.Module, x_adv: Tensor, target: list[int], step: float) -> Tensor:
    """One signed-gradient step down the loss of the target, one image at a time."""
    moved = []
    for image, k in zip(x_adv, target, strict=True):
        leaf = image.clone().requires_grad_()
        loss = -model(leaf[None])[0].log_softmax(0)[k]
        loss.backward()
        moved.append(image - step * leaf.grad.sign())
    return torch.stack(moved)


def clip(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    return (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)


def restated(kind: str, model: nn.Module, x: Tensor, target: list[int], draws: Draws, eps: float, step_size: float, steps: int) -> Tensor:
    """Step, R+Step, Iter or PGD."""
    if kind == "step":
        return clip(descend(model, x, target, eps), x, eps)
    if kind == "r_step":
        alpha = eps / 2
        normal = torch.special.ndtri(draws(tuple(x.shape), x.dtype))  # N(0, I) from uniform numbers
        x_adv = (x + alpha * normal.sign()).clamp(0, 1)
        return clip(descend(model, x_adv, target, eps - alpha), x, eps)
    x_adv = x if kind == "iter" else clip(x + eps * (2 * draws(tuple(x.shape), x.dtype) - 1), x, eps)
    for _step in range(steps):
        x_adv = clip(descend(model, x_adv, target, step_size), x, eps)
    return x_adv


@pytest.mark.parametrize("streams", [False, True], ids=["generator", "streams"])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"eps_{sizes[0]:.3g}")
@pytest.mark.parametrize("name", list(lp.attacks.paper_suite(eps=0.1, step_size=0.1, steps=1)))
def test_agrees_with_the_attack_written_out(name: str, sizes: tuple[float, float, int], streams: bool, conv: nn.Module) -> None:
    eps, step_size, steps = sizes
    model = conv.double()
    x = (1.4 * torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.2).clamp_(0, 1)
    y = torch.arange(9)
    y[:3] = model(x[:3]).argmin(1)  # where the true class is the least likely
    kind, _, aim = name.rpartition("_")
    draws = Draws(x, streams)
    target = {"ll": least_likely, "rand": random_class}[aim](model, x, y, draws)
    expected = restated(kind, model, x, target, draws, eps, step_size, steps)
    attack = lp.attacks.paper_suite(eps=eps, step_size=step_size, steps=steps)[name].without_early_stop()
    found = attack(model, x, y, generator=ExampleStreams(SEED, torch.arange(9)) if streams else torch.Generator().manual_seed(SEED))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (expected != x).any()
