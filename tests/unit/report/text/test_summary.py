"""What the head of a page says of evaluations and audits."""

from __future__ import annotations

from typing import Any

import pytest
from handmade_audits import audit
from handmade_results import of_images
from handmade_runs import CLASSES, accuracy, attack, curve, evaluation, in_turn, suite

from logitpair.report.records import Run
from logitpair.report.text.summary import Summary, lead, summarize
from logitpair.storage.results import AttackAccuracy, AuditResults, DataSet, EvaluationResults


def head(**runs: Any) -> Summary:
    """Of runs by name, each with an evaluation or an audit or nothing."""
    return summarize(
        [
            Run(
                name=name,
                path=name,
                evaluations=(results,) if isinstance(results, EvaluationResults) else (),
                audit=results if isinstance(results, AuditResults) else None,
            )
            for name, results in runs.items()
        ]
    )


def test_the_headline_ranks_only_a_lead_beyond_chance() -> None:
    weak, near, strong = evaluation(20), evaluation(130), evaluation(137)
    assert head(weak=weak, strong=strong).headline == "strong is most robust to the attack: 68.5%, 58.5 points ahead of weak"
    level = head(weak=weak, near=near, strong=strong, fresh=None)
    assert level.headline == "strong and near are about equally robust to the attack"
    assert "weak keeps 10.0%" in level.paragraph
    assert "Not evaluated yet: fresh." in level.paragraph
    assert "upper bound" in level.caution
    assert not level.doubts
    assert head(strong=strong).headline == "strong keeps 68.5% of its answers right under attack"
    assert head(fresh=None).headline == "fresh: not evaluated yet"


def test_runs_under_other_conditions_are_not_ranked() -> None:
    summary = head(here=evaluation(), there=evaluation(data=DataSet(name="cars", split="test", class_names=CLASSES)))
    assert "different conditions" in summary.headline
    assert "differ in data" in summary.paragraph


def test_the_worst_case_alone_is_what_all_attacks_leave_and_ranks_no_other() -> None:
    only = head(only=in_turn())
    assert only.headline == "only keeps 45.0% of its answers right under attack"
    assert "the attacks used here (pgd and step)" in only.caution
    assert "differ in whether attacks were run in turn" in head(only=in_turn(), whole=suite(attacks=two())).paragraph
    assert "only keeps 45.0% under all its attacks" in head(only=in_turn(), audited=audit(110)).paragraph


def two() -> dict[str, AttackAccuracy]:
    return {"pgd": attack(110), "step": attack(150)}


def test_the_norm_is_said_where_it_is_not_of_single_pixels() -> None:
    l2 = {"threat": {"class_path": "logitpair.threat.L2", "init_args": {"eps": 8 / 255}}}
    round_attack = attack(137, parameters={"class_path": "logitpair.attacks.PGD", "init_args": l2})
    round_run, square_run = evaluation(attacks={"pgd": round_attack}, curve=curve(eps0=193, eps0_5=150)), evaluation()
    assert "when an image may be changed by up to 0.0314 in L2 (95%" in head(run=round_run).paragraph
    assert "when each pixel may be changed by up to 0.2 (95%" in head(run=square_run).paragraph
    assert "differ in eps, attacks" in (both := head(one=round_run, two=square_run).paragraph).replace(" and ", ", ")
    assert "under attack at eps = 0.0314 in L2 and" in both
    assert not head(run=round_run).doubts, "0.5 in L2 turns no image grey"
    assert "correctly when an image may be changed by up to 0.0314 in L2, whatever" in head(run=audit(110, **l2)).paragraph


def test_signs_of_a_weak_attack_are_given() -> None:
    masked, grey = head(run=evaluation(180, curve=curve(eps0=193, eps0_5=150))).doubts
    assert "images made against other fool it more often" in masked
    assert "plain grey" in grey


def test_the_headline_of_one_run_is_the_audit_s_number() -> None:
    trusted = head(a=audit(110, "trustworthy"))
    assert trusted.headline == "a keeps 55.0% of its answers right under audit"
    assert "61.0% under the reference attack alone" in trusted.paragraph
    inconclusive = head(a=audit(110, "inconclusive"))
    assert inconclusive.headline == "a keeps at most 55.0% of its answers right under audit; the audit is inconclusive"
    assert "Verdict: inconclusive" in inconclusive.paragraph


def test_the_headline_of_several_audits() -> None:
    fair, less, close = audit(110, "trustworthy"), audit(20, "trustworthy"), audit(108, "inconclusive")
    assert head(a=less, b=fair).headline == "b is most robust under audit: 55.0%, 45.0 points ahead of a"
    assert head(a=fair, b=close).headline == "a and b are about equally robust under audit; inconclusive: b"
    assert head(a=fair, b=audit()).headline == "b looks 61.0% robust and is not: 0.0% under audit"
    assert head(a=audit(2), b=audit()).headline == "a and b look robust and are not: 1.0% and 0.0% under audit"
    other = head(a=fair, b=of_images(300, audit(20, "trustworthy")))
    assert other.headline == "a keeps 55.0% under audit; b keeps 50.0% under audit"
    assert "differ in number of images" in other.paragraph


def test_audited_and_other_runs_are_not_ranked() -> None:
    mixed = head(a=audit(110, "trustworthy"), b=evaluation())
    assert mixed.headline == "a keeps 55.0% under audit; b is not audited"
    assert "Not audited: b keeps 68.5% under its worst attack. An audit may lower this number" in mixed.paragraph


def test_lead_has_newcombes_interval() -> None:
    """Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80."""
    assert lead(accuracy(56, 70), accuracy(48, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
