"""``docs/reproduction.md`` is what its generator makes of ``results/``, where all that is recorded has one shape."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import documents

from logitpair.config import recipes
from logitpair.reproduction.record_files import RECORDED
from logitpair.storage.result_files import read_record
from logitpair.storage.results import EvaluationResults

RESULTS = documents.ROOT / "results"
RUNS = sorted(RESULTS.glob("**/seed-*"))


def test_the_page_is_what_the_command_gives() -> None:
    path = documents.ROOT / "docs" / "generate_reproduction.py"
    spec = importlib.util.spec_from_file_location("generate_reproduction", path)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.page() == (documents.ROOT / "docs" / "reproduction.md").read_text(), "run `python docs/generate_reproduction.py`"


def test_every_run_lies_below_its_recipe_and_scale() -> None:
    for run in RUNS:
        recipe, scale, *_ = run.relative_to(RESULTS).parts
        assert recipe in recipes.names(), run
        assert scale in ("paper", *recipes.load(recipe).scales), run
        for path in run.glob("*.json"):
            kind = next((kind for kind, name in RECORDED.items() if name == path.name), EvaluationResults)  # of other attacks, too
            assert read_record(path, kind, "test").recipe in (recipe, None), path


def test_no_record_names_a_path_of_the_machine_it_was_made_on() -> None:
    assert not [path for path in RESULTS.rglob("*.json") if '"/' in Path(path).read_text()]
