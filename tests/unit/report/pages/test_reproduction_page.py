"""What a page says of a claim of the paper: that it holds here, that the opposite does, or that the difference is not significant."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_results import AUDIT, EVALUATION, evaluation_keeping, keeping, of_images
from handmade_sweeps import make_level
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.evaluation.confidence import wilson
from logitpair.report.pages.reproduction_page import Section, write_target
from logitpair.reproduction.paper import Claim, Row, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.storage.result_files import write_record

ALP, MPGD = Row("ALP", "mnist-clp", {"white_box": 96.4}), Row("M-PGD", "mnist-noise", {"white_box": 93.2})
TABLE = Target(title="A table", columns=("white_box", "clean"), rows=(MPGD, ALP), claims=(Claim("ALP", "M-PGD"),), note="A note.")
(SOURCE,) = EVALUATION.black_box


def recorded(records: Path, row: Row, *white_box: int, audited: int | None = None) -> None:
    """Seeds of a row with so many of 200 images correct, the first of them audited."""
    for seed, correct in enumerate(white_box):
        folder = records / PlannedRun.of(row, seed).path("cpu")
        of = {"recipe": row.recipe, "scale": "cpu", "weights": f"{row.recipe} {seed}"}
        write_record(folder / "results.json", evaluation_keeping(correct, **of))
        if audited is not None and seed == 0:
            write_record(folder / "audit.json", replace(AUDIT, **of, robust_accuracy=keeping(audited, AUDIT.robust_accuracy)))


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
    found = sentence(tmp_path, "ALP, white box: 55.0% (")
    assert "the audit leaves 10.0% (" in found
    assert "of the same, without coming to the end of its search." in found
    assert f" of {AUDIT.reference.total} images: {AUDIT.verdict}." in found


def test_the_worst_of_several_attacks_is_named_beside_what_they_leave_together(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 100, audited=20)
    assert "the worst of" not in sentence(tmp_path, "ALP, white box")
    path = tmp_path / PlannedRun.of(ALP, 0).path("cpu") / "results.json"
    (attack,) = EVALUATION.attacks.values()
    two = {"attacks": {"pgd": attack, "bim": attack}, "white_box_union": keeping(40, EVALUATION.white_box_union)}
    write_record(path, replace(EVALUATION, recipe=ALP.recipe, scale="cpu", **two))
    write_record(path.with_name("audit.json"), replace(AUDIT, recipe=ALP.recipe, scale="cpu", converged=True))
    found = sentence(tmp_path, "ALP, white box")
    assert " of 200 images under pgd, the worst of 2 attacks, which together leave 20.0% (" in found
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
    suite = EVALUATION.black_box[SOURCE]
    (attack,) = suite.attacks
    target = Target(title="t", columns=(), rows=(replace_paper(ALP, {"b": 47.1}),), sources=("a", "b"), transfer=attack)
    suites = {
        name: replace(keeping(n, suite), attacks={attack: keeping(n, suite.attacks[attack])}) for name, n in {"a": 130, "b": 90}.items()
    }
    folder = tmp_path / PlannedRun.of(ALP, 0).path("cpu")
    write_record(folder / "results.json", replace(EVALUATION, recipe=ALP.recipe, scale="cpu", black_box=suites))
    _, rows = Section.read(target, "cpu", tmp_path).table()
    assert [row[:2] for row in rows] == [["a", "–"], ["b", "47.1"]]  # noqa: RUF001
    assert rows[0][2].startswith("65.0 (")
    found = sentence(tmp_path, "ALP has a higher accuracy on images made against a than on those made against b", target)
    assert ": it holds for these networks. Here 65.0%" in found
    found = sentence(tmp_path, f"{attack} on b leaves less of ALP than every attack on every other source", target)
    assert f": it holds for these networks. Here {attack} on a leaves 65.0% (" in found
    worst = keeping(20, suite.attacks[attack])  # of another attack, which makes b's no news
    of_a = replace(keeping(20, suite), attacks={attack: worst, "worst": worst})
    write_record(folder / "results.json", replace(EVALUATION, recipe=ALP.recipe, scale="cpu", black_box={"a": of_a, "b": suites["b"]}))
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
    write_record(path, of_images(1000, replace(AUDIT, recipe=ALP.recipe, scale="cpu", weights=f"{ALP.recipe} 0")))
    _, (_, alp) = Section.read(TABLE, "cpu", tmp_path).table()
    assert alp[1].endswith(", of the first 1,000")


def test_a_figures_page_has_the_numbers_how_they_were_made_and_what_is_to_be_known(tmp_path: Path) -> None:
    figure = Target(title="A figure", columns=("white_box",), rows=(ALP,), figure=True, note="A note.")
    recorded(tmp_path / "results", ALP, 150, audited=20)
    make_level(tmp_path / "results" / ALP.recipe / "smoke", ALP.recipe)
    folder = make_level(tmp_path / "results" / ALP.recipe / "cpu", ALP.recipe)
    write_record(
        folder / "seed-0" / "results.json",
        evaluation_keeping(40, recipe=ALP.recipe, scale="cpu", weights=f"{ALP.recipe} 0", created="2027"),
    )  # later than the sweep's
    for scale in ("smoke", "cpu"):
        files = write_target(figure, scale, tmp_path / "results", tmp_path / scale / "figure.html")
        assert {file.name for file in files} == {"figure.md", "figure.html", "figure.svg"}
        for text in (file.read_text() for file in files if file.suffix != ".svg"):
            assert "A note." in text
            assert ("its numbers mean nothing" in text) == (scale == "smoke")
            assert ("a quarter of the filters" in text) == (scale == "cpu")
            assert ("10.0 (" in text) == (scale == "cpu"), "what the audit left"


def test_costs_say_which_images_were_tried(tmp_path: Path) -> None:
    recorded(tmp_path, ALP, 150)
    path = tmp_path / PlannedRun.of(ALP, 0).path("cpu") / "results.json"
    for test_images, said in ((200, "200, digits"), (1000, "200 of 1,000, digits")):
        write_record(path, evaluation_keeping(150, recipe=ALP.recipe, scale="cpu", test_images=test_images))
        _, (_, alp) = Section.read(TABLE, "cpu", tmp_path).costs()
        assert alp[2] == said
