"""Mistakes that other libraries and papers made, each with a test that would catch it here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import losses
from logitpair.attacks import APGD, PGD, Attack, LeastLikely, RandomTarget, Square
from logitpair.config import parsing, recipes
from logitpair.data.epoch_batches import epoch_batches
from logitpair.rng import ExampleStreams

Pair = tuple[Tensor, Tensor]


@pytest.fixture
def sample(digits: Pair) -> Pair:
    return digits[0][:60], digits[1][:60]


class OnePixelDoors(nn.Module):
    """Misclassifies (class 1) only images whose first pixel lies in a narrow range: random starts find it now and then."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        pixel = x[:, 0, 0, 0]
        inside = (pixel > self.low) & (pixel < self.high)
        logit = torch.where(inside, 1.0, -1.0) + 0 * pixel
        return torch.stack([-logit, logit], 1)


def test_restarts_keep_what_any_restart_broke_not_the_last_one() -> None:
    model, x, y = OnePixelDoors(0.5, 0.6), torch.full((200, 1, 1, 2), 0.5), torch.zeros(200).long()
    broken = []
    for restarts in (1, 2, 8):
        attack = PGD(lp.Linf(0.3), step_size=0.01, steps=1, restarts=restarts)
        x_adv = attack(model, x, y, generator=ExampleStreams(0, torch.arange(200)))
        broken.append(model(x_adv).argmax(1) != y)
    assert (broken[1] | ~broken[0]).all(), "a later restart lost what an earlier one had found"
    assert (broken[2] | ~broken[1]).all()
    assert broken[0].sum() < broken[1].sum() < broken[2].sum()


def test_restarts_are_compared_example_by_example_not_batch_by_batch() -> None:
    model, x, y = OnePixelDoors(0.5, 0.6), torch.full((30, 1, 1, 2), 0.5), torch.zeros(30).long()
    attack = PGD(lp.Linf(0.3), step_size=0.01, steps=1, restarts=6)
    together = attack(model, x, y, generator=ExampleStreams(0, torch.arange(30)))
    alone = torch.cat([attack(model, x[:1], y[:1], generator=ExampleStreams(0, torch.tensor([i]))) for i in range(30)])
    assert torch.equal(model(together).argmax(1), model(alone).argmax(1))
    assert 0 < (model(together).argmax(1) != y).sum() < 30


