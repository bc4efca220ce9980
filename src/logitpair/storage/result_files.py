"""Records and ledgers as files: written together, each whole or not at all, and read back with checks. Imports no torch."""

import contextlib
import hashlib
import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Struct

from logitpair.errors import InputError, first_line
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import SCHEMA, Record, Results

Kind = TypeVar("Kind", bound=Record)
Ledger = Mapping[str, np.ndarray]


class _Header(Struct):
    """The schema of a file; ``training.json`` has none."""

    schema: int = SCHEMA


class OtherSchema(InputError):
    """The file was written by another version of the package, in another schema."""


def write_record(path: Path, record: Record) -> None:
    """Write a record as indented JSON, whole or not at all."""
    atomic_write(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def read_record(path: Path, kind: type[Kind], writer: str) -> Kind:
    """Read a record, with every value checked.

    Raises:
        InputError: if it is missing or damaged, of another kind, or (``OtherSchema``) of another schema; it names ``writer``, the command
            to run again.
    """
    try:
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=_Header).schema
        if schema == SCHEMA:
            return msgspec.json.decode(content, type=kind)
    except FileNotFoundError as error:
        raise InputError(f"'{path}' is missing; run `{writer}` again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged or incomplete ({first_line(error)}); move it away and run `{writer}` again") from error
    raise OtherSchema(f"'{path}' was written by another version (schema {schema}, this one reads {SCHEMA}); run `{writer}` again")


def read_whole(path: Path, kind: type[Kind]) -> Kind | None:
    """A record; None where it is missing or cannot be read, so that what it is of is done again."""
    try:
        return read_record(path, kind, "logitpair")
    except InputError:
        return None


def set_aside(folder: Path) -> None:
    """Rename results of another version, and what lies beside them, so that new ones take their place and nothing is lost."""
    number = next(number for number in itertools.count(1) if not any(folder.glob(f"*-of-another-version-{number}.*")))
    for path in (folder / "ledger.npz", folder / "results.json"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster, or there is none
            path.rename(path.with_stem(f"{path.stem}-of-another-version-{number}"))


def write_results(folder: Path, results: Results, ledger: Ledger) -> Path:
    """Write ``results.json`` and the ``ledger.npz`` that belongs to it, and return the path of the first."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **ledger)
    atomic_write(folder / "ledger.npz", buffer.getbuffer())
    bound = msgspec.structs.replace(results, ledger_sha256=hashlib.sha256(buffer.getbuffer()).hexdigest())
    write_record(folder / "results.json", bound)
    return folder / "results.json"


def read_ledger(path: Path, results: Results, writer: str) -> dict[str, np.ndarray]:
    """The arrays of a ``ledger.npz``.

    Raises:
        InputError: if it is missing or damaged, or was not written with these results.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != results.ledger_sha256:
            raise ValueError("not written together with results.json")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"'{path}' is missing, damaged or of another evaluation ({error}); run `{writer}` again") from error
