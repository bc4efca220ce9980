"""A table of the paper beside what is recorded of its networks, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from logitpair.config import recipes
from logitpair.evaluation.confidence import percent
from logitpair.evaluation.result import markdown
from logitpair.report.figures.sweep_figures import Reference
from logitpair.report.pages import elements as html
from logitpair.report.pages.sweep_page import finding, write_sweeps
from logitpair.report.records import load_sweep
from logitpair.report.text.format import duration, pairs, span
from logitpair.report.text.summary import lead
from logitpair.reproduction.paper import COLUMNS, Claim, Row, Target
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.records import Measured, Run, accuracy, keep_sweep, mean
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import Accuracy, SweepResults

CAUTION = (
    "Accuracy under attack is an upper bound: a stronger attack can only lower it, and where there is an audit, its number is the one to "
    "quote. Intervals (95%) tell what another draw of test images could change, the range over seeds what another training changed. Scales "
    "other than the paper's have smaller networks, shorter trainings or other images: they repeat its comparisons, not its numbers."
)
FIGURE1 = (
    Reference("Gaussian noise alone in the paper (about 25%)", 0.25, "mnist-noise"),
    Reference("logit squeezing in the paper (86.4%, Table 7)", 0.864, "mnist-squeezing"),
)
DASH = html.DASH


def write_target(name: str, plan: Plan, records: Path) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.html``, of a figure also ``NAME.svg``, from what is recorded. Returns the files."""
    target, page = plan.known[name], plan.out / f"{name}.html"
    files = [page]
    if target.figure:
        runs = [Run.of(row, seed) for row in target.rows for seed in range(plan.seeds)]
        by_recipe = [[run for run in runs if run.recipe == recipe] for recipe in dict.fromkeys(run.recipe for run in runs)]
        sweeps = [keep_sweep(some, plan.scale, plan.out / "runs", records) for some in by_recipe]
        files = write_sweeps(sweeps, page, FIGURE1, target.title)
    section = Section.read(target, plan.scale, records)
    if not target.figure:
        atomic_write(page, section.page())
    text = page.with_suffix(".md")
    atomic_write(text, f"# {target.title}\n\n{section.markdown()}")
    return [text, *files]


