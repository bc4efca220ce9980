"""Files that lie at a URL, such as ``s3://bucket/shards``, by fsspec."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from logitpair.errors import InputError, raised

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")
VERSIONS = ("ETag", "etag", "blob_id", "mtime", "created")  # a file system has one of them, which differs where a file's content does


def is_url(text: str) -> bool:
    """Whether a text is a URL, ``file://`` too."""
    return URL.fullmatch(text) is not None


def place(path: Path | str) -> Path | str:
    """A ``Path`` of what lies on this machine, ``file://`` too; the text of any other URL, whose slashes a ``Path`` may have joined."""
    match = URL.fullmatch(str(path))
    if not match:
        return Path(path)
    scheme, rest = match.groups()
    return Path(f"/{rest}") if scheme == "file" else f"{scheme}://{rest}"


@contextmanager
def reached(url: str, option: str) -> Generator[tuple[Any, str]]:
    """fsspec's file system of a URL, which fsspec keeps for each process and thread, and the path there.

    Raises:
        InputError: naming the ``option`` and the URL, for whatever is raised in this block, and a library that is not installed.
    """
    try:
        yield fsspec.core.url_to_fs(url)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of the library that the URL needs
        raise InputError(f"{option}: '{url}' {raised(error)}") from error


def find(folder: str, pattern: str, option: str) -> list[str]:
    """The URLs of a folder's files whose names match the pattern, where ``*`` matches anything, sorted."""
    with reached(folder, option) as (files, path):
        return sorted(files.unstrip_protocol(name) for name in files.glob(f"{path.rstrip('/')}/{pattern}"))


def version(url: str, option: str) -> tuple[int, str]:
    """A file's size in bytes, and what else another content of it has another of."""
    with reached(url, option) as (files, path):
        info = files.info(path)
        return info["size"], str(next((info[key] for key in VERSIONS if info.get(key)), ""))


def read(url: str, option: str, start: int | None = None, end: int | None = None) -> bytes:
    """A file's bytes, or those from ``start`` to before ``end``."""
    with reached(url, option) as (files, path):
        return files.cat_file(path, start=start, end=end)
