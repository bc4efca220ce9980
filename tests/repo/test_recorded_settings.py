"""A recipe whose results are recorded is not changed without them, also by a change of one that it is like."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from logitpair.config import recipes

RESULTS = Path(__file__).parents[2] / "results"
KNOWN = Path(__file__).with_name("recorded_settings.json")


def digest(recipe: str, scale: str) -> str:
    """Of what is trained by; how training is watched and what evaluation tries is no part of it."""
    run = {key: value for key, value in recipes.load(recipe).at_scale(scale).items() if key not in ("validation", "evaluation")}
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]


def test_results_are_of_the_settings_that_their_recipe_has() -> None:
    recorded = [path for path in sorted(RESULTS.glob("*/*")) if path.is_dir()]
    assert recorded
    now = {path.relative_to(RESULTS).as_posix(): digest(path.parent.name, path.name) for path in recorded}
    known = json.loads(KNOWN.read_text())
    changed = {path: now.get(path) for path in sorted(now.keys() | known.keys()) if now.get(path) != known.get(path)}
    assert not changed, f"record these anew, and then write down what they are of in {KNOWN.name}: {json.dumps(changed)}"