@dataclass(frozen=True)
class Section:
    """A target at a scale: the paper's numbers and what is recorded."""

    target: Target
    scale: str
    measured: dict[str, Measured]  # by the row's method
    sweeps: tuple[SweepResults, ...]  # of a figure

    @classmethod
    def read(cls, target: Target, scale: str, records: Path) -> Section:
        """From the folder that all records lie in."""
        folders = [records / recipe / scale for recipe in dict.fromkeys(row.recipe for row in target.rows) if target.figure]
        sweeps = tuple(load_sweep(folder) for folder in folders if (folder / "sweep.json").exists())
        return cls(target, scale, {row.method: Measured.read(row, scale, records) for row in target.rows}, sweeps)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded."""
        return not any(measured.evaluations for measured in self.measured.values())

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: the paper's numbers, ours with interval and range over the seeds, and what an audit left."""
        if self.target.transfer:
            return self._by_source(self.target.transfer)
        head = ["", *(words for column in self.target.columns for words in (f"{COLUMNS[column]}: paper %", "ours %")), "audited %", "seeds"]
        rows: list[list[str]] = []
        for row in self.target.rows:
            of, cells = self.measured[row.method], list[str]()
            for column in self.target.columns:
                cells += [_number(row.paper.get(column)), _cell(of.accuracies(self.target, row, column))]
            audited = [audit.robust_accuracy for audit in of.audits]
            rows.append([row.method, *cells, _cell(audited), str(len(of.evaluations) or "not run")])
        return head, rows

    def _by_source(self, attack: str) -> tuple[list[str], list[list[str]]]:
        (row,) = self.target.rows
        return [f"{attack} images made against", "paper %", "ours %"], [
            [source, _number(row.paper.get(source)), _cell(self._from(source, attack))] for source in self.target.sources
        ]

    def _from(self, source: str, attack: str) -> list[Accuracy]:
        """What images of one attack on one source leave of a transfer's row, one entry a seed."""
        (row,) = self.target.rows
        return [each.black_box[source].attacks[attack] for each in self.measured[row.method].evaluations if source in each.black_box]

    def sentences(self) -> Iterator[str]:
        """Each claim beside what happened here, what a figure's sweeps found, and what the audits lowered."""
        yield from map(finding, self.sweeps)
        rows = {row.method: row for row in self.target.rows}
        for claim in self.target.claims:
            yield self._claim(claim, rows[claim.better], rows[claim.worse])
        if self.target.transfer:
            by_source = {source: mean(self._from(source, self.target.transfer)) for source in self.target.sources}
            known = {source: found for source, found in by_source.items() if found}
            *others, alp = known
            if others:
                best = min(others, key=lambda name: known[name].top1)
                yield _compared(f"Images made against {best} leave more than those against {alp}", known[best], known[alp], "")
        for method, measured in self.measured.items():
            whites = [accuracy(each, "white_box", ()) for each in measured.evaluations]
            white, audited = mean([each for each in whites if each]), mean([audit.robust_accuracy for audit in measured.audits])
            if white and audited:
                verdicts = ", ".join(dict.fromkeys(audit.verdict for audit in measured.audits))
                yield (
                    f"The audit lowers {method} from {_text(white)}, white box, of {white.total:,} images to {_text(audited)} of the first "
                    f"{audited.total:,}: {verdicts}."
                )

    def _claim(self, claim: Claim, better: Row, worse: Row) -> str:
        said = f"{better.method} keeps more right than {worse.method}, {COLUMNS[claim.column]}"
        numbers = [row.paper.get(claim.column) for row in (better, worse)]
        paper = "" if None in numbers else f" In the paper {numbers[0]} against {numbers[1]}%."
        ours = [mean(self.measured[row.method].accuracies(self.target, row, claim.column)) for row in (better, worse)]
        first, second = ours
        return _compared(said, first, second, paper) if first and second else f"{said}.{paper} Not run here."

    def costs(self) -> tuple[list[str], list[list[str]]]:
        """What each row took, on the mean of its seeds."""
        head = ["", "recipe", "training", "evaluation", "audit", "hardware of the training"]
        rows: list[list[str]] = []
        for row in self.target.rows:
            of = self.measured[row.method]
            trainings = [each.training for each in of.evaluations if each.training]
            settings = "".join(f" --{setting} {value}" for setting, value in row.settings.items())
            rows.append(
                [
                    row.method,
                    f"`{row.recipe}{settings}`",
                    _time(training.seconds for training in trainings),
                    _time(each.wall_time_seconds for each in of.evaluations),
                    _time(audit.wall_time_seconds for audit in of.audits),
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
        blocks = [markdown(*self.table()), self.target.note, "\n".join(lists[0])]
        blocks += [f"Deviations at scale {self.scale}:", "\n".join(lists[1])] if lists[1] else []
        return "\n\n".join(filter(None, [*blocks, markdown(*self.costs())])) + "\n"

    def page(self) -> str:
        """The same as a page of its own."""
        costs, deviations = self.costs(), [f"{recipe}: {text}." for recipe, text in self.deviations().items()]
        sections = [
            html.section("numbers", f"The paper's numbers and ours, scale {self.scale}", html.table("Numbers", *self.table())),
            html.section("claims", "What the paper claims, and what happened here", *map(html.text, self.sentences())),
            html.section("how", "How it was made", *map(html.text, deviations), html.table("Costs", *costs)),
        ]
        return html.page("Reproduction", self.target.title, filter(None, [self.target.note]), CAUTION, *sections)


def _compared(said: str, first: Accuracy, second: Accuracy, paper: str) -> str:
    points, low, high = (100 * value for value in lead(first, second))
    verdict = "so it is here" if low > 0 else "here it is the other way round" if high < 0 else "here the images cannot tell"
    difference = f"a difference of {points:+.1f} points ({low:+.1f} to {high:+.1f})".replace("-", "\N{MINUS SIGN}")
    return f"{said}: {verdict}.{paper} Here {_text(first)} against {_text(second)}, {difference}."


def _cell(seeds: Sequence[Accuracy]) -> str:
    """``96.1 (95.7 - 96.5)``, and from two seeds on their range."""
    found = mean(seeds)
    if not found:
        return DASH
    over = f"; seeds {span((min(each.top1 for each in seeds), max(each.top1 for each in seeds)))}" if len(seeds) > 1 else ""
    return f"{percent(found.top1, 1)} ({span(found.ci95)}{over})"


def _text(found: Accuracy) -> str:
    return f"{percent(found.top1, 1)}% ({span(found.ci95)})"


def _number(percentage: float | None) -> str:
    return DASH if percentage is None else f"{percentage:g}"


def _time(seconds: Iterable[float]) -> str:
    known = list(seconds)
    return duration(fmean(known)) if known else DASH
