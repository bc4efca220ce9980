"""A run directory and the settings it was begun with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from logitpair import InputError, recipes, run as runs


def test_a_run_that_began_before_a_setting_was_there_resumes_with_its_default(tmp_path: Path) -> None:
    settings = recipes.resolve(recipes.load("digits-plain").run)
    runs.prepare(tmp_path / "run", "digits-plain", None, settings)
    path = tmp_path / "run" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    del content["run"]["fine_tuning"], content["run"]["seed"]
    path.write_text(yaml.safe_dump(content))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.pt").touch()
    runs.prepare(tmp_path / "run", "digits-plain", None, settings)
    other = recipes.resolve(recipes.load("digits-plain").run, ["--fine_tuning.trainable", "[hidden]"])
    with pytest.raises(InputError, match="begun with fine_tuning.trainable"):
        runs.prepare(tmp_path / "run", "digits-plain", None, other)
