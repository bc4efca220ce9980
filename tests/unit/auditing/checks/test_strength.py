"""The test of the search with planted images: honest networks pass, hidden gradients fail, and it says where it cannot be made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from audited import MASKS, THREAT, Masked
from masks import unseen
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import Unperturbed
from logitpair.auditing.checks import strength as module
from logitpair.auditing.checks.sample import Sample
from logitpair.auditing.checks.strength import features, last_layer, plant, separate, strength
from logitpair.auditing.strategies import SearchStrategy, strategies_for
from logitpair.storage.results import Finding

SEARCHES = strategies_for(THREAT, 10, {})[:2]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 16)


def sample_of(model: nn.Module, digits: tuple[Tensor, Tensor], images: int = 32) -> Sample:
    return Sample(model, digits[0][:images], digits[1][:images], seed=0)


def finding_of(model: nn.Module, digits: tuple[Tensor, Tensor]) -> Finding:
    """The finding on images that the network without its mask gets right."""
    with torch.no_grad():
        right = getattr(model, "network", model)(digits[0][:100]).argmax(1) == digits[1][:100]
    return strength(sample_of(model, (digits[0][:100][right], digits[1][:100][right])), SEARCHES, THREAT)


class Pooled(nn.Module):
    """Its last layer is a 1x1 convolution, whose map is then averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.logits = nn.Conv2d(1, 64, 3), nn.Conv2d(64, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.conv(x).relu()).mean((2, 3))


