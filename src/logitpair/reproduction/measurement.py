"""What is measured of a run, and whether results are that: of the right network, images, attacks and budget. Imports no torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logitpair.reproduction.paper import Row, Target
from logitpair.reproduction.planned_run import PlannedRun, recipe_of
from logitpair.storage.results import BUDGET, AuditResults, EvaluationResults, Results

EXAMPLES = {"smoke": 8}  # test images of an evaluation, from the first, by scale; all at others
AUDITED = {"smoke": 4, "cpu": 1000}  # likewise of an audit
AUDIT_BUDGET = {"smoke": 20}  # likewise; an audit's own at others


@dataclass
class Measurement:
    """What is measured of a run at a scale, for all targets together."""

    run: PlannedRun
    scale: str
    attacks: str | None
    reference: str | None
    sources: set[str] = field(default_factory=set[str])  # recipes; which run of each is ``black_box_source``'s to say
    audited: bool = False
    swept: bool = False  # drawn with what its recipe's other settings give

    @classmethod
    def of(cls, target: Target, row: Row, run: PlannedRun, scale: str) -> Measurement:
        """What a target wants of its row's run."""
        sources = set(target.sources_of(row))
        return cls(run, scale, target.attacks, target.reference, sources, audited=not target.figure, swept=target.figure)

    def is_in(self, evaluation: EvaluationResults) -> bool:
        """Whether an evaluation is whole, under the attacks that are wanted and no others, and has all sources that are wanted."""
        wanted = searched_attacks(self.run.recipe, self.scale, self.attacks)
        suites = [evaluation.attacks, *(evaluation.black_box[name].attacks for name in self.sources & evaluation.black_box.keys())]
        alike = all({name: searched_as(attack.parameters) for name, attack in suite.items()} == wanted for suite in suites)
        return self._is_of(evaluation) and alike and self.sources <= evaluation.black_box.keys()

    def is_from_sources(self, evaluation: EvaluationResults) -> bool:
        """Whether the black-box images in a run directory were made against the runs that are wanted, wherever these lay."""
        lies = {name: self.run.black_box_source(name).path(self.scale).parts for name in self.sources}
        known = {name: Path(source.run).parts for name, source in evaluation.sources.items()}
        return all(known.get(name, ())[-len(parts) :] == parts for name, parts in lies.items())

    def is_judged_by(self, audit: AuditResults) -> bool:
        """Whether an audit is whole, and of the reference attack, its ball and at least the budget that are wanted."""
        right = searched_as(audit.reference.parameters) == self._judged and audit.budget >= AUDIT_BUDGET.get(self.scale, BUDGET)
        return self._is_of(audit) and right and audit.threat == self._ball

    def loses(self, before: EvaluationResults | AuditResults) -> list[str]:
        """What results are that the measurement is not, so that it must not be written over them."""
        tried = (EXAMPLES if isinstance(before, EvaluationResults) else AUDITED).get(self.scale, before.examples)
        lost = [f"of the checkpoint {before.checkpoint}"] if before.checkpoint != "last" else []
        if before.examples > tried:
            lost.append(f"of {before.examples} images for {tried}")
        if isinstance(before, AuditResults):
            return [*lost, "in another ball"] if before.threat != self._ball else lost
        searched = searched_attacks(self.run.recipe, self.scale, self.attacks)
        others = [name for name, parameters in before.parameters.items() if searched_as(parameters) != searched.get(name)]
        return [*lost, f"under other attacks ({', '.join(others)})"] if others else lost

    @property
    def _judged(self) -> str:
        """The attack that an audit is to judge, as ``searched_as`` gives it."""
        return next(iter(searched_attacks(self.run.recipe, self.scale, self.reference).values()))

    @property
    def _ball(self) -> Any:
        return json.loads(self._judged)["init_args"].get("threat")

    def _is_of(self, results: EvaluationResults | AuditResults) -> bool:
        """Whether results are whole, and of the run's recipe at the scale and its last checkpoint."""
        of = (results.recipe, results.scale, results.checkpoint)
        return is_whole(results, self.scale) and of == (self.run.recipe, self.scale, "last")


def is_whole(results: EvaluationResults | AuditResults, scale: str) -> bool:
    """Whether results are of a finished training, and of as many images as are tried at the scale, or as there are."""
    tried = EXAMPLES if isinstance(results, EvaluationResults) else AUDITED
    limits = [limit for limit in (tried.get(scale), results.test_images) if limit]
    return results.training is not None and bool(limits) and results.examples >= min(limits)


def is_of_one_network(evaluation: EvaluationResults, other: Results) -> bool:
    """Whether an evaluation and what else was measured are of the same training and weights."""
    return (evaluation.training, evaluation.weights) == (other.training, other.weights)


@functools.cache
def searched_attacks(recipe: str, scale: str, attacks: str | None) -> Mapping[str, str]:
    """What ``searched_as`` is of each attack that a step's ``--attacks`` names, or of the recipe's own, by name."""
    from logitpair.config import attack_specs, parsing  # with torch, which what records nothing does without
    from logitpair.storage.class_path import describe

    found = parsing.resolve(recipe_of(recipe).at_scale(scale)).config.evaluation.attacks
    if attacks is not None:
        found = attack_specs.read_attacks(attacks, next(iter(found.values())))
    return {name: searched_as(describe(attack)) for name, attack in found.items()}


def searched_as(parameters: object) -> str:
    """An attack's parameters as text to compare: all but whether it stops early, which an evaluation decides by what it has to show."""
    found = json.loads(json.dumps(parameters))
    found["init_args"].pop("early_stop", None)
    return json.dumps(found, sort_keys=True)
