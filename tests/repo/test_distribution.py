"""The wheel holds the whole package and nothing else; ``make check-dist`` installs it into an empty environment and runs it there."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from documents import ROOT, text

import logitpair


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    suffixes = {Path(name).suffix for name in files}
    assert suffixes >= {".py", ".yaml", ".html", ".css", ".typed"}


def test_the_wheel_has_its_command_and_its_licence(wheel: zipfile.ZipFile) -> None:
    names = {name.partition(".dist-info/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "logitpair = logitpair" in wheel.read(names["entry_points.txt"]).decode()
    assert "licenses/LICENSE" in names
    metadata = wheel.read(names["METADATA"]).decode()
    assert f"Version: {logitpair.__version__}\n" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == logitpair.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license"} <= citation.keys()


def test_every_supported_python_is_tested() -> None:
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text("pyproject.toml"))
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            for target in re.findall(r"make .*?([\w-]+)$", step.get("run", "")):
                assert re.search(rf"^{target}:", text("Makefile"), re.MULTILINE), target
