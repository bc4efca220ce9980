"""How a network is run: exactly as eval() leaves it, on a copy of the images, and put back as it was."""

from __future__ import annotations

from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.models import compute_logits, frozen_eval
from logitpair.models.inference import check_accepts, count_logits, logits_in_eval, to_channels_last

X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """Its noise hangs on what ``train`` sets beside the flags, as that of many published networks does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.part = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
        self.noise = 1.0

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.part[1].train()  # it always drops
        self.noise = 1.0 if mode else 0.0
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.linear(x.flatten(1))) + self.noise


class ByEval(nn.Module):
    """It overrides ``eval`` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(64, 3), 1.0

    def eval(self) -> Self:
        self.scale = 2.0
        return super().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.linear(x.flatten(1))


def state(model: nn.Module) -> list[object]:
    return [[part.training for part in model.modules()], [p.requires_grad for p in model.parameters()], getattr(model, "noise", None)]


@pytest.mark.parametrize("build", [Noisy, ByEval])
def test_the_state_within_is_that_of_eval(build: type[nn.Module]) -> None:
    model, reference = build(), build()
    expected = state(reference.eval())[::2], getattr(reference, "scale", None)
    with frozen_eval(model):
        assert (state(model)[::2], getattr(model, "scale", None)) == expected
        assert not any(state(model)[1])


@pytest.mark.parametrize("mode", [True, False])
def test_what_train_sets_is_put_back_whatever_was_done_within(mode: bool) -> None:
    model = Noisy().train(mode)
    model.linear.bias.requires_grad_(False)
    before = state(model)
    with frozen_eval(model):
        model.train(not mode)
        model.linear.bias.requires_grad_(True)
    assert state(model) == before


def test_modes_of_parts_are_put_back_one_by_one() -> None:
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.Dropout()), Noisy())
    model.train()
    model[0].training = False  # and what is in it trains
    model[1].part.eval()
    model[0][1].eval()
    before = state(model)
    with frozen_eval(model):
        assert sum(part.training for part in model.modules()) == 1  # the one that Noisy never lets go
    assert state(model) == before


def test_an_exported_program_keeps_the_mode_that_it_was_exported_in() -> None:
    model = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), (X,)).module()
    with pytest.raises(NotImplementedError):
        model.eval()
    assert logits_in_eval(model, X).shape == (4, 3)
    assert logits_in_eval(nn.Sequential(model, nn.ReLU()), X).shape == (4, 3)


def test_logits_in_eval_are_those_of_eval_mode_without_a_gradient() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)).train()
    logits = logits_in_eval(model, X)
    assert not logits.requires_grad
    assert model.training
    torch.testing.assert_close(logits, model.eval()(X))


class InPlace(nn.Module):
    """Normalises its input in place, as only a caller that hands over its images may let it."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(64, 3), change

    def forward(self, x: Tensor) -> Tensor:
        if self.change == "sub_":
            x.sub_(0.5)
        elif self.change == "data":
            x.data.sub_(0.5)
        else:
            x = x - 0.5
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("change", ["sub_", "data"])
def test_a_network_that_changes_its_input_is_run_on_a_copy(change: str) -> None:
    model, honest = InPlace(change), InPlace("none")
    honest.load_state_dict(model.state_dict())
    x, y = X.clone(), torch.tensor([0, 1, 2, 0])
    logits = compute_logits(model, x)
    assert torch.equal(logits, compute_logits(honest, X))
    assert check_accepts("model", model, x).requires_grad
    assert count_logits(model, x[0]) == 3
    attack = PGD(lp.Linf(0.1), step_size=0.05, steps=4, early_stop=False)
    found = [attack(network, x, y, generator=torch.Generator().manual_seed(0)) for network in (model, honest)]
    assert torch.equal(*found)
    assert torch.equal(x, X)


class Viewing(nn.Module):
    """A network that is written for contiguous images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)[:, :3]


def test_logits_are_counted_on_contiguous_images_too() -> None:
    as_pillow_has_it = torch.zeros(5, 4, 3, dtype=torch.uint8).permute(2, 0, 1)
    assert count_logits(Viewing(), as_pillow_has_it) == 3


def test_a_network_of_one_channel_is_pointed_to_grey() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(lp.InputError, match=r"to have 1 channels, but got 3 channels instead; with --grey photos have 1$"):
        count_logits(network, torch.zeros(3, 5, 4))
    assert count_logits(network, torch.zeros(1, 5, 4)) == 3


def test_images_and_weights_of_two_precisions_are_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(lp.InputError, match=r"; convert the images \(torch.float64\) or the weights \(torch.float32\)$"):
        check_accepts("model", network, X.double())


def test_too_little_memory_is_not_a_network_for_other_images() -> None:
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        check_accepts("model", Full(), torch.zeros(1, 1, 8, 8))


class Viewed(nn.Module):
    """One that lays out its activations anew, which only PyTorch's default memory format allows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.logits = nn.Conv2d(2, 3, 3), nn.Linear(27, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.conv(x).view(len(x), -1))


class ViewedByChannel(Viewed):
    """One whose layout in memory one image alone would not betray."""

    def forward(self, x: Tensor) -> Tensor:
        channels = self.conv(x)
        return self.logits(channels.view(3 * len(x), 3, 3).reshape(len(x), -1))


def test_a_network_is_in_channels_last_where_it_runs_so() -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (2, 5, 5), dtype=torch.uint8)
    x = image[None] / 255
    conv = nn.Conv2d(2, 3, 3)
    model = nn.Sequential(conv, nn.Flatten(), nn.Linear(27, 4))
    logits = model(x)
    torch.testing.assert_close(to_channels_last(model, image)(x), logits)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    batch = torch.cat([x, x])
    for viewed in (Viewed(), ViewedByChannel()):
        logits = viewed(batch)
        assert torch.equal(to_channels_last(viewed, image)(batch), logits)
        assert viewed.conv.weight.is_contiguous()


class GradientAsView(torch.autograd.Function):
    """What it is given, whose gradient it lays out anew."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].view(len(gradients[0]), -1).view(ctx.shape)


def every_third(x: Tensor) -> Tensor:
    """Every third pixel, of activations that lie channel after channel."""
    images, channels, height, width = x.shape
    return x.as_strided((images, channels, 3, 3), (channels * height * width, height * width, 3 * width, 3))


@pytest.mark.parametrize("between", [every_third, GradientAsView.apply])
def test_a_network_with_other_logits_or_no_gradient_in_channels_last_stays_as_it_was(between: Any) -> None:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(between(self.first(x))).mean((2, 3))

        def to(self, device: torch.device) -> Self:  # type: ignore[override]
            return super().to(device)

    torch.manual_seed(0)
    model, image = Custom().eval(), torch.rand(3, 12, 12)
    batch = torch.stack([image, image]).requires_grad_()
    logits = model(batch)
    again = to_channels_last(model, image)(batch)
    assert torch.equal(again, logits)
    again.sum().backward()
