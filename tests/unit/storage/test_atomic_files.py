"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write, is_json, read_arrays, read_json_lines, write_arrays


@pytest.mark.parametrize("content", ["text ä", b"bytes", memoryview(b"view")])
def test_atomic_write_writes_and_replaces(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folder" / "file"
    atomic_write(path, "before")
    atomic_write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else bytes(content))
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, disk_full)
    with pytest.raises(OSError, match="No space") as full:
        atomic_write(path, "new")
    assert full.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert "None" not in str(full.value)


def test_json_lines_stop_at_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_json_lines(path) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_rights_are_those_of_any_new_file_of_the_user(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    for content in ("before there is a file", "after"):
        atomic_write(tmp_path / "link", content)
        assert (tmp_path / "elsewhere" / "file").read_text() == content
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "file", "link"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_kept_read_only_a_file_of_this_content_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    atomic_write(tmp_path / "file", "finished")
    monkeypatch.setattr(os, "replace", refuse)
    atomic_write(tmp_path / "file", "finished")
    for name, content in (("file", "other"), ("new", "finished")):
        with pytest.raises(OSError, match=os.strerror(number)) as refused:
            atomic_write(tmp_path / name, content)
        assert refused.value.filename == str(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("line", [b"1", b"null", b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_object_is_refused_where_another_follows(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n")
    assert read_json_lines(path) == [{"step": 1}]
    path.write_bytes(line + b'\n{"step": 1}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl' is damaged in line 1; mend or delete it$"):
        read_json_lines(path)


@pytest.mark.parametrize(("content", "whole"), [(b"{}", True), (b"", False), (b"[1]", False), (b'{"a": ', False), (b"\xff", False)])
def test_a_json_object_is_whole_or_not(tmp_path: Path, content: bytes, whole: bool) -> None:
    assert not is_json(tmp_path / "file")
    (tmp_path / "file").write_bytes(content)
    assert is_json(tmp_path / "file") == whole


def test_arrays_of_which_any_byte_is_damaged_are_read_as_none_or_as_they_were(tmp_path: Path) -> None:
    path, arrays = tmp_path / "arrays.npz", {"position": np.arange(3), "x": np.ones((2, 2), np.float32)}
    assert read_arrays(path) is None
    write_arrays(path, arrays)
    whole = path.read_bytes()
    for place, bits in itertools.product(range(len(whole)), (0x01, 0x08, 0x80)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        for name, values in (read_arrays(path) or {}).items():
            assert name not in arrays or np.array_equal(values, arrays[name])
    path.write_bytes(whole[:-10])
    assert read_arrays(path) is None
