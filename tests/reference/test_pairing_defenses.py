"""The paper's clean defenses, its rivals and feature pairing: values by hand, restatements, finite differences, seeded draws."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, losses
from logitpair.objectives import (
    CleanLogitPairing,
    EnsembleAdversarialTraining,
    FeaturePairing,
    GaussianNoise,
    LogitSqueezing,
    Objective,
    OneStepAdversarialTraining,
)
from logitpair.runs import TrainedRun

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, 3.0], [0.5, 0.0, 1.0], [9.0, 9.0, 9.0]], dtype=torch.float64)
Y = torch.tensor([0, 2, 1, 1, 0])
ATTACK = lp.attacks.PGD(lp.Linf(0.1), step_size=0.04, steps=3)
STEP = lp.attacks.PGD(lp.Linf(0.05), step_size=0.05, steps=1)


class Fixed(nn.Module):
    """Gives the n-th of the given logits for the n-th image, whatever it shows."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)] + 0 * x.flatten(1).sum(1, keepdim=True)


def images(examples: int) -> Tensor:
    return torch.full((examples, 1, 2, 2), 0.5, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cross_entropy(examples: int) -> float:
    rows = LOGITS[:examples].tolist()
    return sum(math.log(sum(map(math.exp, row))) - row[y] for row, y in zip(rows, Y.tolist(), strict=False)) / examples


# first half (2, 0, 1), (0, 1, -1) against second half (0, 1, 3), (0.5, 0, 1): differences (2, -1, -2), (-0.5, 1, -2)
CLP_SUM = (9 + 5.25) / 2
CLP_NORM = (3 + math.sqrt(5.25)) / 2
# squared norms 5, 2, 10, 1.25
SQUARED = (5 + 2 + 10 + 1.25) / 4
NORM = (math.sqrt(5) + math.sqrt(2) + math.sqrt(10) + math.sqrt(1.25)) / 4


@pytest.mark.parametrize(
    ("objective", "penalty"),
    [
        (CleanLogitPairing(noise=0), 0.5 * CLP_SUM / 3),
        (CleanLogitPairing(noise=0, weight=2, pairing=losses.squared_l2_sum), 2 * CLP_SUM),
        (CleanLogitPairing(noise=0, weight=1, pairing=losses.l2), CLP_NORM),
        (CleanLogitPairing(noise=0, weight=0), 0),
        (LogitSqueezing(noise=0), 0.5 * SQUARED / 3),
        (LogitSqueezing(noise=0, weight=2, penalty=losses.squared_l2_sum), 2 * SQUARED),
        (LogitSqueezing(noise=0, weight=1, penalty=losses.l2), NORM),
        (GaussianNoise(noise=0), 0),
    ],
)
def test_totals_by_hand(objective: Objective, penalty: float) -> None:
    total = objective(Fixed(LOGITS), images(4), Y[:4], generator=seeded()).total
    assert total.item() == pytest.approx(cross_entropy(4) + penalty, rel=1e-12)


def test_the_last_image_of_an_odd_batch_has_no_partner() -> None:
    result = CleanLogitPairing(noise=0)(Fixed(LOGITS), images(5), Y, generator=seeded())
    assert result.terms["pairing"].item() == pytest.approx(CLP_SUM / 3)
    assert result.terms["noisy_loss"].item() == pytest.approx(cross_entropy(5)), "the cross-entropy counts it"
    alone = CleanLogitPairing(noise=0)(Fixed(LOGITS), images(1), Y[:1], generator=seeded())
    assert alone.terms["pairing"].item() == 0


@pytest.mark.parametrize(
    "objective",
    [
        CleanLogitPairing(weight=0.7),
        CleanLogitPairing(weight=0.7, pairing=losses.l2, clip=False),
        LogitSqueezing(weight=0.3),
        LogitSqueezing(weight=0.3, penalty=losses.l2, clip=False),
        GaussianNoise(),
        OneStepAdversarialTraining(lp.Linf(0.05)),
        EnsembleAdversarialTraining(STEP, sources=(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),)),
        FeaturePairing(STEP, layers=("1",), weight=0.8, logit_weight=0.4),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_gradients_by_finite_differences(objective: Objective) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Softplus(), nn.Linear(5, 3)).double()
    x = 0.3 + 0.4 * torch.rand(6, 1, 4, 4, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    objective(model, x, y, generator=seeded()).total.backward()
    for parameter, row, column in [(model[3].weight, 0, 0), (model[3].weight, 2, 4), (model[1].weight, 1, 3), (model[1].weight, 4, 9)]:
        totals = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter[row, column] += step
            totals.append(objective(model, x, y, generator=seeded()).total.item())
            with torch.no_grad():
                parameter[row, column] -= step
        assert parameter.grad[row, column].item() == pytest.approx((totals[0] - totals[1]) / 2e-6, rel=1e-5, abs=1e-8)


class Watching(nn.Module):
    """Keeps the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize("objective", [GaussianNoise(), CleanLogitPairing(), LogitSqueezing()], ids=lambda o: type(o).__name__)
def test_noise_has_the_deviation_it_says_and_is_clipped_or_not(objective: Objective) -> None:
    x = torch.full((200, 1, 20, 20), 0.5)
    y = torch.zeros(200, dtype=torch.int64)
    clipped, unclipped = Watching(), Watching()
    replace(objective, noise=0.5)(clipped, x, y, generator=seeded())
    replace(objective, noise=0.5, clip=False)(unclipped, x, y, generator=seeded())
    noise = unclipped.seen[0] - x
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.5, abs=0.01)
    assert (noise.abs() < 0.5).float().mean().item() == pytest.approx(0.6827, abs=0.01), "it is normal, not only as wide"
    assert unclipped.seen[0].max() > 1.5
    assert torch.equal(clipped.seen[0], unclipped.seen[0].clamp(0, 1))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("objective", [CleanLogitPairing(pairing=F.mse_loss), LogitSqueezing(penalty=F.mse_loss)])
def test_a_penalty_that_averages_by_itself_is_refused(objective: Objective, conv: nn.Module) -> None:
    with pytest.raises(InputError, match="one number an image"):
        objective(conv, torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]))


@pytest.mark.usefixtures("no_shape_checks")
def test_sources_are_looked_at_before_training(conv: nn.Module) -> None:
    x = torch.rand(2, 1, 8, 8)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 20))
    with pytest.raises(InputError, match=r"objective\.sources\[1\] gives 20 logits, the model 10"):
        EnsembleAdversarialTraining(ATTACK, sources=(conv, other)).prepare(conv, x)
    with pytest.raises(InputError, match=r"objective\.sources\[0\]: .*no folder 'nowhere'"):
        EnsembleAdversarialTraining(ATTACK, sources=(TrainedRun(Path("nowhere")),)).prepare(conv, x)
    with pytest.raises(InputError, match="sources must be a list"):
        EnsembleAdversarialTraining(ATTACK, sources=nn.Sequential(conv))


def test_one_step_training_by_a_restatement(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:9], digits[1][:9]
    objective = OneStepAdversarialTraining(lp.Linf(0.2), weight=0.3, vary_eps=False)
    result = objective(trained, x, y, generator=seeded())
    x_half = x[:4].clone().requires_grad_()  # round(4.5) is 4
    clean = trained(x_half)
    least = clean.detach().scatter(1, y[:4, None], torch.inf).argmin(1)
    (gradient,) = torch.autograd.grad(F.cross_entropy(clean, least), x_half)
    x_adv = (x[:4] - 0.2 * gradient.sign()).clamp(0, 1)
    total = F.cross_entropy(trained(x[4:]), y[4:], reduction="sum") + 0.3 * F.cross_entropy(trained(x_adv), y[:4], reduction="sum")
    torch.testing.assert_close(result.total, total / (5 + 0.3 * 4))


def test_step_lengths_follow_the_truncated_normal_distribution(trained: nn.Module) -> None:
    x = torch.full((4000, 1, 8, 8), 0.5)
    objective = OneStepAdversarialTraining(lp.Linf(0.2))
    x_adv = objective.search(trained, x, torch.zeros(4000, dtype=torch.int64), seeded())
    length = (x_adv - x).abs().flatten(1).amax(1) / 0.2
    assert length.min() >= 0
    assert length.max() <= 1 + 1e-6
    normal = torch.distributions.Normal(0, 0.5)
    for bound in (0.25, 0.5, 0.75):
        expected = (normal.cdf(torch.tensor(bound)) - 0.5) / (normal.cdf(torch.tensor(1.0)) - 0.5)
        assert (length < bound).float().mean().item() == pytest.approx(expected.item(), abs=0.03)


def test_steps_of_varied_length_stop_at_the_walls_like_steps_of_that_eps(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:50], digits[1][:50]  # digits have many black pixels, next to the wall
    objective = OneStepAdversarialTraining(lp.Linf(0.3))
    x_adv = objective.search(trained, x, y, seeded())
    for image, image_adv, label in zip(x.split(1), x_adv.split(1), y.split(1), strict=True):
        eps = (image_adv - image).abs().max().item()
        step = replace(objective, threat=lp.Linf(eps), vary_eps=False).attack
        torch.testing.assert_close(image_adv, step(trained, image, label), atol=1e-6, rtol=0)


def test_ensemble_draws_its_source_models_evenly_and_by_the_seed(conv: nn.Module) -> None:
    torch.manual_seed(1)
    sources = (lp.models.SmallConvNet(width=2).eval(), lp.models.SmallConvNet(width=3).eval())
    objective = EnsembleAdversarialTraining(ATTACK, sources=sources)
    x, y = torch.rand(2, 1, 8, 8, generator=seeded(1)), torch.tensor([0, 1])
    counts = [0, 0, 0]
    ran: list[int] = []
    for number, net in enumerate((conv, *sources)):
        net.register_forward_hook(lambda *_, number=number: ran.append(number))
    for seed in range(90):
        ran.clear()
        objective(conv, x, y, generator=seeded(seed))
        counts[ran[0]] += 1
        assert set(ran[:-1]) == {ran[0]}, "one batch, one source model"
        assert ran[-1] == 0, "the network in training learns from it"
    assert min(counts) > 15, counts


def test_ensemble_examples_are_made_against_the_source_and_leave_it_alone(conv: nn.Module) -> None:
    torch.manual_seed(1)
    source = lp.models.SmallConvNet(width=3).eval()
    objective = EnsembleAdversarialTraining(ATTACK, sources=(source,), clean_weight=0.3)
    x, y = torch.rand(4, 1, 8, 8, generator=seeded(1)), torch.tensor([0, 1, 2, 3])
    expected = []
    for source_model in (conv, source):
        for seed in range(8):
            generator = seeded(seed)
            torch.rand((), dtype=torch.float64, generator=generator)  # the draw of the source model, one for the whole batch
            x_adv = ATTACK.without_early_stop()(source_model, x, y, generator=generator)
            expected.append((0.3 * F.cross_entropy(conv(x), y) + 0.7 * F.cross_entropy(conv(x_adv), y)).item())
    totals = []
    for seed in range(8):
        result = objective(conv, x, y, generator=seeded(seed))
        result.total.backward()
        totals.append(result.total.item())
    from_source = [torch.rand((), dtype=torch.float64, generator=seeded(seed)).item() >= 0.5 for seed in range(8)]
    assert len(set(from_source)) == 2
    assert totals == pytest.approx([expected[seed + 8 * chosen] for seed, chosen in enumerate(from_source)], rel=1e-5)
    assert all(parameter.grad is None for parameter in source.parameters())
