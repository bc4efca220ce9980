"""The number that an audit of a task judges."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.runs.audit_task import reference_of, threat_of
from logitpair.runs.evaluation_task import EvaluationTask

LINF, L2 = lp.attacks.PGD(lp.Linf(0.2), step_size=0.02, steps=7), lp.attacks.PGD(lp.L2(0.5), step_size=0.1, steps=7)
TARGETED = lp.attacks.PGD(lp.Linf(0.2), step_size=0.02, steps=7, target=lp.attacks.LeastLikely())
APGD = lp.attacks.APGD(lp.Linf(0.2))


def task(*attacks: lp.attacks.Attack) -> EvaluationTask:
    data = torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
    return EvaluationTask(model=nn.Identity(), test=data, attacks={str(number): attack for number, attack in enumerate(attacks)})


@pytest.mark.parametrize(
    ("attacks", "eps", "norm", "judged"),
    [
        ((LINF, L2), None, None, LINF),
        ((LINF,), 0.1, None, LINF.scaled(0.5)),
        ((L2,), None, lp.L2, L2),
        ((L2,), 1.5, None, L2.scaled(3)),
        ((L2,), 1.5, lp.L2, L2.scaled(3)),
        ((LINF,), 1.5, lp.L2, lp.reference_attack(lp.L2(1.5))),
        ((L2,), 0.1, lp.Linf, lp.reference_attack(lp.Linf(0.1))),
        ((), 0.1, None, lp.reference_attack(lp.Linf(0.1))),
        ((), 1.5, lp.L2, lp.reference_attack(lp.L2(1.5))),
        ((APGD,), 1.5, lp.L2, lp.reference_attack(lp.L2(1.5))),
    ],
)
def test_it_is_the_first_attack_in_its_own_norm_and_the_usual_one_in_another(
    attacks: tuple, eps: float | None, norm: type[lp.Threat] | None, judged: lp.attacks.PGD
) -> None:
    assert reference_of(task(*attacks), eps, norm) == judged


def test_the_radius_is_the_one_that_is_asked_for_to_the_last_bit_so_that_a_certificate_of_it_holds() -> None:
    pgd, eps = lp.attacks.PGD(lp.Linf(0.3), step_size=0.02, steps=7), 7 / 255
    assert pgd.scaled(eps / 0.3).threat.eps > eps, "a product is rounded"
    reference = reference_of(task(pgd), eps)
    assert reference.threat == threat_of(task(pgd), eps) == lp.Linf(eps)
    assert reference.step_size == pgd.scaled(eps / 0.3).step_size


@pytest.mark.parametrize(
    ("attacks", "eps", "norm", "said"),
    [
        ((LINF,), None, lp.L2, r"^--norm: needs --eps, as the radius of Linf\(eps=0.2\) says nothing in another norm"),
        ((LINF,), 8, None, "^--eps must be at most 1, a pixel's whole range, not 8; for one in 1/255 write 8/255"),
        ((), 8, None, "^--eps must be at most 1"),
        ((APGD,), None, None, "^--attacks: the first one must be an untargeted PGD"),
    ],
)
def test_what_cannot_be_meant_is_refused(attacks: tuple, eps: float | None, norm: type[lp.Threat] | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        reference_of(task(*attacks), eps, norm)


@pytest.mark.parametrize(
    ("attacks", "eps", "norm", "ball"),
    [
        ((TARGETED,), None, None, lp.Linf(0.2)),
        ((TARGETED,), 0.1, None, lp.Linf(0.1)),
        ((APGD,), None, lp.Linf, lp.Linf(0.2)),
        ((L2,), 1.5, None, lp.L2(1.5)),
        ((L2,), 0.1, lp.Linf, lp.Linf(0.1)),
        ((), 0.1, None, lp.Linf(0.1)),
    ],
)
def test_a_certificate_is_of_the_first_attack_s_ball_whatever_it_aims_at(
    attacks: tuple, eps: float | None, norm: type[lp.Threat] | None, ball: lp.Threat
) -> None:
    assert threat_of(task(*attacks), eps, norm) == ball


@pytest.mark.parametrize(("attacks", "norm"), [((), None), ((LINF,), lp.L2)])
def test_a_certificate_needs_a_radius(attacks: tuple, norm: type[lp.Threat] | None) -> None:
    with pytest.raises(InputError, match="^--eps is not given"):
        threat_of(task(*attacks), None, norm)
