"""What need not wait for PyTorch does not load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import logitpair as lp
from logitpair.cli.parser import COMMANDS

SETTINGS = ("train", "sweep", "plan")  # whose parsers know every class that a setting may name
HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "pandas", "timm", "torch._dynamo", "sympy", "scipy.stats")

AUDIT = """
import os
os.environ.pop("OMP_NUM_THREADS", None)
import torch
import logitpair as lp
model, x = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)), torch.rand(4, 1, 2, 2)
lp.audit(model, (x, model(x).argmax(1)), threat=lp.Linf(1e-6), budget=9, progress=False)
from logitpair.auditing.convergence import further_breaks
further_breaks([(1, 1.0)], 9)
"""


def loaded(code: str) -> set[str]:
    """The heavy libraries that a fresh Python has loaded after the code."""
    code += f"\nimport sys\nsys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))"
    path = str(Path(lp.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", f"import sys\nsys.path.insert(0, {path!r})\n{code}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def command(*arguments: str) -> str:
    return f"from logitpair.cli.main import main\nassert main({list(arguments)}) == 0"


def test_the_package_and_its_errors() -> None:
    assert not loaded("import logitpair as lp\nlp.InputError\nassert 'evaluate' in dir(lp)\nfrom logitpair.config import recipes")
    assert "torch" in loaded("import logitpair as lp\nlp.attacks.PGD")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recipes"]])
def test_commands_that_need_none(arguments: list[str]) -> None:
    assert not loaded(command(*arguments))


def test_help_of_commands_without_settings() -> None:
    assert not loaded("\n".join(command(name, "--help") for name in COMMANDS if name not in SETTINGS))


def test_the_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert "torch" not in loaded(command("report", str(run)))
    assert "torch" not in loaded("import logitpair.report.pages.reproduction_page")
    assert (run / "report.html").exists()


def test_an_audit_needs_neither_pytorch_s_compiler_nor_all_of_statistics() -> None:
    assert loaded(AUDIT) == {"torch", "scipy"}


def test_mistaken_options_are_refused_at_once() -> None:
    mistaken = "from logitpair.cli.main import main\nimport io, contextlib\nwith contextlib.redirect_stderr(io.StringIO()):\n"
    assert not loaded(mistaken + "    assert main(['evaluate', 'run', '--seed', 'x']) == 2\n    assert main(['audit']) == 2")


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(lp, name) is not None for name in lp.__all__)
    assert set(lp.__all__) <= set(dir(lp))
    with pytest.raises(AttributeError, match="module 'logitpair' has no attribute 'nothing'"):
        lp.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lp.config.nothing  # noqa: B018
    assert callable(lp.audit)
    assert sys.modules["logitpair.auditing"].__path__, "the function hides no package"
    assert lp.config.RunConfig is sys.modules["logitpair.config.run_config"].RunConfig
