"""Feature pairing: what its layers return, and layers that cannot be paired."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.objectives import AdversarialLogitPairing, AdversarialTraining, FeaturePairing

ATTACK = lp.attacks.PGD(lp.Linf(0.1), step_size=0.04, steps=3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_feature_pairing_pairs_what_the_layers_return(conv: nn.Module) -> None:
    x = torch.rand(4, 1, 8, 8, generator=seeded(1))
    y = torch.tensor([0, 1, 2, 3])
    layers = [name for name, module in conv.named_modules() if isinstance(module, nn.Conv2d)][:2]
    result = FeaturePairing(ATTACK, layers=tuple(layers), weight=0.5)(conv, x, y, generator=seeded())
    x_adv = ATTACK.without_early_stop()(conv, x, y, generator=seeded())
    modules, features = dict(conv.named_modules()), {}
    for name in layers:
        for which, batch in (("clean", x), ("adversarial", x_adv)):
            modules[name].register_forward_hook(lambda _m, _i, out, key=(name, which): features.__setitem__(key, out))
            conv(batch)
            modules[name]._forward_hooks.clear()
    penalties = [(features[name, "clean"] - features[name, "adversarial"]).square().mean() for name in layers]
    m_pgd = AdversarialTraining(ATTACK)(conv, x, y, generator=seeded()).total
    torch.testing.assert_close(result.total, m_pgd + 0.5 * (penalties[0] + penalties[1]) / 2)
    assert not any(module._forward_hooks for module in conv.modules()), "hooks were left on the model"


def test_feature_pairing_of_logits_alone_is_adversarial_logit_pairing(conv: nn.Module) -> None:
    x, y = torch.rand(4, 1, 8, 8, generator=seeded(1)), torch.tensor([0, 1, 2, 3])
    alp = AdversarialLogitPairing(ATTACK, weight=0.7)(conv, x, y, generator=seeded()).total
    for same in (FeaturePairing(ATTACK, layers=("",), weight=0.7), FeaturePairing(ATTACK, layers=("",), weight=0, logit_weight=0.7)):
        torch.testing.assert_close(same(conv, x, y, generator=seeded()).total, alp)


class Branching(nn.Module):
    """Has a module that returns two tensors, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.LSTM(64, 3, batch_first=True)
        self.idle = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(x.flatten(1))[0]


class Twice(nn.Module):
    """A module in place after another, and one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.overwrite, self.again = nn.Linear(64, 5), nn.ReLU(inplace=True), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.again(self.overwrite(self.first(x.flatten(1)))))


def test_what_a_module_returns_is_paired_before_the_next_one_overwrites_it() -> None:
    torch.manual_seed(0)
    model, x, y = Twice(), torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    terms = FeaturePairing(ATTACK, layers=("first",))(model, x, y, generator=seeded()).terms
    x_adv = ATTACK.without_early_stop()(model, x, y, generator=seeded())
    expected = (model.first(x.flatten(1)) - model.first(x_adv.flatten(1))).square().mean()
    torch.testing.assert_close(terms["pairing_first"], expected)


def test_a_module_that_runs_twice_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="'again' runs more than once"):
        FeaturePairing(ATTACK, layers=("again",)).prepare(Twice(), torch.rand(2, 1, 8, 8))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("layers", [(), "hidden", ("a", "a")])
def test_layers_must_be_a_list_of_different_names(layers: object) -> None:
    with pytest.raises(InputError, match="layers must be a list"):
        FeaturePairing(ATTACK, layers=layers)


@pytest.mark.parametrize(
    ("layer", "said"), [("pair", "returns tuple"), ("idle", "does not run"), ("conv9", "no module 'conv9'; it has pair")]
)
def test_layers_that_cannot_be_paired_are_refused(layer: str, said: str) -> None:
    with pytest.raises(InputError, match=f"layers: .*{said}"):
        FeaturePairing(ATTACK, layers=(layer,))(Branching(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), generator=seeded())
