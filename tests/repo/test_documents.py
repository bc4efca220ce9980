"""The documents name what exists: their links lead somewhere, their Python names resolve, and the site builds without a warning."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import documents
import pytest

ROOT = documents.ROOT
RECIPES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "src" / "logitpair" / "recipes").glob("*.yaml"))
FILES = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*")]
SOURCES = sorted(path for path in FILES if path.suffix in (".py", ".sh", ".yaml"))


def resolves(name: str) -> bool:
    """Whether a dotted name leads to a module, a class or whatever else it names."""
    found: object = importlib.import_module("logitpair")
    path = "logitpair"
    for part in name.split(".")[1:]:
        path += f".{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(path)
            except ImportError:
                return False
    return True


@pytest.mark.parametrize("page", documents.PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", documents.text(page))
    missing = [target for target in targets if "://" not in target and not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


@pytest.mark.parametrize("page", [*documents.PAGES, *RECIPES])
def test_python_names_resolve(page: str) -> None:
    text = documents.text(page)
    names = set(re.findall(r"\blogitpair(?:\.\w+)+", text)) | {f"logitpair{rest}" for rest in re.findall(r"\blp((?:\.\w+)+)", text)}
    assert not sorted(name for name in names if not resolves(name))


def test_every_page_that_the_code_names_exists() -> None:
    named = {(path, page) for path in SOURCES for page in re.findall(r"\bdocs/[\w/.-]+\.(?:md|svg|png)", path.read_text())}
    assert not sorted(f"{path.relative_to(ROOT)}: {page}" for path, page in named if not (ROOT / page).exists())


def test_every_page_is_in_the_navigation() -> None:
    navigation = documents.text("mkdocs.yml")
    assert not [page for page in documents.PAGES if page.startswith("docs/") and page.removeprefix("docs/") not in navigation]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    index = (tmp_path / "site" / "index.html").read_text()
    assert not re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="https?://(?!logitpair)[^"]+', index), "the site needs the network"
