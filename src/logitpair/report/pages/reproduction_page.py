"""A table of the paper beside what is recorded of its networks, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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
from logitpair.report.text.format import arguments, duration, listing, pairs, span
from logitpair.report.text.summary import lead
from logitpair.reproduction.paper import COLUMNS, Claim, Row, Target
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
    "sources that are named. Audited: what no search of `logitpair audit` broke within its own budget of 200 gradients an image."
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
        folders = [records / recipe / scale for recipe in target.swept_recipes]
        names = [f"{records.name}/{recipe}/{scale}" for recipe in target.swept_recipes]
        files = write_sweeps(folders, page, FIGURE1, section.title, section.notes(), [section.numbers(), section.how()], names)
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
        sweeps = filter(None, (recorded_sweep(records / recipe / scale) for recipe in target.swept_recipes))
        measured = {row.method: RecordedRow.read(target, row, scale, records) for row in target.rows}
        known: dict[str, str] = {}
        for weights, name in (network for row in measured.values() for network in row.networks):
            if (before := known.setdefault(weights, name)) != name:
                raise InputError(f"{target.title}: the records of {before} and {name} are of one network; move one away")
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
            audited += f", of the first {others[0]:,}" if others else ""
            proven = [_cell(audit.certified for audit in of.audits.values() if audit.certified)] * certified
            rows.append([row.method, *proven, audited, *cells, of.counts])
        return head, rows

    def _by_source(self, attack: str) -> tuple[list[str], list[list[str]]]:
        (row,) = self.target.rows
        return [f"{attack} images made against", "paper %", "ours %"], [
            [source, _number(row.paper.get(source)), _cell(self._from(source, attack))] for source in self.target.sources
        ]

    def _from(self, source: str, attack: str) -> list[Accuracy]:
        """What images of one attack on one source leave of a transfer's row, one entry a seed."""
        (row,) = self.target.rows
        found = self.measured[row.method].evaluations.values()
        return [
            each.black_box[source].attacks[attack]
            for each in found
            if source in each.black_box and attack in each.black_box[source].attacks
        ]

    def _from_others(self, source: str) -> list[tuple[str, Accuracy]]:
        """What the worst attack on any other source leaves of a transfer's row, with the source and the attack, one entry a seed."""
        (row,) = self.target.rows
        others = [
            [
                (f"{attack} on {name}", found)
                for name, suite in each.black_box.items()
                if name in self.target.sources and name != source
                for attack, found in suite.attacks.items()
            ]
            for each in self.measured[row.method].evaluations.values()
        ]
        return [min(each, key=lambda pair: pair[1].top1) for each in others if each]

    def sentences(self) -> Iterator[str]:
        """Each claim beside what happened here, what a figure's sweeps found, and what the audits lowered."""
        yield from map(finding, self.sweeps)
        rows = {row.method: row for row in self.target.rows}
        for claim in self.target.claims:
            yield self._claim(claim, rows[claim.better], rows[claim.worse])
        if self.target.transfer:
            yield from self._transfer(self.target.transfer)
        if others := [name for row in self.measured.values() for name in row.left_out]:
            yield f"Left out, for they are of other attacks, sources, images or budgets than the table's: {'; '.join(others)}."
        if not self.target.figure:
            yield from filter(None, (_white_box(method, measured) for method, measured in self.measured.items()))

    def _claim(self, claim: Claim, better: Row, worse: Row) -> str:
        said = f"{better.method} has a higher accuracy than {worse.method}, {COLUMNS[claim.column]}"
        numbers = [row.paper.get(claim.column) for row in (better, worse)]
        paper = "" if None in numbers else f" In the paper {_number(numbers[0])}% against {_number(numbers[1])}%."
        ours = [self.measured[row.method].accuracies(self.target, row, claim.column) for row in (better, worse)]
        audits = [self.measured[row.method].audited() for row in (better, worse)]
        seeds, every = sorted(ours[0].keys() & ours[1].keys()), ours[0].keys() | ours[1].keys()
        first, second = (mean(of[seed] for seed in seeds) for of in ours)
        if not (first and second):
            return f"{said}.{paper} Not run here."
        said += f": {_verdict(first, second)}.{paper} Here{_under(seeds, every)} {_difference(first, second)}."
        audited = sorted(audits[0].keys() & audits[1].keys())
        left, others_left = (mean(of[seed] for seed in audited) for of in audits)
        if claim.column != "white_box" or not (left and others_left):
            return said
        of = "" if left.total == others_left.total else f", of {left.total:,} images and of {others_left.total:,}"
        return f"{said} Under the audit{_under(audited, every)} {_verdict(left, others_left)}: {_difference(left, others_left)}{of}."

    def _transfer(self, attack: str) -> Iterator[str]:
        """Whether the last source's images leave less than those of each other one."""
        (row,) = self.target.rows
        left = [mean(self._from(source, attack)) for source in self.target.sources]
        *others, last = zip(self.target.sources, left, strict=True)
        for name, found in others:
            said = f"{row.method} has a higher accuracy on images made against {name} than on those made against {last[0]}"
            if found and last[1]:
                yield f"{said}: {_verdict(found, last[1])}. Here {_difference(found, last[1])}."
            else:
                yield f"{said}. Not run here."
        said = f"{attack} on {last[0]} leaves less of {row.method} than every attack on every other source"
        if (worst := self._from_others(last[0])) and last[1]:
            found, names = mean(each for _, each in worst) or last[1], " or ".join(dict.fromkeys(name for name, _ in worst))
            yield f"{said}: {_verdict(found, last[1])}. Here {names} leaves {_text(found)} and {attack} on {last[0]} {_text(last[1])}."
        else:
            yield f"{said}. Not run here."

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


