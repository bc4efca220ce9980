"""Files that are either whole or not there."""

import errno
import io
import json
import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from logitpair.errors import InputError

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # what the system says of a place where nothing may be written


def atomic_write(path: Path, content: bytes | memoryview | str) -> None:
    """Write ``content`` so that ``path`` holds either what it held before or all of it, whatever happens in between.

    A symbolic link stays, and what it leads to is written. Rights are those that the user's umask gives to a new file. Where nothing may
    be written, such as into results that are kept read-only, a file that holds the content stays as it is.
    """
    content = content.encode() if isinstance(content, str) else content
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            kept = isinstance(error, OSError) and error.errno in READ_ONLY and target.is_file()
            if not (kept and target.read_bytes() == content):
                raise


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Have what the system refuses in this block name the file, which an error of a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        del error.filename2  # or the None would be shown
        raise


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getbuffer())


def read_arrays(path: Path, prefix: str = "") -> dict[str, np.ndarray] | None:
    """What ``write_arrays`` wrote, or those arrays whose names begin with ``prefix``; None if it is missing or damaged."""
    try:
        content = io.BytesIO(path.read_bytes())  # whole: numpy leaves a damaged file open
    except FileNotFoundError:
        return None
    try:
        with np.load(content, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name.startswith(prefix)}
    except MemoryError:
        raise
    except Exception:  # numpy and zipfile raise whatever the damaged bytes lead to
        return None


def is_json(path: Path) -> bool:
    """Whether a file is there and holds a JSON object, which one that a crash cut does not."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (FileNotFoundError, ValueError, RecursionError):
        return False


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line, without a last one that an interruption cut short; none if it is missing."""
    objects: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            objects.append({**json.loads(line)})
        except (ValueError, TypeError, RecursionError) as error:
            if number < len(lines):
                raise InputError(f"'{path}' is damaged in line {number}; mend or delete it") from error
    return objects
