"""What the report says of an audit, from results made by hand."""

from __future__ import annotations

import json
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_audits import add_audit, audited, check, ledger, no_pictures, turn
from handmade_runs import entry, make_run, page_of, tables

from logitpair.errors import InputError
from logitpair.report.figures.audit_figures import accuracy_bars, convergence_chart, margin_histogram, radius_chart
from logitpair.report.figures.gallery import gallery
from logitpair.report.figures.loss_landscape import surfaces
from logitpair.report.figures.standalone import audit_plots
from logitpair.report.records.audit import Audit
from logitpair.report.records.run import load_run
from logitpair.report.text.commands import commands
from logitpair.report.text.evaluation_summary import summarize


def record(content: dict[str, Any] | None = None, **columns: Any) -> Audit:
    return Audit.read(content or audited(), ledger(**columns))


def test_a_run_with_only_an_audit_is_shown(tmp_path: Path) -> None:
    page = page_of([add_audit(tmp_path / "alone")], tmp_path)
    assert "alone looks 61.0% robust and is not: 0.0% stand" in page
    assert "The reason of the verdict." in page
    assert "not evaluated yet" not in page.lower()
    (comparison,) = tables(page, "comparison")
    assert comparison[0] == ["Run", "Auditany search", "Clean"]
    assert comparison[1][1].startswith("0.0%")


def test_a_run_without_an_audit_has_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert load_run(folder).audit is None
    page = page_of([folder], tmp_path)
    assert 'class="badge' not in page
    assert "Audit" not in page


@pytest.mark.parametrize("verdict", ["trustworthy", "overestimated", "inconclusive"])
def test_the_verdict_is_told_in_words_and_by_an_icon(tmp_path: Path, verdict: str) -> None:
    page = page_of([add_audit(tmp_path / "run", audited(110, verdict))], tmp_path)
    badges = re.findall(r'<span class="badge (\w+)"><svg class="icon".*?</svg>\s*(\w+)</span>', page, re.DOTALL)
    assert set(badges) == {(verdict, verdict)}
    assert len(badges) == 2  # in the comparison and in the run's section


def test_failed_checks_come_first_and_only_they_give_advice(tmp_path: Path) -> None:
    page = page_of([add_audit(tmp_path / "run")], tmp_path)
    (rows,) = tables(page, "checks")
    assert rows[1:] == [
        ["failed", "repeatable", "evidence of repeatableadvice of repeatable"],
        ["failed", "black box", "evidence of black_boxadvice of black_box"],
        ["passed", "steps", "evidence of steps"],
    ]
    assert "2 of 3 checks failed" in page
    page = page_of([add_audit(tmp_path / "run", audited(110, "trustworthy", findings=[check("steps"), check("path")]))], tmp_path)
    assert "2 checks, all passed" in page


def test_bars_have_the_protocol_and_the_audit_and_8_bits_where_they_differ() -> None:
    assert [(bar.label, bar.value) for bar in accuracy_bars(record()).bars] == [
        ("clean", "96.5%"),
        ("protocol", "61.0%"),
        ("audit", "0.0%"),
    ]
    bars = accuracy_bars(record(audited(robust_accuracy_8_bit=entry(12)))).bars
    assert bars[3].value == "6.0%"


def test_convergence_begins_clean_and_has_a_point_a_search_beside_the_protocol() -> None:
    chart = convergence_chart(record())
    assert chart
    left, top, right, bottom = chart.edges
    course, *arms, protocol = chart.lines
    assert [line.label for line in arms] == ["smooth", "margin"]
    dots = [line.dots[0] for line in arms]
    assert [x for x, _, _ in dots] == pytest.approx([left + (right - left) * x / 6 for x in (4, 6)], abs=0.1)
    assert [y for _, y, _ in dots] == pytest.approx([bottom - (bottom - top) * y for y in (0.3, 0)], abs=0.1)
    assert course.path.startswith(f"M{left:g} ")
    assert dots[0][2] == "smooth broke 133 of 193: 30.0% stand after 4.0 gradients an image"
    assert (protocol.label, protocol.dashed) == ("protocol, 61.0%", True)
    level = round(bottom - (bottom - top) * 0.61, 1)
    assert protocol.path == f"M{left:g} {level:g}L{right:g} {level:g}"


def test_a_histogram_counts_everything_once_and_0_is_not_broken() -> None:
    margins = np.array([[-2.0, 0.0, 1e-3], [3.0, -2.0, np.nan]])
    chart = margin_histogram(record(restarts__margin=margins))
    assert chart
    counts = [int(part.note.rsplit(": ", 1)[1]) for part in chart.bins]
    assert sum(counts) == 5
    by_style = {style: sum(c for c, part in zip(counts, chart.bins, strict=True) if part.style == style) for style, _ in chart.keys}
    assert by_style == {"withstood": 3, "broken": 2}
    assert all(part.x + part.width <= chart.zero for part in chart.bins if part.style == "withstood")
    assert all(part.x >= chart.zero for part in chart.bins if part.style == "broken")
    assert "first restart breaks 33.3%" in chart.description
    assert "1 values are no numbers" in chart.description


