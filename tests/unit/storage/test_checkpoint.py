"""Checkpoints: whole or not at all, read without running code, rotated."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from logitpair import InputError
from logitpair.storage import checkpoint
from logitpair.storage.weights import read_weights


def numbered(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.pt"))


def test_round_trip(tmp_path: Path) -> None:
    state = {"model": {"weight": torch.randn(3, 4)}, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "best": 0.5}
    path = checkpoint.save(tmp_path, state, step=7, keep=2)
    loaded = checkpoint.load(path)
    assert loaded["step"] == 7
    assert loaded["best"] == 0.5
    assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])
    torch.load(path, weights_only=True)  # for anyone's tools


def test_rotation_keeps_the_newest_and_last(tmp_path: Path) -> None:
    for step in (3, 9, 20, 100, 1000):
        checkpoint.save(tmp_path, {"number": step}, step, keep=2)
        assert checkpoint.load(tmp_path / "last.pt")["number"] == step
    assert numbered(tmp_path) == [100, 1000]
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000100.pt", "step-000001000.pt", "last.pt"}


def test_a_pointed_name_survives_the_rotation(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"number": 1}, 1, keep=1, best=True)
    for step in (2, 3):
        checkpoint.save(tmp_path, {"number": step}, step, keep=1)
    assert numbered(tmp_path) == [3]
    assert checkpoint.load(tmp_path / "best.pt")["number"] == 1


@pytest.mark.parametrize("step", ["fsync", "replace", "link"])
def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    checkpoint.save(tmp_path, {"number": 1}, 1, keep=1)

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, disk_full)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(tmp_path, {"number": 2}, 2, keep=1)
    assert checkpoint.load(tmp_path / "last.pt")["number"] == 1
    checkpoint.save(tmp_path, {"number": 3}, 3, keep=1)  # and the next one works
    assert checkpoint.load(tmp_path / "last.pt")["number"] == 3


def test_without_last_the_newest_takes_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert checkpoint.path_of(tmp_path) == folder / "last.pt"
    for step in (8, 9, 10):
        checkpoint.save(folder, {"number": step}, step, keep=2)
    assert checkpoint.path_of(tmp_path) == folder / "last.pt"
    (folder / "last.pt").unlink()
    with pytest.warns(UserWarning, match=r"last.pt' is missing; the newest checkpoint beside it, step-000000010.pt, takes its place"):
        assert checkpoint.path_of(tmp_path) == folder / "step-000000010.pt"
    assert checkpoint.path_of(tmp_path, "best") == folder / "best.pt"


def refused(path: Path) -> str:
    with pytest.raises(InputError, match="checkpoint") as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, fraction: float) -> None:
    path = checkpoint.save(tmp_path, {"model": {"weight": torch.randn(100, 100)}}, 1, keep=1)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    assert "truncated" in refused(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    refused(path)  # missing
    path.write_text("a text")
    refused(path)
    for content in ({"weight": torch.zeros(2)}, torch.zeros(3), {"format": 99}):
        torch.save(content, path)
        refused(path)


class _Payload:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("by_torch", [True, False])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, folder = tmp_path / "last.pt", tmp_path / "executed"
    content = {"format": 1, "step": 1, "model": _Payload(folder)}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refused(path)
    assert not folder.exists()


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, {"number": step}, step, keep=1, best=step == 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000000003.pt", "last.pt", "best.pt"}
    assert [checkpoint.load(tmp_path / f"{name}.pt")["number"] for name in ("last", "best")] == [3, 2]


def test_a_damaged_last_checkpoint_names_the_one_to_go_on_from(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, {"number": step}, step, keep=2)
    (tmp_path / "last.pt").unlink()
    (tmp_path / "last.pt").write_bytes(b"damaged\0")
    for read in (checkpoint.load, read_weights):
        with pytest.raises(
            InputError, match=r"last.pt' is truncated .*\(delete it, and .* beside it, step-000000002.pt, takes its place\)"
        ):
            read(tmp_path / "last.pt")
    (tmp_path / "step-000000002.pt").write_bytes(b"damaged\0")
    (tmp_path / "last.pt").unlink()
    with pytest.raises(InputError, match=r"step-000000002.pt' is truncated .* beside it, step-000000001.pt, takes its place\)"):
        checkpoint.load(tmp_path / "step-000000002.pt")
    (tmp_path / "last.pt").hardlink_to(tmp_path / "step-000000002.pt")
    with pytest.raises(InputError, match=r"\(delete it and step-000000002.pt, which is the same file, and .* step-000000001.pt, takes"):
        checkpoint.load(tmp_path / "last.pt")
    (tmp_path / "step-000000001.pt").replace(tmp_path / "last.pt")
    with pytest.raises(InputError, match="truncated") as caught:
        checkpoint.load(tmp_path / "step-000000002.pt")
    assert "takes its place" not in str(caught.value)


@pytest.mark.parametrize("read", [checkpoint.load, read_weights])
def test_a_memory_that_is_too_small_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    def too_small(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    checkpoint.save(tmp_path, {"number": 1}, 1, keep=2)
    monkeypatch.setattr(torch, "load", too_small)
    with pytest.raises(torch.OutOfMemoryError):
        read(tmp_path / "last.pt")


def test_what_the_system_refuses_to_read_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        checkpoint.load(tmp_path)
