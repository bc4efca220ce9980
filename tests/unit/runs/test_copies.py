"""Copies of runs: the same files there and back, results last, and never taken for whole when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from command_line import failing
from fsspec.implementations.memory import MemoryFileSystem

from logitpair.cli.main import main

NAMES = (
    "checkpoints/last.pt",
    "config.yaml",
    "metrics.jsonl",
    "evaluation/test/ledger.npz",
    "evaluation/test/results.json",
    "training.json",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for number, name in enumerate((*NAMES, ".lock", "evaluation/.part/x")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * number)
    return folder


@pytest.fixture
def there(tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/runs/alp"


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_copy_there_and_back_holds_the_same_files(run: Path, there: str, tmp_path: Path, kind: str) -> None:
    url = there if kind == "memory" else f"file://{tmp_path}/copies/alp"
    assert main(["copy", str(run), url]) == 0
    assert main(["copy", str(run), url]) == 0, "again"
    assert main(["copy", url, str(tmp_path / "back")]) == 0
    assert content(tmp_path / "back") == {name: (run / name).read_bytes() for name in NAMES}


def test_what_lies_behind_a_link_is_copied_too(run: Path, there: str, tmp_path: Path) -> None:
    expected = {name: (run / name).read_bytes() for name in NAMES}
    (run / "checkpoints").rename(tmp_path / "scratch")
    (run / "checkpoints").symlink_to(tmp_path / "scratch")
    (run / "evaluation" / "up").symlink_to(run)  # nothing new
    assert main(["copy", str(run), there]) == 0
    assert main(["copy", there, str(tmp_path / "back")]) == 0
    assert content(tmp_path / "back") == expected


def test_results_come_last_and_a_copy_that_fails_is_marked_until_it_is_whole(
    run: Path, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put, copied = MemoryFileSystem.put_file, list[str]()

    def failing_at_results(self: Any, source: str, target: str, **options: Any) -> None:
        copied.append(Path(source).relative_to(run).as_posix())
        if target.endswith("results.json"):
            raise ConnectionError("the network is down")
        put(self, source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "put_file", failing_at_results)
        line = failing(capsys, "copy", str(run), there)
    assert f"DESTINATION: '{there}' raised ConnectionError: the network is down; the copy there is not whole" in line
    assert copied == ["checkpoints/last.pt", "config.yaml", "evaluation/test/ledger.npz", "metrics.jsonl", "evaluation/test/results.json"]
    assert f"the copy at '{there}' is not whole" in failing(capsys, "copy", there, str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()
    assert main(["copy", str(run), there]) == 0
    assert main(["copy", there, str(tmp_path / "back")]) == 0


def test_files_that_came_short_are_noticed_on_both_ways(
    run: Path, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = fsspec.filesystem("memory")
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "put_file", lambda self, source, target, **_: files.pipe_file(target, b""))
        assert "config.yaml has 0 bytes in the copy and 1 in the original; the copy" in failing(capsys, "copy", str(run), there)
    assert main(["copy", str(run), there]) == 0
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda self, source, target: Path(target).touch())
    assert "bytes in the copy" in failing(capsys, "copy", there, str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_what_cannot_be_copied_is_refused(run: Path, there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "are both folders; give one of each" in failing(capsys, "copy", str(run), str(tmp_path / "other"))
    assert "are both URLs; give one of each" in failing(capsys, "copy", there, there)
    assert "is no folder with files" in failing(capsys, "copy", str(tmp_path / "nowhere"), there)
    assert not (tmp_path / "nowhere").exists()
    assert "holds no copy of a run" in failing(capsys, "copy", there, str(tmp_path / "back"))
    assert main(["copy", str(run), there]) == 0
    assert "exists; accepted: a new folder" in failing(capsys, "copy", there, str(run))


def test_a_run_is_not_copied_into_itself_and_stays_as_it_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(run)
    (tmp_path / "link").symlink_to(run)
    for url in (f"file://{run}", f"file://{run}/evaluation/copy", f"file://{tmp_path}/link"):
        assert "or lies in it; accepted: another place" in failing(capsys, "copy", str(run), url)
    assert content(run) == before


def test_what_was_never_begun_is_not_called_a_copy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(capsys, "copy", str(run), "nosuch://bucket/run").endswith("raised ValueError: Protocol not known: nosuch")


@pytest.mark.parametrize("name", ["../evil", "", "//evil"])
def test_names_that_lead_elsewhere_are_refused(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = there.removeprefix("memory:/")
    monkeypatch.setattr(MemoryFileSystem, "find", lambda self, folder, detail: {f"{path}/a": {"size": 0}, f"{path}/{name}": {"size": 0}})
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda self, source, target: Path(target).touch())
    if name == "//evil":  # a doubled slash, which leads nowhere else
        assert main(["copy", there, str(tmp_path / "back")]) == 0
        assert content(tmp_path / "back").keys() == {"a", "evil"}
    else:
        assert "holds no copy of a run" in failing(capsys, "copy", there, str(tmp_path / "back"))