def _white_box(method: str, measured: RecordedRow) -> str:
    """What a white-box number is the worst of, how far the audits lower it, and what they judged; empty where either is missing."""
    seeds = sorted(measured.evaluations.keys() & measured.audits.keys())
    suites, audits = [measured.evaluations[seed] for seed in seeds], [measured.audits[seed] for seed in seeds]
    white, audited = mean(each.white_box for each in suites if each.white_box), mean(audit.robust_accuracy for audit in audits)
    if not (white and audited):
        return ""
    which = f", seed{'s' * (len(seeds) > 1)} {listing(list(map(str, seeds)))}" if len(seeds) < len(measured.evaluations) else ""
    worst = listing(list(dict.fromkeys(each.white_box.attack for each in suites if each.white_box)))
    union = mean(each.white_box_union for each in suites if each.white_box_union)
    alone = f" under {worst}, the worst of {len(suites[0].attacks)} attacks, which together leave {_text(union)}" if union else ""
    left = f"{_text(white)} of {white.total:,} images{alone if len(suites[0].attacks) > 1 else ''}"
    images = "the same" if audited.total == white.total else f"the first {audited.total:,}"
    ended = "" if all(audit.converged for audit in audits) else ", without coming to the end of its search"
    steps = arguments(audits[0].reference.parameters).get("steps", "some")
    judged = mean(audit.reference for audit in audits) or white
    tried = listing([f"{total:,}" for total in sorted({audit.reference.total for audit in audits})])
    verdicts = listing(list(dict.fromkeys(audit.verdict for audit in audits)))
    on = f"Its verdict is on an untargeted PGD of {steps} steps, which leaves {_text(judged)} of {tried} images: {verdicts}"
    return f"{method}, white box{which}: {left}; the audit leaves {_text(audited)} of {images}{ended}. {on}."


def _verdict(first: Accuracy | Share, second: Accuracy | Share) -> str:
    """What our numbers say of a claim that the first is above the second; other trainings may say otherwise."""
    _, low, high = lead(first, second)
    if low <= 0 <= high:
        return "the difference of these networks is not significant"
    return "it holds for these networks" if low > 0 else "for these networks it is the other way round"


def _difference(first: Accuracy | Share, second: Accuracy | Share) -> str:
    points, low, high = (f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}") for value in lead(first, second))
    return f"{_text(first)} against {_text(second)}, a difference of {points} points ({low} to {high})"


def _under(seeds: Sequence[int], every: Collection[int]) -> str:
    """Which seeds these are, where they are not every one."""
    return f", under seed{'s' * (len(seeds) > 1)} {listing(list(map(str, seeds)))} of both," if len(seeds) < len(every) else ""


def _cell(seeds: Iterable[Accuracy | Share]) -> str:
    """``96.1 (95.7 - 96.5)``, and from two seeds on their range."""
    each = list(seeds)
    found = mean(each)
    if not found:
        return DASH
    over = f"; seeds {span((min(one.top1 for one in each), max(one.top1 for one in each)))}" if len(each) > 1 else ""
    return f"{percent(found.top1, 1)} ({span(found.ci95)}{over})"


def _text(found: Accuracy | Share) -> str:
    return f"{percent(found.top1, 1)}% ({span(found.ci95)})"


def _number(percentage: float | None) -> str:
    return DASH if percentage is None else f"{percentage:.1f}"


def _images(evaluation: EvaluationResults) -> str:
    """How many of which data set an evaluation is of, as it recorded them."""
    of = f" of {evaluation.test_images:,}" if evaluation.test_images not in (None, evaluation.examples) else ""
    return f"{evaluation.examples:,}{of}, {evaluation.data.name if evaluation.data else 'unknown'}"


def _time(seconds: Iterable[float]) -> str:
    known = list(seconds)
    return duration(fmean(known)) if known else DASH
