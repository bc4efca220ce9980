"""A training that targets want: its recipe, settings and seed, where it lies, and whose images it takes. Imports no torch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from logitpair.config import recipes
from logitpair.reproduction.paper import Row
from logitpair.sweeps import grid

recipe_of = functools.cache(recipes.load)  # none is changed here


@dataclass(frozen=True)
class PlannedRun:
    """A recipe with settings of its own under a seed. Targets that want the same one share it."""

    recipe: str
    settings: tuple[tuple[str, str], ...]
    seed: int

    @classmethod
    def of(cls, row: Row, seed: int) -> PlannedRun:
        """The run of a row."""
        return cls(row.recipe, tuple(row.settings.items()), seed)

    @property
    def static_sources(self) -> list[PlannedRun]:
        """The runs that ensemble adversarial training takes its static sources from: of the recipes that its own names its sources by."""
        settings = recipe_of(self.recipe).run["objective"].get("init_args", {})
        return [PlannedRun(Path(source["init_args"]["run"]).name, (), self.seed) for source in settings.get("sources", [])]

    def black_box_source(self, recipe: str) -> PlannedRun:
        """An independently trained source of black-box images: under another seed, the same whatever the number of seeds."""
        return PlannedRun(recipe, self.settings if recipe == self.recipe else (), self.seed - 1 if self.seed else 1)

    def path(self, scale: str) -> Path:
        """``RECIPE/SCALE/[setting=value/]seed-N``: of the run directory below ``runs``, and of its records below ``results``."""
        return Path(self.recipe, scale, grid.folder(dict(self.settings), self.seed))
