"""What an evaluation says of networks whose logits depend on more than the image, and of logits that are no numbers."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from small_evaluations import BALL
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD, Square
from logitpair.evaluation.network_checks import between_batches, between_calls

X = 0.3 + 0.4 * torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.linear = nn.Linear(64, 3)
        self.kind, self.most = kind, X.mean((1, 2, 3)).max().item()

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)
        if self.kind == "random":
            z = z + 0.1 * torch.randn_like(z)
        if self.kind == "batch":
            z = z - z.mean(0)
        logits = self.linear(z)
        if self.kind == "not_finite":  # inside the ball alone
            logits = logits.masked_fill((z.mean(1) > self.most + 1e-3)[:, None], torch.nan)
        return logits


def evaluate(kind: str, caplog: pytest.LogCaptureFixture, **options: object) -> tuple[lp.Evaluation, list[str]]:
    y = Net("honest")(X).argmax(1)
    attacks = {"square": Square(BALL, queries=10), "none": PGD(lp.Linf(0.0), step_size=0.1, steps=1)}
    with caplog.at_level(logging.WARNING, "logitpair"), torch.random.fork_rng():
        torch.manual_seed(0)
        found = lp.evaluate(Net(kind), (X, y), attacks=attacks, batch_size=16, progress=False, **options)
    return found, [record.getMessage() for record in caplog.records]


def test_nothing_is_said_of_a_network_that_depends_on_the_image_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert evaluate("honest", caplog)[1] == []


@pytest.mark.parametrize(
    ("kind", "said"), [("random", "model: gives other logits for the same images"), ("batch", "model: gives an image other logits alone")]
)
def test_a_network_whose_logits_depend_on_more_is_warned_of_once_in_one_line(
    kind: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, lines = evaluate(kind, caplog)
    assert len(lines) == 1
    assert lines[0].startswith(said)
    assert "\n" not in lines[0]


def test_images_whose_logits_are_not_finite_are_counted_as_misclassified_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found, lines = evaluate("not_finite", caplog)
    lost = int((found.ledger["white_box/square/prediction"] == -1).sum())
    assert lost > 0
    assert lines == [f"model: gives logits that are not finite on {lost} of 24 images under white_box/square, which count as misclassified"]
    square = found.record.attacks["square"]
    assert square.correct == int((found.ledger["white_box/square/prediction"] == found.ledger["y"]).sum()) <= 24 - lost
    assert np.array_equal(found.ledger["white_box/none/prediction"], found.ledger["y"])


def test_the_measures_are_fractions_of_the_logits_spread() -> None:
    scale = [1.0]

    class Steered(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[0.0, 2.0]]).repeat(len(x), 1) * (scale.pop() if len(scale) > 1 else 1.0) + 0.5 * (len(x) > 1)

    x = X[:4]
    logits = Steered()(x)
    assert between_calls(Steered(), x, logits) == 0
    assert between_batches(Steered(), x, logits) == pytest.approx(0.25)
    scale += [0.75]
    assert between_calls(Steered(), x, logits) == pytest.approx(0.25)


def test_images_from_all_over_the_batch_are_run_alone() -> None:
    def after_the_first(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] + (torch.arange(len(x)) >= 12)[:, None] * torch.arange(3)

    network = lp.models.SmallConvNet(width=1)
    network.forward = after_the_first
    assert between_batches(network, X, after_the_first(X)) > 0.1
