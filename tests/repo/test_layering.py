"""Imports point one way, from the ground of the house to its roof, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import logitpair

SOURCE = Path(logitpair.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ROOT = ("errors", "validate", "rng", "threat", "losses")  # what someone imports who writes an attack or a defense
# The ground first. A wing imports the root and the wings before it; those of a line do not import each other.
WINGS = (
    ("root",),
    ("runtime", "storage"),
    ("optim",),  # a module of the root that takes timm from runtime
    ("models", "data"),
    ("bounds",),
    ("attacks",),
    ("objectives",),
    ("evaluation",),
    ("certification",),
    ("auditing",),
    ("config",),
    ("training",),
    ("runs",),
    ("sweeps",),
    ("reproduction",),
    ("benchmark",),
    ("report",),  # beside the road: it reads files only
    ("cli",),
)
DRAWING = ("evaluation/result.py", "auditing/result.py")  # whose methods ``plots`` import the report's figures when they are called
HEIGHT = {wing: height for height, wings in enumerate(WINGS) for wing in wings}


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in the file but in the methods of ``DRAWING``."""
    found = set()
    tree = ast.parse(path.read_text())
    plots = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "plots" and name(path) in DRAWING]
    skipped = {inner for function in plots for inner in ast.walk(function)}
    for node in set(ast.walk(tree)) - skipped:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wing(path: Path) -> str:
    """The wing of a file: ``attacks`` for ``attacks/pgd.py``, ``root`` for ``threat.py``."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "root" if first in ROOT else first


def wings_of_imports(path: Path) -> set[str]:
    """Wings that a file imports from."""
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("logitpair.")}
    return {"root" if part in ROOT else part for part in parts} & HEIGHT.keys()


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_root_holds_eight_modules() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} == {"__init__", "__main__", "optim", *ROOT}


@pytest.mark.parametrize("path", [path for path in FILES if wing(path) not in ("__init__", "__main__")], ids=name)
def test_imports_point_down(path: Path) -> None:
    assert wing(path) in HEIGHT, f"{name(path)} belongs to no wing"
    upward = [other for other in wings_of_imports(path) - {wing(path)} if HEIGHT[other] >= HEIGHT[wing(path)]]
    assert not upward, f"{name(path)} imports {upward}, which are not below it"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_one_file_knows_each_of_torch_distributed_torchft_and_torchvision(path: Path) -> None:
    found = imports(path)
    if path.name != "distributed.py":
        assert not [module for module in found if module.startswith(("torch.distributed", "torch.nn.parallel"))]
    if path.name != "elastic.py":
        assert not [module for module in found if module.split(".")[0] == "torchft"]
    if path.name != "lazy_imports.py":
        assert not [module for module in found if module.split(".")[0] in ("torchvision", "timm")]
