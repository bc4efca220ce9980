"""The notebooks run from top to bottom, each in a process and a folder of its own, and hold no outputs."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import commands
import documents
import pytest

pytestmark = pytest.mark.slow

FOLDER = documents.ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def run(name: str) -> None:
    """Execute the cells as a notebook does, but for showing the value of the last line of each."""
    import matplotlib as mpl

    mpl.use("agg")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="(?!logitpair)")
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in json.loads((FOLDER / name).read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), name, "exec", dont_inherit=True), names)  # noqa: S102


def test_there_are_three() -> None:
    assert NOTEBOOKS == ["attack-and-defense.ipynb", "ledger.ipynb", "verdict.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    done = commands.call(tmp_path, run, name).wait(300)
    assert done.code == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs_and_its_links_lead_somewhere(name: str) -> None:
    content = json.loads((FOLDER / name).read_text())
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        for target in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"])):
            assert (FOLDER / target).exists(), target
