"""What is said of paths that are no run directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from logitpair.storage.run_folder import no_run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("demo/alp/checkpoints/last.pt", "'demo/alp/checkpoints/last.pt' is a part of a run; give the run, demo/alp"),
        ("demo/alp/config.yaml", "'demo/alp/config.yaml' is a part of a run; give the run, demo/alp"),
        ("demo", "'demo' holds nothing, but there are runs in it; give those, such as demo/alp"),
        ("photos", "'photos' holds nothing; give a folder that `logitpair train` wrote"),
        ("demo/apl", "no folder 'demo/apl'; give one that `logitpair train` wrote"),
    ],
)
def test_the_run_that_is_meant_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("demo/alp/checkpoints", "demo/plain", "photos/cat"):
        Path(folder).mkdir(parents=True)
    for file in ("demo/alp/config.yaml", "demo/plain/config.yaml", "demo/alp/checkpoints/last.pt"):
        Path(file).touch()
    assert str(no_run(Path(given), "holds nothing")) == f"RUN: {said}"
