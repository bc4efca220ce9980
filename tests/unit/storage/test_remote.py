"""Files at a URL: which paths are URLs, and that what goes wrong there is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import fsspec
import pytest

from logitpair import InputError
from logitpair.storage import remote


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("runs/alp", Path("runs/alp")),
        ("/data/a:b", Path("/data/a:b")),
        ("C:/data", Path("C:/data")),
        ("file:///data/shards", Path("/data/shards")),
        ("s3://bucket/shards", "s3://bucket/shards"),
        ("hf://datasets/me/shards", "hf://datasets/me/shards"),
    ],
)
def test_a_url_is_one_also_where_a_path_has_joined_its_slashes(text: str, where: Path | str) -> None:
    assert remote.place(text) == remote.place(Path(text)) == remote.place(str(Path(text))) == where


def test_files_are_found_read_in_part_and_told_from_others_of_their_name() -> None:
    files = fsspec.filesystem("memory")
    for name in ("b.tar", "a.tar", "a.txt"):
        files.pipe_file(f"/remote/{name}", b"0123456789")
    urls = remote.find("memory://remote/", "*.tar", "--data-dir")
    assert [url.rpartition("/")[2] for url in urls] == ["a.tar", "b.tar"]
    assert remote.read(urls[0], "--data-dir", 2, 5) == b"234"
    size, before = remote.version(urls[0], "--data-dir")
    assert size == 10
    assert remote.version(urls[0], "--data-dir") == (size, before)
    files.pipe_file("/remote/a.tar", b"9876543210")
    assert remote.version(urls[0], "--data-dir") != (size, before)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nowhere/a.tar", "^--data-dir: 'memory://nowhere/a.tar' raised FileNotFoundError"),
        ("s3://bucket/a.tar", "^--data-dir: 's3://bucket/a.tar' raised ImportError: Install s3fs"),
        ("foo://bucket/a.tar", "^--data-dir: 'foo://bucket/a.tar' raised ValueError: Protocol not known: foo$"),
    ],
)
def test_what_goes_wrong_is_one_line(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=message):
        remote.read(url, "--data-dir")
