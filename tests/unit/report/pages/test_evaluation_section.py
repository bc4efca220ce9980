"""What the report says of an evaluation's attacks, of published numbers and of images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from handmade_runs import (
    CLASSES,
    X,
    accuracy,
    add_evaluation,
    attack,
    black_box,
    evaluation,
    in_turn,
    make_run,
    page_of,
    suite,
    tables,
    worst,
)

from logitpair.report.pages.evaluation_section import published_rows
from logitpair.report.pages.gallery import gallery
from logitpair.report.text.format import Ball
from logitpair.storage.results import NO_CLASS, Published

DASH = "\N{EN DASH}"


def test_who_broke_what_is_a_table(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "run", suite())], tmp_path)
    (rows,) = tables(page, "tight")
    assert rows == [["Attack", "Broken", "First", "Alone"], ["pgd", "83", "83", "60"], ["step", "43", "20", "7"]]
    assert "Of the 193 images classified right when clean" in page


def test_of_attacks_in_turn_is_shown_what_they_add_and_not_what_they_leave(tmp_path: Path) -> None:
    columns = {"white_box__union__prediction": [0, 1, 0], "gallery__white_box__union": X}
    page = page_of([add_evaluation(make_run(tmp_path / "run", in_turn()), in_turn(), **columns)], tmp_path)
    (rows,) = tables(page, "tight")
    assert rows == [["Attack", "Attacked", "Broken"], ["pgd", "193", "83"], ["step", "110", "20"]]
    every = next(rows for rows in tables(page, "") if rows[0][:2] == ["Threat", "Attack"])
    assert [row[:3] for row in every[1:4]] == [
        ["clean", "none", "96.5%"],
        ["white box, in turn", "pgd", DASH],
        ["white box, in turn", "step", DASH],
    ]
    assert every[2][3:] == [DASH, DASH, DASH, "31.5", "12 s"]
    assert every[4][:3] == ["white box", "any of them", "45.0%"]
    assert "the image under any attack at eps = 0.2" in page
    assert "Accuracy under each attack" not in page
    assert "What images are taken for under attack" not in page


def test_published_numbers_are_beside_ours(tmp_path: Path) -> None:
    source = "arXiv 1803.06373, Table 1"
    published = (Published(source=source, clean=0.988, white_box=0.56, black_box=0.975), Published(source="B", note="n"))
    results = suite(published=published, black_box={"x": black_box(150), "y": black_box(120)})
    page = page_of([make_run(tmp_path / "run", results)], tmp_path)
    (rows,) = tables(page, "published")
    assert [[row[0], row[1], row[3]] for row in rows[1:]] == [
        ["clean", "96.5%", "98.8%"],
        ["white box", "55.0%", "56.0%within the interval"],
        ["black box from y", "60.0%", "97.5%"],
    ]
    assert all(row[4] == source for row in rows[1:])
    low, high = accuracy(110).ci95
    assert rows[2][2] == f"{100 * low:.1f} {DASH} {100 * high:.1f}"
    assert "A difference within the interval is no difference" in page
    assert "measured with that paper" in page


def test_published_top5_is_compared_with_the_lowest_top5_and_a_missing_measure_has_no_number() -> None:
    published = (Published(source="S", white_box_top5=0.5, black_box=0.9, black_box_top5=0.8),)
    attacks = {"pgd": attack(110, top5=0.7), "step": attack(150, top5=0.9, top5_is_upper_bound=True)}  # which may leave less than pgd
    white_box = worst(110, top5=0.7, top5_is_upper_bound=True)
    low, high = accuracy(140).ci95
    assert published_rows(suite(published=published, black_box={}, attacks=attacks, white_box=white_box)) == [
        ["white box, top-5", "≤ 70.0%", f"{100 * low:.1f} {DASH} {100 * high:.1f}", "50.0%", "S"],
        ["black box", DASH, DASH, "90.0%", "S"],
        ["black box, top-5", DASH, DASH, "80.0%", "S"],
    ]


def test_absent_fields_draw_nothing(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "run", evaluation(black_box={}))], tmp_path).split("</style>")[1]
    absent = ("Accuracy under each attack", "Which attack broke what", "gradient steps", "against restarts", "published", 'class="heat"')
    for words in absent:
        assert words not in page, words


@pytest.mark.parametrize(
    ("predictions", "shown"),
    [
        ([[0, 1], [0, 0], [NO_CLASS, 1]], [("cat", "no answer", "fooled"), ("cat", CLASSES[1], "wrong-before")]),
        ([[0, 1], [0, 1], [0, 2]], [("cat", "cat", "robust"), (CLASSES[1], "dog", "fooled")]),
    ],
)
def test_a_card_says_what_happened_to_an_image(predictions: list[list[int]], shown: list[tuple[str, str, str]]) -> None:
    ledger = {"gallery/x": X, "gallery/x_adv": np.clip(X + 0.2, 0, 1)}
    ledger |= {key: np.asarray(column) for key, column in zip(("y", "clean/prediction", "prediction"), predictions, strict=True)}
    (page,) = gallery("Title", ledger, "gallery/x_adv", "prediction", CLASSES, "pgd", [Ball(0.2)])
    outcomes = re.findall(r'<li class="([\w-]+)"', page)
    captions = [caption.replace("&lt;", "<").replace("&gt;", ">") for caption in re.findall(r"<figcaption>(.*?)</figcaption>", page)]
    assert list(zip(captions[::3], captions[1::3], outcomes, strict=True)) == shown
    assert "amplified 5 times (red: brighter, blue: darker)" in page
    assert "under pgd at eps = 0.2" in page


def test_classes_of_the_same_name_are_told_apart() -> None:
    ledger = {
        "gallery/x": X,
        "gallery/x_adv": X,
        "y": np.array([0, 0]),
        "clean/prediction": np.array([0, 0]),
        "prediction": np.array([1, 0]),
    }
    (page,) = gallery("Title", ledger, "gallery/x_adv", "prediction", ["crane", "crane"], "pgd", [])
    assert re.findall(r'<li class="([\w-]+)"', page) == ["fooled", "robust"]
