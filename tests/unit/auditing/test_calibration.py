"""The audit against networks masked on purpose, whose robustness is known to be an illusion, and against honest ones."""

from __future__ import annotations

import pytest
import torch
from audited import EPS, MASKS, REFERENCE, THREAT, Masked, failed
from torch import Tensor, nn

import logitpair as lp

Pair = tuple[Tensor, Tensor]
EXAMPLES = 80


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:EXAMPLES].float() / 255, test.labels[:EXAMPLES]


def train(digits: Pair, objective: lp.objectives.Objective, steps: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lp.models.SmallConvNet(width=8)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        generator = torch.Generator().manual_seed(0)
        x, y = digits
        for _ in range(steps):
            rows = torch.randint(len(x), (64,), generator=generator)
            optimizer.zero_grad()
            objective(model, x[rows], y[rows], generator=generator).total.backward()
            optimizer.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


@pytest.fixture(scope="module")
def plain(digits: Pair) -> nn.Module:
    return train(digits, lp.objectives.StandardTraining(), 150)


@pytest.fixture(scope="module")
def robust(digits: Pair) -> nn.Module:
    return train(digits, lp.objectives.AdversarialTraining(attack=lp.attacks.PGD(THREAT, step_size=0.07, steps=5)), 400)


@pytest.fixture(scope="module")
def honest(plain: nn.Module, sample: Pair) -> lp.Audit:
    return lp.audit(plain, sample, threat=THREAT, reference_attack=REFERENCE, progress=False)


@pytest.mark.filterwarnings("ignore:model. returns probabilities")
@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_noticed_by_the_check_that_is_for_it(name: str, plain: nn.Module, sample: Pair, honest: lp.Audit) -> None:
    mask, checks = MASKS[name]
    torch.manual_seed(0)
    audit = lp.audit(Masked(plain, mask), sample, threat=THREAT, reference_attack=REFERENCE, budget=100, progress=False)
    assert checks <= failed(audit)
    if name not in ("argmax", "dead unit"):  # what leaves no gradient at all is searched blindly
        assert audit.robust_accuracy <= honest.robust_accuracy + 0.05
    assert audit.robust_accuracy < 0.6
    assert audit.verdict != "trustworthy" or audit.record.reference.top1 < 0.1


@pytest.mark.parametrize("network", ["plain", "robust"])
def test_honest_networks_raise_no_alarm(network: str, sample: Pair, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(network)
    audit = lp.audit(
        model, sample, threat=THREAT, reference_attack=REFERENCE, budget=2000, progress=False
    )  # on few images Square is expensive
    assert not failed(audit) - {"eight_bit"}
    assert audit.verdict == "trustworthy", audit.results["reason"]
    if network == "robust":
        assert 0.2 < audit.robust_accuracy < 1


def test_it_leaves_no_more_than_pgd_with_many_restarts(robust: nn.Module, sample: Pair) -> None:
    strong = lp.attacks.PGD(THREAT, step_size=0.02, steps=50, restarts=10, loss=lp.losses.margin)
    pgd = lp.evaluate(robust, sample, attacks={"pgd": strong}, progress=False).results["white_box"]
    audit = lp.audit(robust, sample, threat=THREAT, reference_attack=REFERENCE, progress=False)
    assert audit.results["robust_accuracy"]["correct"] <= pgd["correct"]
    assert audit.results["gradient_evaluations_per_example"] < pgd["top1"] * 500
    assert audit.results["rounds"][0]["gradients_per_example"] <= 12
    assert EPS == audit.results["threat"]["init_args"]["eps"]
