"""A table of the paper beside what is recorded of its networks, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from logitpair.config import recipes
from logitpair.errors import InputError
from logitpair.evaluation.confidence import Share, percent
from logitpair.evaluation.result import markdown
from logitpair.report.figures.sweep_figures import Reference
from logitpair.report.pages import elements as html
from logitpair.report.pages.sweep_page import finding, write_sweeps
from logitpair.report.records import by_size
from logitpair.report.text.claims import of_claim, of_transfer, of_white_box
from logitpair.report.text.format import duration, listing, pairs, span
from logitpair.reproduction.paper import COLUMNS, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import recorded_sweep
from logitpair.reproduction.recorded_row import RecordedRow, mean
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import Accuracy, EvaluationResults, SweepResults

CAUTION = (
    "Accuracy under attack is an upper bound: a stronger attack can only lower it, and where there is an audit, its number is the one to "
    "quote. Intervals (95%) tell what another draw of test images could change, the range over seeds what another training changed; those "
    "of a difference are as of other images for each of the two, and so wider than need be. Scales other than the paper's have smaller "
    "networks, shorter trainings or other images: they repeat its comparisons, not its numbers."
)
LEGEND = (
    "Ours are means over the seeds, with the 95% interval of one test set and the range over the seeds. White box: the worst single attack "
    "of the table's. Black box: the worst single attack's images, made against an independently trained copy of the same recipe, or the "
    "sources that are named. Audited: what no search of `logitpair audit` broke within a budget of 200 gradients an image or more (20 at "
    "scale smoke)."
)
SMOKE = "At scale smoke networks are hardly trained: it shows that every step works, and its numbers mean nothing."
FIGURE1 = (
    Reference("Gaussian noise alone in the paper (about 25%)", 0.25, "mnist-noise"),
    Reference("logit squeezing in the paper (86.4%, Table 7)", 0.864, "mnist-squeezing"),
)
DASH = html.DASH


def write_target(target: Target, scale: str, records: Path, page: Path) -> list[Path]:
    """Write a ``page`` from what is recorded, the same as Markdown beside it, and of a figure also an SVG. Returns the files."""
    section, text = Section.read(target, scale, records), page.with_suffix(".md")
    if target.figure:
        names = [f"{records.name}/{sweep.recipe}/{scale}" for sweep in section.sweeps]
        files = write_sweeps(section.sweeps, names, page, FIGURE1, section.title, section.notes(), [section.numbers(), section.how()])
    else:
        files = [page]
        atomic_write(page, section.page())
    atomic_write(text, f"# {section.title}\n\n{CAUTION}\n\n{LEGEND}\n\n{section.markdown()}")
    return [text, *files]


@dataclass(frozen=True)
class Section:
    """A target at a scale: the paper's numbers and what is recorded."""

    target: Target
    scale: str
    measured: dict[str, RecordedRow]  # by the row's method
    sweeps: tuple[SweepResults, ...]  # of a figure

    @classmethod
    def read(cls, target: Target, scale: str, records: Path) -> Section:
        """From the folder that all records lie in.

        Raises:
            InputError: for a record that cannot be read, is of something else than its folder says, or contradicts another.
        """
        measured = {row.method: RecordedRow.read(target, row, scale, records) for row in target.rows}
        left_out = {path for row in measured.values() for path in row.left_out}
        sweeps = filter(None, (recorded_sweep(records / recipe / scale, left_out) for recipe in target.swept_recipes))
        known: dict[str, Path] = {}
        for row in target.rows:
            for seed, evaluation in measured[row.method].evaluations.items():
                path = PlannedRun.of(row, seed).path(scale)
                if evaluation.weights and (before := known.setdefault(evaluation.weights, path)) != path:
                    raise InputError(f"{target.title}: the records '{before}' and '{path}' are of one network; move one away")
        return cls(target, scale, measured, tuple(map(by_size, sweeps)))

    @property
    def title(self) -> str:
        """Of a page of its own."""
        return f"{self.target.title}, scale {self.scale}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded."""
        return not any(measured.evaluations for measured in self.measured.values())

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: the paper's numbers, ours with interval and range over the seeds, what an audit left, and what is certified."""
        if self.target.transfer:
            return self._by_source(self.target.transfer)
        head = ["", "audited %", *(words for column in self.target.columns for words in (f"{COLUMNS[column]}: paper %", "ours %")), "seeds"]
        certified = any(audit.certified for of in self.measured.values() for audit in of.audits.values())
        head[1:1] = ["certified %"] * certified
        rows: list[list[str]] = []
        for row in self.target.rows:
            of, cells = self.measured[row.method], list[str]()
            for column in self.target.columns:
                cells += [_number(row.paper.get(column)), _cell(of.accuracies(self.target, row, column).values())]
            audited, images = _cell(of.audited().values()), {each.examples for each in of.evaluations.values()}
            others = sorted({audit.examples for audit in of.audits.values()} - images)
            audited += f", of the first {listing([f'{count:,}' for count in others])}" if others else ""
            proven = [_cell(audit.certified for audit in of.audits.values() if audit.certified)] * certified
            rows.append([row.method, *proven, audited, *cells, of.counts])
        return head, rows

    def _by_source(self, attack: str) -> tuple[list[str], list[list[str]]]:
        (row,) = self.target.rows
        of = self.measured[row.method]
        return [f"{attack} images made against", "paper %", "ours %"], [
            [source, _number(row.paper.get(source)), _cell(of.under_images_of(source, attack))] for source in self.target.sources
        ]

    def sentences(self) -> Iterator[str]:
        """Each claim beside what happened here, what a figure's sweeps found, and what the audits lowered."""
        yield from map(finding, self.sweeps)
        yield from (of_claim(claim, self.target, self.measured) for claim in self.target.claims)
        if self.target.transfer:
            yield from of_transfer(self.target, self.target.transfer, self.measured)
        if others := [name for row in self.measured.values() for name in row.left_out.values()]:
            yield f"Left out, for they are of another network, checkpoint, attack, source, budget or number of images: {'; '.join(others)}."
        if not self.target.figure:
            yield from filter(None, (of_white_box(method, measured) for method, measured in self.measured.items()))

    def costs(self) -> tuple[list[str], list[list[str]]]:
        """What each row took, on the mean of its seeds."""
        head = ["", "recipe", "test images", "training", "evaluation", "audit", "hardware of the training"]
        rows: list[list[str]] = []
        for row in self.target.rows:
            measured = self.measured[row.method]
            evaluations, audits = list(measured.evaluations.values()), list(measured.audits.values())
            trainings = [each.training for each in evaluations if each.training]
            settings = "".join(f" --{setting} {value}" for setting, value in row.settings.items())
            rows.append(
                [
                    row.method,
                    row.recipe + settings,
                    "; ".join(dict.fromkeys(map(_images, evaluations))) or DASH,
                    _time(training.seconds for training in trainings),
                    _time(each.wall_time_seconds for each in evaluations),
                    _time(audit.wall_time_seconds for audit in audits),
                    "; ".join(dict.fromkeys(pairs(training.hardware) for training in trainings)) or DASH,
                ]
            )
        return head, rows

    def deviations(self) -> dict[str, str]:
        """Where the recipes depart from the paper at this scale, by recipe."""
        said = {row.recipe: recipes.load(row.recipe).about.get("deviations", {}).get(self.scale) for row in self.target.rows}
        return {recipe: " ".join(text.split()) for recipe, text in said.items() if text}

    def markdown(self) -> str:
        """All of it but the title."""
        lists = [f"- {sentence}" for sentence in self.sentences()], [f"- `{recipe}`: {text}." for recipe, text in self.deviations().items()]
        blocks = [*self.notes(), markdown(*self.table()), "\n".join(lists[0])]
        blocks += [f"Deviations at scale {self.scale}:", "\n".join(lists[1])] if lists[1] else []
        head, rows = self.costs()
        costs = [] if self.is_empty else [markdown(head, [[row[0], f"`{row[1]}`", *row[2:]] for row in rows])]
        return "\n\n".join(filter(None, [*blocks, *costs])) + "\n"

    def page(self) -> str:
        """The same as a page of its own."""
        claims = html.section("claims", "What the paper claims, and what happened here", *map(html.text, self.sentences()))
        return html.page("Reproduction", self.title, self.notes(), CAUTION, self.numbers(), claims, self.how())

    def numbers(self) -> Markup:
        """The table as a page's section."""
        return html.section("numbers", "The paper's numbers and ours", html.table("Numbers", *self.table()), html.text(LEGEND))

    def how(self) -> Markup:
        """Deviations and costs as a page's section."""
        deviations = [f"{recipe}: {text}." for recipe, text in self.deviations().items()]
        return html.section("how", "How it was made", *map(html.text, deviations), html.table("Costs", *self.costs()))

    def notes(self) -> list[str]:
        """What is to be known before the numbers."""
        return [note for note in (self.target.note, SMOKE if self.scale == "smoke" else "") if note]


def _cell(seeds: Iterable[Accuracy | Share]) -> str:
    """``96.1 (95.7 - 96.5)``, and from two seeds on their range."""
    each = list(seeds)
    found = mean(each)
    if not found:
        return DASH
    over = f"; seeds {span((min(one.top1 for one in each), max(one.top1 for one in each)))}" if len(each) > 1 else ""
    return f"{percent(found.top1, 1)} ({span(found.ci95)}{over})"


def _number(percentage: float | None) -> str:
    return DASH if percentage is None else f"{percentage:.1f}"


def _images(evaluation: EvaluationResults) -> str:
    """How many of which data set an evaluation is of, as it recorded them."""
    of = f" of {evaluation.test_images:,}" if evaluation.test_images not in (None, evaluation.examples) else ""
    return f"{evaluation.examples:,}{of}, {evaluation.data.name if evaluation.data else 'unknown'}"


def _time(seconds: Iterable[float]) -> str:
    known = list(seconds)
    return duration(fmean(known)) if known else DASH