@pytest.mark.parametrize("value", [0.0, -1.0, 5.0, 1e-30, np.nan, np.inf])
def test_margins_that_are_all_the_same_are_drawn(value: float) -> None:
    chart = margin_histogram(record(restarts__margin=np.full((2, 3), value)))
    assert chart
    assert sum(int(part.note.rsplit(": ", 1)[1]) for part in chart.bins) == (6 if np.isfinite(value) else 0)


def test_the_contour_is_where_the_margin_is_0_and_columns_go_to_the_right() -> None:
    crossed, flat = surfaces(record())
    ends = re.findall(r"[ML]([\d.]+) ([\d.]+)", crossed.contour)
    assert {x for x, _ in ends} == {"3.00"}  # between the columns of 0 and 0.5, halfway
    assert {float(y) for _, y in ends} == {0.5, 1.5, 2.5, 3.5, 4.5}
    assert flat.contour == ""
    assert {patch.style for patch in crossed.patches} == {"withstood", "broken"}
    broken = [patch.path for patch in crossed.patches if patch.style == "broken"]
    assert all(int(x) >= 3 for path in broken for x in re.findall(r"M(\d+)", path))
    assert (crossed.caption, crossed.eps) == ("image 0: 40.0% misclassified", "0.2")


def test_rows_of_a_surface_go_upwards_and_what_is_no_number_is_misclassified() -> None:
    values = np.full((1, 3, 3), -1.0)
    values[0, 0, 0] = np.nan
    (plane,) = surfaces(record(surface__margin=values, surface__position=[4]))
    (broken,) = [patch for patch in plane.patches if patch.style == "broken"]
    assert broken.path == "M0 2h1v1h-1z"
    area = sum(int(length) for patch in plane.patches for length in re.findall(r"h(\d+)v1", patch.path))
    assert area == 9


def test_radii_stand_evenly_spaced_with_the_audited_one_marked() -> None:
    chart = radius_chart(record())
    assert chart
    assert [label for _, label in chart.x_ticks] == ["0", "0.2", "1"]
    assert chart.x_mark == (chart.x_ticks[1][0], "audited")


def test_the_gallery_tells_what_the_audit_broke() -> None:
    shown = gallery(record(prediction=[2, -1, 0]))
    assert shown
    assert [(triple.before, triple.after, triple.outcome) for triple in shown.triples] == [
        ("cat", "dog", "fooled"),
        ("<script>alert(1)</script>", "no answer", "fooled"),
    ]


def test_an_audit_without_pictures_is_shown(tmp_path: Path) -> None:
    content, columns = no_pictures()
    folder = add_audit(tmp_path / "run", content, columns)
    page = page_of([folder], tmp_path)
    for absent in ("What stands after", "Where the protocol ends", "other radii", "The loss around"):
        assert absent not in page, absent
    assert audit_plots(content, columns) == {}
    (folder / "audit" / "ledger.npz").unlink()
    assert "The protocol and the audit" in page_of([folder], tmp_path)


def headline(tmp_path: Path, **runs: dict[str, Any] | None) -> tuple[str, str]:
    """Headline and paragraph for evaluated runs with these audits."""
    folders = [make_run(tmp_path / name) if content is None else add_audit(tmp_path / name, content) for name, content in runs.items()]
    summary = summarize([load_run(folder) for folder in folders])
    return summary.headline, summary.paragraph


def test_the_headline_of_one_run_is_the_audit_s_number(tmp_path: Path) -> None:
    trusted, paragraph = headline(tmp_path / "1", a=audited(110, "trustworthy"))
    assert trusted == "a keeps 55.0% of its answers right under audit"
    assert "61.0% under the protocol's attack alone" in paragraph
    inconclusive, paragraph = headline(tmp_path / "2", a=audited(110, "inconclusive"))
    assert inconclusive == "a keeps at most 55.0% of its answers right under audit; the audit is inconclusive"
    assert "Verdict: inconclusive" in paragraph


def test_the_headline_of_several_audits(tmp_path: Path) -> None:
    fair, less, close = audited(110, "trustworthy"), audited(20, "trustworthy"), audited(108, "inconclusive")
    assert headline(tmp_path / "1", a=less, b=fair)[0] == "b withstands the audit best: 55.0%, 45.0 points ahead of a"
    assert headline(tmp_path / "2", a=fair, b=close)[0] == "a and b withstand the audit about equally well; inconclusive: b"
    assert headline(tmp_path / "3", a=fair, b=audited())[0] == "b looks 61.0% robust and is not: 0.0% stand"
    assert headline(tmp_path / "4", a=audited(2), b=audited())[0] == "a and b look robust and are not: 1.0% and 0.0% stand"
    other, paragraph = headline(tmp_path / "5", a=fair, b=audited(20, "trustworthy", examples=300))
    assert other == "a keeps 55.0% under audit; b keeps 10.0% under audit"
    assert "differ in number of images" in paragraph


