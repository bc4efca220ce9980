"""What the training engine asks of every objective: local batches that add up to the whole, smoothed labels, an auxiliary classifier."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from objective_examples import ATTACK, EXAMPLES
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.objectives import MART, Mixup, Objective, StandardTraining
from logitpair.rng import ExampleStreams

ALL = {f"{kind}-{name}": example for kind, examples in EXAMPLES.items() for name, example in examples.items()}

# mixtures of images, and regularisers by ratios of means over the batch
OF_THE_WHOLE = {name for name, example in ALL.items() if isinstance(example, Mixup) or getattr(example, "regularization", 0)}


def batch(images: int = 40) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.rand(images, 1, 8, 8, generator=source, dtype=torch.float64), torch.randint(10, (images,), generator=source)


def gradient(objective: Objective, model: nn.Module, first: int = 0, size: int = 1) -> Tensor:
    """The gradient on every ``size``-th image of the batch, from the ``first``."""
    x, y = (part[first::size] for part in batch())
    model.zero_grad()
    objective(model, x, y, generator=ExampleStreams(5, torch.arange(first, 40, size))).total.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", [name for name in ALL if name not in OF_THE_WHOLE])
def test_the_gradients_of_local_batches_make_up_that_of_the_whole(name: str, size: int, conv: nn.Module) -> None:
    model = conv.double().train()
    whole = gradient(ALL[name], model)
    assert whole.abs().max() > 1e-4
    local = [gradient(ALL[name], model, first, size) for first in range(size)]
    torch.testing.assert_close(torch.stack(local).mean(0), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_labels_are_smoothed_in_every_cross_entropy(name: str, conv: nn.Module) -> None:
    x, y = batch(6)
    model = conv.double()
    exact, smoothed = (
        replace(ALL[name], label_smoothing=smoothing)(model, x, y, generator=torch.Generator().manual_seed(0)) for smoothing in (0.0, 0.2)
    )
    assert not torch.equal(exact.total, smoothed.total)
    for kind, logits in smoothed.logits.items():
        torch.testing.assert_close(logits, exact.logits[kind])
        if f"{kind}_loss" in smoothed.terms:
            torch.testing.assert_close(smoothed.terms[f"{kind}_loss"], F.cross_entropy(logits, y, label_smoothing=0.2))
    if isinstance(ALL[name], MART):
        change = F.cross_entropy(smoothed.logits["adversarial"], y, label_smoothing=0.2) - F.cross_entropy(exact.logits["adversarial"], y)
        torch.testing.assert_close(smoothed.terms["boosted_loss"] - exact.terms["boosted_loss"], change)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_bad_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(InputError, match="label_smoothing"):
        lp.objectives.AdversarialTraining(ATTACK, label_smoothing=smoothing)


class TwoHeads(nn.Module):
    """A network with an auxiliary classifier, as InceptionV3 has one."""

    auxiliary_weight = 0.4

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.side = (nn.Linear(64, 12), nn.Linear(12, 10), nn.Linear(12, 10))
        self.auxiliary_logits: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x.flatten(1)).relu()
        self.auxiliary_logits = self.side(features) if self.training else None
        return self.head(features)


def two_heads() -> TwoHeads:
    torch.manual_seed(0)
    return TwoHeads().double()


@pytest.mark.parametrize("name", ALL)
def test_an_auxiliary_classifier_adds_its_cross_entropy(name: str) -> None:
    x, y = batch(6)
    model, objective = two_heads(), ALL[name]
    plain = objective(model.eval(), x, y, generator=torch.Generator().manual_seed(0))
    assert "auxiliary" not in plain.terms
    found = objective(nn.Sequential(model).train(), x, y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.total, plain.total + 0.4 * found.terms["auxiliary"])
    logits = model.auxiliary_logits
    assert logits is not None
    if not isinstance(objective, Mixup):
        expected = F.cross_entropy(logits, torch.cat([y] * (len(logits) // 6)), label_smoothing=objective.label_smoothing)
        torch.testing.assert_close(found.terms["auxiliary"], expected)
    found.total.backward()
    assert model.side.weight.grad is not None
    assert model.side.weight.grad.abs().max() > 0


def test_mixup_mixes_the_labels_of_the_auxiliary_classifier_too() -> None:
    x, y = batch(6)
    model = two_heads()
    model.side.load_state_dict(model.head.state_dict())
    found = Mixup()(model, x, y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.terms["auxiliary"], found.terms["mixed_loss"])


def test_auxiliary_logits_that_fit_no_labels_are_refused() -> None:
    x, y = batch(6)
    model = two_heads()
    model.eval()
    model.auxiliary_logits = torch.zeros(5, 10, dtype=torch.float64)
    model.forward = lambda x: model.head(model.body(x.flatten(1)))  # type: ignore[method-assign]
    with pytest.raises(InputError, match="5 auxiliary_logits for 6 labels"):
        StandardTraining()(model, x, y)
