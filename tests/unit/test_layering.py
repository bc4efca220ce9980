"""Imports point one way, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import logitpair

SOURCE = Path(logitpair.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# From the ground up; a part imports only what stands before it. `config` stands below `train`, which takes a RunConfig.
LAYERS = (
    ("errors", "files", "statistics", "compat", "fingerprint"),
    ("validate", "describe", "environment", "precision", "interrupt"),
    ("random",),
    ("threat", "losses", "distributed", "elastic", "checkpoint", "optim", "memory"),
    ("weights",),
    ("models", "data"),
    ("attacks",),
    ("objectives",),
    ("metrics",),
    ("results", "ledger", "adversarial"),
    ("sweep",),
    ("report",),
    ("evaluation",),
    ("trials",),
    ("summary",),
    ("console",),
    ("evaluate", "verify"),
    ("transfer",),
    ("audit",),
    ("config",),
    ("state", "feed"),
    ("step",),
    ("train", "cost"),
    ("recipes",),
    ("suites",),
    ("run",),
    ("subject", "sweeping"),
    ("commands",),
    ("cli",),
    ("worker",),
)
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or ""} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def part(path: Path) -> str:
    """The file or folder of the house: ``attacks`` for ``attacks/pgd.py``."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def own_parts(path: Path) -> set[str]:
    """Parts of the house that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("logitpair.")} & {part(file) for file in FILES}


def names(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_point_down(path: Path) -> None:
    if part(path) == "__init__":
        return
    assert part(path) in HEIGHT, f"{names(path)} has no layer: give it one in this test"
    upward = [other for other in own_parts(path) - {part(path)} if HEIGHT[other] > HEIGHT[part(path)]]
    assert not upward, f"{names(path)} imports {upward}, which stand above it"


def test_parts_of_a_layer_do_not_import_each_other_in_a_circle() -> None:
    uses = {name: set() for name in HEIGHT}
    for path in FILES:
        if part(path) in uses:
            uses[part(path)] |= own_parts(path) - {part(path)}
    done: set[str] = set()
    while ready := {name for name, used in uses.items() if name not in done and used <= done}:
        done |= ready
    assert done == set(uses)


@pytest.mark.parametrize("path", [path for path in FILES if part(path) in ("models", "data")], ids=names)
def test_models_and_data_know_nothing_of_attacks_and_training(path: Path) -> None:
    assert own_parts(path) <= {"models", "data", "compat", "errors", "files", "random", "validate", "weights"}


def test_the_report_reads_files_and_imports_no_torch() -> None:
    seen, waiting = set(), {path for path in FILES if part(path) == "report"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        foreign = {name for name in imports(path) if name.split(".")[0] in ("torch", "torchvision", "timm")}
        assert not foreign, f"report imports {foreign} by {names(path)}"
        for name in own_parts(path):
            waiting |= {other for other in FILES if part(other) == name} - seen


@pytest.mark.parametrize("path", FILES, ids=names)
def test_only_one_file_knows_each_of_torch_distributed_torchft_and_torchvision(path: Path) -> None:
    found = imports(path)
    if path.name != "distributed.py":
        assert not [name for name in found if name.startswith(("torch.distributed", "torch.nn.parallel"))]
    if path.name != "elastic.py":
        assert not [name for name in found if name.split(".")[0] == "torchft"]
    if path.name != "compat.py":
        assert not [name for name in found if name.split(".")[0] in ("torchvision", "timm")]
