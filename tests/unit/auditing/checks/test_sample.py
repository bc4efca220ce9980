"""What counts as broken in the images that the checks run on."""

from __future__ import annotations

import pytest
import torch
from audited import Masked
from torch import Tensor, nn

import logitpair as lp
from logitpair.auditing.checks.attack_checks import _black_box, _noise, _transfer
from logitpair.auditing.checks.sample import Sample


@pytest.fixture(params=[torch.nan, torch.inf, -torch.inf], ids=str)
def sample(request: pytest.FixtureRequest, digits: tuple[Tensor, Tensor]) -> Sample:
    """Images of a network that is right unperturbed, and whose logit of the true class is not finite on any other image."""
    x, y = digits[0][:20], digits[1][:20]

    def overflowing(network: nn.Module, images: Tensor) -> Tensor:
        changed = (255 * images - (255 * images).round()).abs().amax((1, 2, 3)) > 1e-2
        logits = nn.functional.one_hot(y[: len(images)], 10).float()
        return torch.where(changed[:, None] & (logits > 0), request.param, logits)

    return Sample(Masked(nn.Identity(), overflowing).eval(), x, y, 0)


def test_logits_that_are_not_finite_count_as_misclassified_in_every_check(sample: Sample) -> None:
    threat = lp.Linf(0.05)
    assert not sample.broken(sample.x).any()
    assert sample.broken((sample.x + 0.03).clamp(0, 1)).all()
    margins = sample.trajectory(lp.attacks.PGD(threat, step_size=0.03, steps=2))
    assert (margins[1:] == torch.inf).all()
    findings = (_noise(sample, sample, threat), _black_box(sample, sample, threat), _transfer(sample, sample, threat, "a", sample.model))
    assert [finding.measured["share"] for finding in findings] == [1.0, 1.0, 1.0]


def test_nothing_is_broken_of_no_images(sample: Sample) -> None:
    none = sample.only(torch.zeros_like(sample.y, dtype=torch.bool))
    assert none.broken(none.x).shape == (0,)
