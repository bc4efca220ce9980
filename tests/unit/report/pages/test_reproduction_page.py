"""What a page says of a claim of the paper: that it holds here, that the opposite does, or that the difference is not significant."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from handmade_results import AUDIT, EVALUATION, audit_of, evaluation_keeping, evaluation_of, keeping, of_images
from handmade_sweeps import make_level
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.evaluation.confidence import wilson
from logitpair.report.pages.reproduction_page import Section, write_target
from logitpair.reproduction.measurement import searched_attacks
from logitpair.reproduction.paper import Claim, Row, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, EvaluationResults

ALP, MPGD = Row("ALP", "mnist-clp", {"white_box": 96.4}), Row("M-PGD", "mnist-noise", {"white_box": 93.2})
TABLE = Target(title="A table", columns=("white_box", "clean"), rows=(MPGD, ALP), claims=(Claim("ALP", "M-PGD"),), note="A note.")
(SOURCE,) = EVALUATION.black_box


def evaluated(row: Row, correct: int, seed: int = 0, **changes: Any) -> EvaluationResults:
    return evaluation_keeping(correct, evaluation_of(row.recipe, "cpu"), **{"weights": f"{row.recipe} {seed}", **changes})


def audited_as(row: Row, correct: int, **changes: Any) -> AuditResults:
    audit = audit_of(row.recipe, "cpu")
    return replace(audit, **{"weights": f"{row.recipe} 0", "robust_accuracy": keeping(correct, audit.robust_accuracy), **changes})


def folder_of(records: Path, row: Row, seed: int = 0) -> Path:
    return records / PlannedRun.of(row, seed).path("cpu")


def recorded(records: Path, row: Row, *white_box: int, audited: int | None = None) -> None:
    """Seeds of a row with so many of 200 images correct, the first of them audited."""
    for seed, correct in enumerate(white_box):
        write_record(folder_of(records, row, seed) / "results.json", evaluated(row, correct, seed))
        if audited is not None and seed == 0:
            write_record(folder_of(records, row) / "audit.json", audited_as(row, audited))


def sentence(records: Path, start: str, target: Target = TABLE) -> str:
    (found,) = (each for each in Section.read(target, "cpu", records).sentences() if each.startswith(start))
    return found


@pytest.mark.parametrize(
    ("alp", "mpgd", "verdict"),
    [
        (150, 100, "it holds for these networks"),
        (100, 150, "for these networks it is the other way round"),
        (101, 100, "the difference of these networks is not significant"),
    ],
)
def test_a_claim_is_judged_by_the_interval_of_the_difference(tmp_path: Path, alp: int, mpgd: int, verdict: str) -> None:
    recorded(tmp_path, ALP, alp)
    recorded(tmp_path, MPGD, mpgd)
    found = sentence(tmp_path, "ALP has a higher accuracy than M-PGD, white box")
    assert f": {verdict}. In the paper 96.4% against 93.2%. Here {alp / 2:.1f}%" in found
    assert f"difference of {(alp - mpgd) / 2:+.1f}".replace("-", "\N{MINUS SIGN}") in found


def test_a_claim_compares_networks_of_the_same_seeds(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 150, 50)
    recorded(tmp_path, MPGD, 100)
    found = sentence(tmp_path, "ALP has a higher accuracy than M-PGD, white box")
    assert ": it holds for these networks." in found
    assert "Here, under seed 0 of both, 75.0% (" in found
    recorded(tmp_path, MPGD, 100, 40)
    assert "Here 50.0% (" in sentence(tmp_path, "ALP has a higher accuracy than M-PGD, white box")


def test_a_claim_without_runs_is_not_judged(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 150)
    found = sentence(tmp_path, "ALP has a higher accuracy than M-PGD")
    assert found.endswith("In the paper 96.4% against 93.2%. Not run here.")
    assert "here" not in found.removesuffix("here.")


def test_the_table_has_means_over_seeds_with_their_range_and_what_audits_left(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, 120, audited=20)
    head, (mpgd, alp) = Section.read(TABLE, "cpu", tmp_path).table()
    assert head == ["", "audited %", "white box: paper %", "ours %", "clean: paper %", "ours %", "seeds"]
    assert mpgd == ["M-PGD", "–", "93.2", "–", "–", "–", "not run"]  # noqa: RUF001
    low, high = (100 * bound for bound in wilson(110, 200))
    assert alp[3] == f"55.0 ({low:.1f} – {high:.1f}; seeds 50.0 – 60.0)"  # noqa: RUF001
    assert alp[1].startswith("10.0 (")
    assert alp[6] == "2, audited 1"
    found = sentence(tmp_path, "ALP, white box, seed 0: 50.0% (")
    assert "the audit leaves 10.0% (" in found
    assert "of the same, without coming to the end of its search." in found
    assert f" of {AUDIT.reference.total} images: {AUDIT.verdict}." in found


def test_the_worst_of_several_attacks_is_named_beside_what_they_leave_together(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, audited=20)
    assert "the worst of" not in sentence(tmp_path, "ALP, white box")
    path = tmp_path / PlannedRun.of(ALP, 0).path("cpu") / "results.json"
    two = dataclasses.replace(TABLE, attacks="pgd_76.5_2.55_40,bim_76.5_2.55_40")
    searched = searched_attacks(ALP.recipe, "cpu", two.attacks)
    own = evaluated(ALP, 100)
    attacks = {name: replace(own.attacks["pgd"], parameters=json.loads(text)) for name, text in searched.items()}
    worst = replace(own.white_box, attack=next(iter(attacks)))
    write_record(path, replace(own, attacks=attacks, white_box=worst, white_box_union=keeping(40, own.white_box_union)))
    write_record(path.with_name("audit.json"), audited_as(ALP, 20, converged=True))
    found = sentence(tmp_path, "ALP, white box", two)
    assert " of 200 images under pgd_76.5_2.55_40, the worst of 2 attacks, which together leave 20.0% (" in found
    assert "of the same. Its verdict is" in found


def test_claims_are_compared_under_the_audit_too(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 150, audited=20)
    recorded(tmp_path, MPGD, 100, audited=60)
    found = sentence(tmp_path, "ALP has a higher accuracy")
    assert "white box: it holds for these networks." in found
    assert "Under the audit for these networks it is the other way round: 10.0% " in found


def test_a_damaged_record_is_refused_with_what_to_do(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, 120)
    (tmp_path / PlannedRun.of(ALP, 1).path("cpu") / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"^'.*seed-1/results.json' is damaged .*; move it away$"):
        Section.read(TABLE, "cpu", tmp_path)


def test_pages_of_smoke_say_that_their_numbers_mean_nothing(tmp_path: Path) -> None:
    for scale in ("smoke", "cpu"):
        section = Section.read(TABLE, scale, tmp_path)
        assert ("its numbers mean nothing" in section.markdown()) == ("its numbers mean nothing" in section.page()) == (scale == "smoke")


def test_a_transfer_is_shown_source_by_source(tmp_path: Path) -> None:
    suite = replace(evaluated(ALP, 150).black_box[SOURCE], union=keeping(0, EVALUATION.white_box_union))
    (attack,) = suite.attacks
    target = Target(title="t", columns=(), rows=(replace_paper(ALP, {"b": 47.1}),), sources=("a", "b"), transfer=attack)
    suites = {
        name: replace(keeping(n, suite), attacks={attack: keeping(n, suite.attacks[attack])}) for name, n in {"a": 130, "b": 90}.items()
    }
    folder = tmp_path / PlannedRun.of(ALP, 0).path("cpu")
    write_record(folder / "results.json", evaluated(ALP, 150, black_box=suites))
    _, rows = Section.read(target, "cpu", tmp_path).table()
    assert [row[:2] for row in rows] == [["a", "–"], ["b", "47.1"]]  # noqa: RUF001
    assert rows[0][2].startswith("65.0 (")
    found = sentence(tmp_path, "ALP has a higher accuracy on images made against a than on those made against b", target)
    assert ": it holds for these networks. Here 65.0%" in found
    found = sentence(tmp_path, f"{attack} on b leaves less of ALP than every attack on every other source", target)
    assert f": it holds for these networks. Here {attack} on a leaves 65.0% (" in found
    of_a = replace(keeping(20, suite), attacks={attack: keeping(20, suite.attacks[attack])})
    write_record(folder / "results.json", evaluated(ALP, 150, black_box={"a": of_a, "b": suites["b"]}))
    assert "for these networks it is the other way round." in sentence(tmp_path, f"{attack} on b leaves less of ALP", target)


def replace_paper(row: Row, paper: dict[str, float]) -> Row:
    return Row(row.method, row.recipe, paper)


def test_text_and_page_say_the_same(tmp_path: Path) -> None:
    empty = Section.read(TABLE, "cpu", tmp_path)
    assert empty.is_empty
    assert "training" not in empty.markdown()
    recorded(tmp_path, ALP, 150)
    section = Section.read(TABLE, "cpu", tmp_path)
    assert not section.is_empty
    for text in (section.markdown(), section.page()):
        assert "A note." in text
        assert "Not run here." in text
        assert "a quarter of the filters" in text, "the deviation that the recipe gives for the scale"
        assert "device cpu" in text


def test_an_audit_of_other_images_than_the_evaluation_says_how_many(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, audited=20)
    path = tmp_path / PlannedRun.of(ALP, 0).path("cpu") / "audit.json"
    write_record(path, of_images(1000, replace(audited_as(ALP, 20), test_images=10_000)))
    _, (_, alp) = Section.read(TABLE, "cpu", tmp_path).table()
    assert alp[1].endswith(", of the first 1,000")


def test_a_figures_page_has_the_numbers_how_they_were_made_and_what_is_to_be_known(tmp_path: Path) -> None:
    figure = Target(title="A figure", columns=("white_box",), rows=(ALP,), figure=True, note="A note.")
    recorded(tmp_path / "results", ALP, 150, audited=20)
    for scale in ("smoke", "cpu"):
        make_level(tmp_path / "results" / ALP.recipe / scale, ALP.recipe, scale)
    of_sweep = {"clean": keeping(190, EVALUATION.clean), "created": "2026-01-02T03:04:05+00:00"}
    write_record(folder_of(tmp_path / "results", ALP) / "results.json", evaluated(ALP, 40, **of_sweep))
    for scale in ("smoke", "cpu"):
        files = write_target(figure, scale, tmp_path / "results", tmp_path / scale / "figure.html")
        drawn = {"figure.svg"} if scale == "cpu" else set[str]()
        assert {file.name for file in files} == {"figure.md", "figure.html"} | drawn
        for text in (file.read_text() for file in files if file.suffix != ".svg"):
            assert "A note." in text
            finished = "mnist-clp: no point has all its runs finished. 1 of 2 runs are finished."
            assert (finished in text) == (scale == "cpu"), "the other seed is not recorded"
            assert ("its numbers mean nothing" in text) == (scale == "smoke")
            assert ("a quarter of the filters" in text) == (scale == "cpu")
            assert ("10.0 (" in text) == (scale == "cpu"), "what the audit left"


def test_costs_say_which_images_were_tried(tmp_path: Path) -> None:
    for scale, test_images, said in (("cpu", 200, "200, digits"), ("smoke", 1000, "200 of 1,000, digits")):
        own = replace(evaluation_of(ALP.recipe, scale), test_images=test_images)
        write_record(tmp_path / PlannedRun.of(ALP, 0).path(scale) / "results.json", own)
        _, (_, alp) = Section.read(TABLE, scale, tmp_path).costs()
        assert alp[2] == said


def test_what_is_not_as_the_table_wants_it_is_left_out_and_named(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, 120, 140, audited=20)
    write_record(folder_of(tmp_path, ALP, 1) / "results.json", evaluated(ALP, 170, 1, checkpoint="best"))
    write_record(folder_of(tmp_path, ALP) / "audit.json", audited_as(ALP, 90, budget=1.0))
    section = Section.read(TABLE, "cpu", tmp_path)
    _, (_, alp) = section.table()
    assert alp[3].startswith("60.0 (")
    assert (alp[1], alp[6]) == ("–", "2")  # noqa: RUF001
    assert sentence(tmp_path, "Left out").endswith("ALP, seed 0: the audit; ALP, seed 1: the evaluation.")


def test_one_network_in_two_rows_or_under_two_seeds_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, 120)
    recorded(tmp_path, MPGD, 100)
    for row, seed in ((MPGD, 0), (ALP, 1)):
        before = (path := folder_of(tmp_path, row, seed) / "results.json").read_bytes()
        write_record(path, evaluated(row, 100, weights=f"{ALP.recipe} 0"))
        with pytest.raises(InputError, match=rf"the records .*'{row.recipe}/cpu/seed-{seed}'.* are of one network; move one away$"):
            Section.read(TABLE, "cpu", tmp_path)
        path.write_bytes(before)


def test_one_network_under_two_settings_of_a_recipe_is_refused(tmp_path: Path) -> None:
    heavy = Row("ALP, heavy", ALP.recipe, {}, {"objective.weight": "2"})
    table = dataclasses.replace(TABLE, rows=(*TABLE.rows, heavy))
    recorded(tmp_path, ALP, 100)
    write_record(folder_of(tmp_path, heavy) / "results.json", evaluated(heavy, 100, weights="another"))
    assert len(Section.read(table, "cpu", tmp_path).measured["ALP, heavy"].evaluations) == 1
    write_record(folder_of(tmp_path, heavy) / "results.json", evaluated(heavy, 100))
    with pytest.raises(InputError, match=r"'mnist-clp/cpu/seed-0' and 'mnist-clp/cpu/objective.weight=2/seed-0' are of one network"):
        Section.read(table, "cpu", tmp_path)


def test_audits_of_other_seeds_or_of_other_numbers_of_images_are_named(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, 110)
    for seed, images in enumerate((1000, 4000)):
        audit = replace(audited_as(ALP, 20, weights=f"{ALP.recipe} {seed}"), test_images=10_000)
        write_record(folder_of(tmp_path, ALP, seed) / "audit.json", of_images(images, audit))
    _, (_, alp) = Section.read(TABLE, "cpu", tmp_path).table()
    assert alp[1].endswith(", of the first 1,000 and 4,000")
    assert "of the first 1,000 and 4,000" in sentence(tmp_path, "ALP, white box")
    (folder_of(tmp_path, ALP, 1) / "results.json").unlink()
    (folder_of(tmp_path, ALP, 0) / "audit.json").unlink()
    _, (_, alp) = Section.read(TABLE, "cpu", tmp_path).table()
    assert alp[-1] == "1 (seed 0), audited 1 (seed 1)"


def test_audits_of_other_seeds_than_were_evaluated_are_said_to_be(tmp_path: Path) -> None:
    for row, left in ((ALP, 60), (MPGD, 20)):
        recorded(tmp_path, row, 150)
        write_record(folder_of(tmp_path, row, 1) / "audit.json", audited_as(row, left, weights=f"{row.recipe} 1"))
    assert "Under the audit, under seed 1 of both, it holds" in sentence(tmp_path, "ALP has a higher accuracy than M-PGD, white box")


def test_audits_are_compared_under_the_seeds_that_have_them(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 150, 160, audited=20)
    recorded(tmp_path, MPGD, 100, 110, audited=60)
    found = sentence(tmp_path, "ALP has a higher accuracy than M-PGD, white box")
    assert "Here 77.5% (" in found
    assert "Under the audit, under seed 0 of both, for these networks it is the other way round: 10.0% (" in found
    assert "75.0% (" in sentence(tmp_path, "ALP, white box, seed 0"), "of the seed that is audited"