def test_an_honest_network_hides_no_planted_image(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    finding = finding_of(trained, digits)
    assert finding.check == "strength"
    assert finding.passed
    assert finding.measured["found"] == 1
    planted = finding.measured["planted"]
    assert planted is not None
    assert planted >= 16
    assert f"100.0% of the adversarial images planted around {planted:.0f} of 32 images" in finding.evidence


def test_the_last_layer_may_be_a_convolution_of_one_pixel(digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    finding = strength(sample_of(Pooled(), digits), SEARCHES, THREAT)
    assert finding.measured["found"] == 1, finding.evidence


def test_two_classes_are_enough(digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    sample = sample_of(lp.models.SmallConvNet(classes=2, width=4), (digits[0], digits[1] % 2))
    assert strength(sample, strategies_for(THREAT, 2, {}), THREAT).measured["found"] == 1


@pytest.mark.parametrize("name", ["dead unit", "argmax"])
def test_hidden_gradients_behind_the_last_layer_hide_the_planted_images_too(
    name: str, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    finding = finding_of(Masked(trained, MASKS[name][0]), digits)
    assert not finding.passed
    found = finding.measured["found"]
    assert found is not None
    assert found < 0.5, found  # by chance


def test_hidden_gradients_before_the_features_hide_the_planted_images(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    finding = finding_of(Masked(trained, unseen(bits=4)), digits)
    assert not finding.passed, finding.evidence


@pytest.mark.parametrize("name", ["logits x 1000", "logits / 1000", "8-bit input"])
def test_masks_that_the_search_sees_through_hide_nothing(name: str, trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    assert finding_of(Masked(trained, MASKS[name][0]), digits).measured["found"] == 1


def test_a_search_that_does_nothing_fails(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    nothing = SearchStrategy("nothing", lambda repetition: Unperturbed(THREAT), cost=1)
    finding = strength(sample_of(trained, digits), [nothing], THREAT)
    assert (finding.passed, finding.measured["found"]) == (False, 0)


def test_each_search_has_a_second_try(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    late = replace(SEARCHES[0], attack=lambda repetition: SEARCHES[0].attack(0) if repetition else Unperturbed(THREAT))
    assert strength(sample_of(trained, digits), [late], THREAT).measured["found"] == 1


def test_the_answer_changes_half_way_between_noise_and_the_planted_image() -> None:
    around = torch.randn(3, 9, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    planted = around[:, 0] + 5
    weight, bias = separate(around, planted)
    noise = ((around @ weight[:, :, None]).squeeze(2) + bias[:, None]).amax(1)
    torch.testing.assert_close((planted * weight).sum(1) + bias, -noise)


def test_searches_that_are_dear_or_on_another_network_are_not_tested(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    dear = [replace(search, cost=module.COST + 1) for search in SEARCHES]
    others = [replace(search, source=trained) for search in SEARCHES]
    assert strength(sample_of(trained, digits), [*dear, *others], THREAT).measured["found"] == 0


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda trained: Masked(trained, MASKS["random noise"][0]), "differ from call to call"),
        (lambda trained: Masked(trained, lambda network, x: (1e6 * network(x)).half().float()), "around 0 of 32 images"),
        (lambda trained: Masked(trained, lambda network, x: network(0 * x)), "around 0 of 32 images"),
        (lambda trained: nn.Sequential(nn.Flatten(), nn.Softmax(1)), "no layer"),
        (lambda trained: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))), "no layer"),
        (lambda trained: nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), "convolution"),
        (lambda trained: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Softmax(1)), "not a number for each class"),
        (lambda trained: Masked(trained, lambda network, x: network(x.repeat(2, 1, 1, 1))[: len(x)]), "run on 4 rows where there are 2"),
    ],
)
def test_where_nothing_can_be_planted_the_finding_says_why(
    network: object, why: str, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    finding = strength(sample_of(network(trained), digits), SEARCHES, THREAT)  # type: ignore[operator]
    assert finding.passed
    assert finding.measured == {"planted": 0, "found": None}
    assert finding.evidence.startswith("not applied, as ")
    assert why in finding.evidence


def test_a_network_that_runs_its_last_layer_on_other_rows_is_not_tested(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    def in_halves_from_three_on(network: nn.Module, x: Tensor) -> Tensor:
        return network(x) if len(x) < 3 else torch.cat([network(half) for half in x.chunk(2)])

    finding = strength(sample_of(Masked(trained, in_halves_from_three_on), digits), SEARCHES, THREAT)
    assert finding.measured["found"] is None
    assert "not applied, as its last layer is run on 16 rows where there are 32 images" in finding.evidence


@torch.no_grad()
def test_planted_images_are_there_and_noise_does_not_find_them(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    sample = sample_of(trained, digits)
    planted = plant(sample, THREAT)
    x, y = sample.x[planted.rows], sample.y[planted.rows]
    assert torch.equal(planted.y, y)
    assert torch.equal(planted(x).argmax(1), y)
    generator = torch.Generator().manual_seed(1)
    noise = torch.stack([planted(THREAT.random_start(x, generator)).argmax(1) == y for _ in range(20)])
    assert noise.float().mean() > 0.99
    pgd = lp.attacks.PGD(THREAT, step_size=0.05, steps=10, early_stop=False, loss=lp.losses.misclassification_margin)
    assert (planted(pgd(planted, x, y, generator=generator)).argmax(1) != y).all()


@torch.no_grad()
def test_each_row_keeps_its_own_layer(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    sample = sample_of(trained, digits)
    planted = plant(sample, THREAT)
    chosen = torch.arange(len(planted.rows)) % 3 == 0
    x = sample.x[planted.rows]
    torch.testing.assert_close(planted.only(chosen)(x[chosen]), planted(x)[chosen])


@torch.no_grad()
def test_the_network_is_left_as_it_was(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    before = trained(digits[0][:8])
    strength(sample_of(trained, digits), SEARCHES, THREAT)
    with pytest.raises(RuntimeError):
        plant(sample_of(trained, digits), THREAT)(torch.zeros(1, 1, 4, 4))
    assert torch.equal(trained(digits[0][:8]), before)
    assert not any(layer._forward_hooks for layer in trained.modules())


def test_the_layer_is_negative_at_the_noise_and_positive_beyond_it() -> None:
    seeded = torch.Generator().manual_seed(0)
    around, planted = torch.randn(5, 9, 20, generator=seeded).double(), 2 * torch.randn(5, 20, generator=seeded).double()
    weight, bias = separate(around, planted)
    lead = torch.einsum("bdf,bf->bd", around, weight) + bias[:, None]
    torch.testing.assert_close(lead[:, 0], -torch.ones(5).double())
    assert (lead < 0).all()
    assert ((planted * weight).sum(1) + bias > 0).all()


def test_the_layer_of_one_feature_is_the_line_that_it_must_be() -> None:
    weight, bias = separate(torch.tensor([[[0.0], [1.0], [-1.0]]]).double(), torch.tensor([[2.0]]).double())
    boundary = 1 + module.NEAR  # of the way from the outermost draw, 1, to the planted one, 2
    torch.testing.assert_close(weight, torch.tensor([[1 / boundary]]).double())
    torch.testing.assert_close(bias, torch.tensor([-1.0]).double())


@torch.no_grad()
def test_features_are_what_the_last_layer_sees(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:4], digits[1][:4]
    layer = last_layer(trained, x, y)
    assert layer is trained.logits
    seen, outputs = features(trained, layer, x)
    torch.testing.assert_close(outputs.float(), trained(x))
    torch.testing.assert_close(F.linear(seen.float(), trained.logits.weight, trained.logits.bias), trained(x))