@pytest.mark.parametrize(
    "attack",
    [
        PGD(lp.Linf(0.4), step_size=0.001, steps=1, restarts=10),
        APGD(lp.Linf(0.4), steps=5, restarts=10, loss=losses.cross_entropy),
        Square(lp.Linf(0.4), queries=30, loss=losses.cross_entropy),
    ],
    ids=lambda attack: type(attack).__name__,
)
@pytest.mark.parametrize("early_stop", [True, False])
def test_the_best_point_is_the_misclassified_one_not_the_one_of_highest_loss(attack: Attack, early_stop: bool) -> None:
    class Misleading(nn.Module):
        """Three classes, true class 0. Left half: cross-entropy high but still right. Right half: lower, but wrong."""

        def forward(self, x: Tensor) -> Tensor:
            pixel = x[:, 0, 0, 0]
            left = torch.tensor([0.01, 0.0, 0.0])  # loss ln 3
            right = torch.tensor([5.0, 5.5, -9.0])  # loss ln(1 + e^0.5) = 0.97
            return torch.where((pixel < 0.5)[:, None], left, right) + 0 * pixel[:, None]

    y = torch.zeros(50).long()
    model = Misleading()
    higher, lower = (losses.cross_entropy(model(torch.full((1, 1, 1, 1), pixel)), y[:1]) for pixel in (0.2, 0.8))
    assert higher > lower
    attack = attack if early_stop else attack.without_early_stop()
    x_adv = attack(model, torch.full((50, 1, 1, 1), 0.5), y, generator=torch.Generator().manual_seed(0))
    assert (model(x_adv).argmax(1) == 1).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_the_last_iterate_is_scored(steps: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
        model[1].bias.copy_(torch.tensor([0.0, -0.5 - 0.1 * steps + 0.05]))  # broken after exactly ``steps`` steps of 0.1
    x, y = torch.full((4, 1, 1, 1), 0.5), torch.zeros(4).long()
    attack = PGD(lp.Linf(0.5), step_size=0.1, steps=steps, random_start=False)
    assert (model(attack(model, x, y)).argmax(1) == 1).all()
    evaluation = lp.evaluate(model, (x, y), attacks={"pgd": attack}, progress=False)
    assert evaluation.results["white_box"]["correct"] == 0


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("early_stop", [True, False])
def test_where_an_attack_fails_it_returns_an_image_of_the_ball_not_zeros(restarts: int, early_stop: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.arange(10.0))  # unbreakable where y is 9, broken from the start elsewhere
    x = 0.5 + 0.4 * torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    attack = PGD(lp.Linf(0.05), step_size=0.01, steps=2, restarts=restarts, early_stop=early_stop)
    x_adv = attack(model, x, torch.full((10,), 9), generator=torch.Generator().manual_seed(0))
    assert lp.Linf(0.05).contains(x_adv, x).all()
    assert x_adv.min() > 0.4


@pytest.mark.parametrize("target", [LeastLikely(), RandomTarget()])
def test_targets_are_never_the_true_class_and_true_labels_are_no_targets(target: lp.attacks.Target) -> None:
    logits = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    y = logits.argmin(1)  # the least likely class is the true one
    chosen = target.choose(logits, y, torch.Generator().manual_seed(0))
    assert (chosen != y).all()


def test_a_targeted_attack_does_not_drive_examples_towards_their_label(trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    for target in (LeastLikely(), RandomTarget()):
        attack = PGD(lp.Linf(0.3), step_size=0.05, steps=10, target=target).without_early_stop()
        x_adv = attack(trained, x, y, generator=torch.Generator().manual_seed(0))
        assert losses.cross_entropy(trained(x_adv), y).mean() > losses.cross_entropy(trained(x), y).mean()


def test_parameters_gradients_are_not_polluted(trained: nn.Module, sample: Pair) -> None:
    trained.zero_grad(set_to_none=True)
    PGD(lp.Linf(0.1), step_size=0.05, steps=3)(trained, *sample, generator=torch.Generator())
    lp.evaluate(trained, sample, attacks={"pgd": PGD(lp.Linf(0.1), step_size=0.05, steps=3)}, progress=False)
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_a_training_step_s_gradient_is_the_loss_s_own_not_the_attack_s(conv: nn.Module, sample: Pair) -> None:
    objective = lp.objectives.AdversarialTraining(PGD(lp.Linf(0.1), step_size=0.05, steps=3))
    result = objective(conv, *sample, generator=torch.Generator().manual_seed(0))
    result.total.backward()
    found = [parameter.grad.clone() for parameter in conv.parameters()]
    conv.zero_grad(set_to_none=True)
    x_adv = objective.attack.without_early_stop()(conv, *sample, generator=torch.Generator().manual_seed(0))
    logits = conv(torch.cat([sample[0], x_adv]))
    nn.functional.cross_entropy(logits, sample[1].repeat(2)).backward()
    for gradient, parameter in zip(found, conv.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_a_normalised_model_is_attacked_in_pixels(conv: nn.Module, sample: Pair) -> None:
    x, y = sample
    model = lp.models.Normalized(conv, mean=[0.3], std=[0.25])
    attack = PGD(lp.Linf(0.1), step_size=0.05, steps=5).without_early_stop()
    x_adv = attack(model, x, y, generator=torch.Generator().manual_seed(0))
    assert (x_adv - x).abs().amax() == pytest.approx(0.1, abs=1e-6)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    with pytest.raises(lp.InputError, match="normalise inside the model"):
        attack(model, (x - 0.3) / 0.25, y)


def test_a_normalised_model_computes_what_the_bare_one_does_on_normalised_images(conv: nn.Module, sample: Pair) -> None:
    model = lp.models.Normalized(conv, mean=[0.3], std=[0.25])
    torch.testing.assert_close(model(sample[0]), conv((sample[0] - 0.3) / 0.25))
    assert set(model.state_dict()) == {f"model.{key}" for key in conv.state_dict()}


def test_an_epoch_is_drawn_without_replacement() -> None:
    images = lp.data.MemoryImages(torch.zeros(100, 1, 1, 1).byte(), torch.arange(100))
    labels = torch.cat([y for _, y in epoch_batches(images, 7, seed=0, epoch=0)])
    assert sorted(labels.tolist()) == list(range(100))


def test_8_bit_images_are_rounded_not_truncated() -> None:
    """scikit-learn's digits go from 0 to 16: truncation would turn 15/16 into 239 rather than 239.06, and 3/16 into 47, not 48."""
    from sklearn.datasets import load_digits

    splits = [lp.data.Digits().train(), lp.data.Digits().validation(), lp.data.Digits().test()]
    found = sorted(torch.cat([split.images for split in splits]).unique().tolist())
    assert found == [round(level * 255 / 16) for level in np.unique(load_digits().images)]
    assert 48 in found


def test_accuracy_does_not_depend_on_the_batch_size_in_a_network_with_batch_norm(sample: Pair) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
        for _ in range(5):
            model(sample[0])  # running statistics
    x, y = sample[0][30:50].double(), model.eval()(sample[0][30:50]).argmax(1)
    model.double().train()  # as a user may leave it
    ball = lp.Linf(0.05)
    attacks = {"pgd": PGD(ball, step_size=0.02, steps=4), "apgd": APGD(ball, steps=4), "square": Square(ball, queries=8)}
    counts = []
    for batch_size in (1, 7, 20):
        results = lp.evaluate(model, (x, y), attacks=attacks, batch_size=batch_size, progress=False).results
        counts.append((results["clean"]["correct"], *(results["attacks"][name]["correct"] for name in attacks)))
    assert len(set(counts)) == 1
    assert all(0 < correct < 20 for correct in counts[0][1:])


def test_clean_and_adversarial_images_share_one_forward_with_batch_norm() -> None:
    calls = []
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)).train()
    model.register_forward_pre_hook(lambda module, arguments: calls.append(len(arguments[0])) if module.training else None)
    attack = PGD(lp.Linf(0.1), step_size=0.05, steps=3)
    for objective in (lp.objectives.AdversarialTraining(attack), lp.objectives.AdversarialLogitPairing(attack)):
        objective(model, torch.rand(6, 1, 8, 8), torch.arange(6), generator=torch.Generator())
    assert calls == [12, 12]


OVERRIDE = "--objective.init_args.attack.init_args.random_start"


@pytest.mark.parametrize("option", [OVERRIDE, "--objective.attack.random_start"])
@pytest.mark.parametrize(("text", "value"), [("false", False), ("true", True)])
def test_bool_settings_can_be_switched_off_and_on(option: str, text: str, value: bool) -> None:
    config = parsing.resolve(recipes.load("digits-mpgd").run, [option, text]).config
    assert config.objective.attack.random_start is value


def test_the_moving_average_is_what_evaluation_and_loading_use(tmp_path: Path) -> None:
    from logitpair.runs import run_directory as runs
    from logitpair.training.train import train

    overrides = ["--epochs", "0.3", "--ema", "0.9", "--model.width", "4", "--validation.examples", "50"]
    settings = parsing.resolve(recipes.load("digits-plain").run, overrides)
    run = tmp_path / "run"
    runs.prepare(run, "digits-plain", None, settings)
    returned = train(settings.config, run, device=torch.device("cpu"), quiet=True)
    parts = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    loaded = lp.load(run).state_dict()
    for name, weight in parts["model"].items():
        assert torch.equal(loaded[name], parts["ema"][f"module.{name}"])
        assert torch.equal(returned.state_dict()[name], loaded[name])
        assert not torch.equal(loaded[name], weight), "the average should lag behind the weights"
