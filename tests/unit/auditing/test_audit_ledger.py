"""Which examples are nearest to being broken, and what is recorded of a round."""

from __future__ import annotations

import numpy as np
import pytest

from logitpair import InputError
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.storage.ledger import MISCLASSIFIED, POSITION, STILL_CORRECT, Columns


def survey(*margins: float, certified: list[bool] | None = None) -> AuditLedger:
    """A ledger of so many examples, all classified right by these margins."""
    zeros = np.zeros(len(margins), int)
    chunk = {POSITION: np.arange(len(margins)), "y": zeros, "prediction": zeros, "margin": np.array(margins), "finite": zeros == 0}
    return AuditLedger([chunk | {"gallery/x": np.zeros((len(margins), 1, 2, 2))}], None if certified is None else np.array(certified))


def searched(position: int, *, broken: bool, margin: float) -> Columns:
    """The chunk of a search on one example."""
    columns = {name: np.ones(1) for name in ("gradients", "forwards", "prediction", "finite", "distance", "restart", "step")}
    columns |= {name: np.array([broken]) for name in ("broken", "broken_8_bit")}
    return columns | {POSITION: np.array([position]), "margin": np.array([margin]), "gallery/x_adv": np.ones((1, 1, 2, 2))}


def test_what_was_attacked_in_vain_counts_as_further() -> None:
    ledger = survey(-1.0, -1.5, -3.5, -2.5)
    assert ledger.nearest("one", 2).tolist() == [0, 1]
    in_vain = searched(0, broken=False, margin=-1.0)
    ledger.add(0, "one", np.array([0]), [in_vain])
    assert ledger.nearest("one", 1).tolist() == [1]
    assert ledger.nearest("one", 2).tolist() == [0, 1]
    assert ledger.nearest("another", 1).tolist() == [0]
    ledger.add(1, "one", np.array([0]), [in_vain])
    assert ledger.nearest("one", 2).tolist() == [1, 3]  # 1.5, 2.5, three times 1, 3.5


def test_logits_may_be_as_small_as_they_like() -> None:
    assert survey(-3e-9, -1e-9, -2e-9).nearest("one", 1).tolist() == [1]


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_an_image_without_a_margin_hides_nothing_of_the_others(lost: float) -> None:
    ledger = survey(-3.0, lost, -1.0, -2.0)
    ledger.columns["broken_in_round"][1] = MISCLASSIFIED
    assert ledger.nearest("one", 2).tolist() == [2, 3]


def test_only_what_was_still_correct_is_recorded_as_broken() -> None:
    ledger = survey(-1.0, -2.0, -3.0)
    ledger.add(0, "one", np.array([0, 2]), [searched(2, broken=True, margin=0.5), searched(0, broken=False, margin=-0.5)])
    ledger.add_broken(1, [searched(2, broken=True, margin=9.0), searched(1, broken=True, margin=9.0)])
    columns = ledger.columns
    assert columns["broken_in_round"].tolist() == [STILL_CORRECT, 1, 0]
    assert columns["prediction"].tolist() == [0, 1, 1]
    assert columns["gallery/x_adv"][:, 0, 0, 0].tolist() == [0, 1, 1]
    assert columns["gradients"].tolist() == [1, 0, 1]
    assert columns["margin"].tolist() == [-0.5, -2.0, 0.5]
    assert ledger.still_correct.tolist() == [True, False, False]


def test_what_is_wrong_without_any_attack_is_never_attacked() -> None:
    chunk = {POSITION: np.arange(2), "y": np.zeros(2, int), "prediction": np.array([1, 0]), "margin": np.array([1.0, -1.0])}
    ledger = AuditLedger([chunk | {"finite": np.array([True, True]), "gallery/x": np.zeros((2, 1, 2, 2))}])
    assert ledger.columns["broken_in_round"].tolist() == [MISCLASSIFIED, STILL_CORRECT]
    assert ledger.nearest("one", 2).tolist() == [1]


def test_ranks_are_those_of_what_is_still_correct_by_the_nearest_that_a_search_came() -> None:
    ledger = survey(-1.0, 0.5, -3.0, -2.0)
    assert (ledger.columns["restart"].tolist(), ledger.columns["step"].tolist()) == ([-1] * 4, [-1] * 4)
    assert ledger.still_correct.all()  # as in the chunk, whatever the margin
    assert ledger.ranks(np.arange(4)).tolist() == [0.375, 0.125, 0.875, 0.625]
    ledger.add(0, "one", np.array([1]), [searched(1, broken=True, margin=1.0)])
    ledger.add(1, "one", np.array([2]), [searched(2, broken=False, margin=-0.5)])
    assert ledger.ranks(np.array([0, 2, 3])).tolist() == [0.5, 1 / 6, 5 / 6]


def test_what_is_certified_is_never_searched() -> None:
    ledger = survey(-1.0, -2.0, -3.0, -4.0, certified=[True, False, False, True])
    assert ledger.searchable.tolist() == [False, True, True, False]
    assert ledger.nearest("one", 4).tolist() == [1, 2]
    assert ledger.ranks(np.array([1, 2])).tolist() == [0.25, 0.75]
    ledger.add(0, "one", np.array([1]), [searched(1, broken=True, margin=1.0)])
    assert ledger.searchable.tolist() == [False, False, True, False]
    assert ledger.still_correct.tolist() == [True, False, True, True]
    assert not survey(-1.0).certified.any()


def test_a_certified_image_that_is_broken_is_an_error() -> None:
    ledger = survey(-1.0, -2.0, certified=[False, True])
    ledger.add_broken(0, [searched(1, broken=False, margin=-1.0), searched(0, broken=True, margin=1.0)])
    with pytest.raises(InputError, match="certificate: image 1 is certified and was broken; the certificate is wrong"):
        ledger.add_broken(1, [searched(1, broken=True, margin=1.0)])
    assert ledger.columns["broken_in_round"].tolist() == [0, STILL_CORRECT]