def test_a_page_of_audited_and_other_runs_says_so(tmp_path: Path) -> None:
    first, paragraph = headline(tmp_path / "1", a=audited(110, "trustworthy"), b=None)
    assert first == "a keeps 55.0% under audit; b is not audited"
    assert "Not audited: b keeps 68.5% under its worst attack. An audit may lower this number" in paragraph
    runs = [add_audit(tmp_path / "a"), make_run(tmp_path / "b")]
    (comparison,) = tables(page_of(runs, tmp_path), "comparison")
    assert comparison[0][:3] == ["Run", "Auditany search", "Clean"]
    assert comparison[2][1] == "not audited"
    assert comparison[1][3:] == ["\N{EN DASH}"] * 3


def test_an_audit_is_repeated_by_its_command(tmp_path: Path) -> None:
    run = load_run(add_audit(make_run(tmp_path / "pets")))
    assert commands([run], tmp_path / "page.html")[2] == "logitpair audit runs/pets --budget 200 --examples 200 --seed 7"
    own = audited(protocol=audited()["protocol"] | {"parameters": {"class_path": "logitpair.attacks.PGD", "init_args": {"steps": 9}}})
    run = load_run(add_audit(tmp_path / "pets", own | {"sources": {"b": {"run": "/x/b"}}, "checkpoint": "best", "budget": 20.5}))
    assert commands([run], tmp_path / "page.html")[2] == (
        "logitpair audit runs/pets --source b=runs/b --attacks ATTACKS.yaml --budget 20.5 --checkpoint best --examples 200 --seed 7"
    )


def test_names_and_words_are_escaped(tmp_path: Path) -> None:
    bad = '<script>"&'
    content = audited(0, reason=bad, stopped=bad, findings=[check(bad, passed=False)], rounds=[turn(bad, 193, 0, 4.0)])
    page = page_of([add_audit(tmp_path / "<b>run</b>", content)], tmp_path)
    assert "<script" not in page
    assert "<b>run" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_plots_are_whole_svg_files() -> None:
    drawn = audit_plots(audited(), ledger())
    assert set(drawn) == {"convergence", "restarts", "surfaces", "eps"}
    for svg in drawn.values():
        xml.dom.minidom.parseString(svg)  # noqa: S318  (our own)
        assert "var(" not in svg
    assert drawn["surfaces"].count("<svg") == 3  # two planes in one drawing
    assert "misclassified" in drawn["surfaces"]
    assert "protocol, 61.0%" in drawn["convergence"]


DAMAGED = [
    {"kind": "evaluation"},
    {"verdict": "fine"},
    {"clean": {"top1": 3.0, "correct": 3, "total": 1, "ci95": [0, 1]}},
    {"protocol": entry(3)},
    {"protocol": None},
    {"findings": [{"check": "steps"}]},
    {"findings": [check("steps") | {"passed": "no"}]},
    {"rounds": [turn("smooth", 193, 160, 4.0), turn("margin", 64, 60, 6.0)]},
    {"rounds": [turn("smooth", 193, 160, 4.0), turn("margin", 161, 100, 6.0)]},
    {"rounds": [turn("smooth", 300, 60, 4.0)]},
    {"rounds": [turn("smooth", 193, 60, float("nan"))]},
    {"rounds": 3},
    {"eps_curve": [{"eps": 0.1}]},
    {"eps_curve": [{"eps": 0.1, "top1": 1.5, "examples": 3}]},
    {"data": {"name": "pets", "class_names": ["cat"]}},
    {"gradient_evaluations_per_example": -1.0},
    {"robust_accuracy": None},
]


@pytest.mark.parametrize("changes", DAMAGED)
def test_damaged_results_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    content = audited(**changes)
    for read, told in (
        (lambda: page_of([add_audit(tmp_path / "run", content)], tmp_path), r"results\.json.*`logitpair audit "),
        (lambda: audit_plots(content, ledger()), "damaged or incomplete"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"schema": 2}', '{"schema": 1}', json.dumps({"schema": 1, "kind": "audit"})])
def test_files_that_are_no_audit_are_refused(tmp_path: Path, text: str) -> None:
    folder = add_audit(tmp_path / "run")
    (folder / "audit" / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"results\.json.*`logitpair audit") as caught:
        page_of([folder], tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "columns",
    [
        {"restarts__margin": [1.0, 2.0]},
        {"restarts__margin": [["a"]]},
        {"surface__position": [0]},
        {"surface__margin": np.zeros((2, 5))},
        {"surface__margin": np.zeros((2, 1, 5))},
        {"prediction": [2, 9, 0]},
        {"prediction": None},
        {"gallery__x_adv": np.zeros((2, 1, 3, 3))},
    ],
)
def test_a_damaged_ledger_is_refused(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="damaged or incomplete") as caught:
        page_of([add_audit(tmp_path / "run", columns=ledger(**columns))], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_ledger_of_another_audit_is_refused_with_the_audit_s_command(tmp_path: Path) -> None:
    folder = add_audit(tmp_path / "run")
    (folder / "audit" / "ledger.npz").write_bytes(b"PK\x03\x04 [")
    with pytest.raises(InputError, match=r"ledger\.npz.*`logitpair audit"):
        page_of([folder], tmp_path)
