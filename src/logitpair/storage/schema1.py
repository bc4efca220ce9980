"""``results.json`` and ``ledger.npz`` of an evaluation or an audit: written together, read back with checks. Imports no torch."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write

SCHEMA = 1
NO_CLASS = -1  # the prediction of an image whose logits are no numbers


def write_files(folder: Path, results: Mapping[str, Any], ledger: Mapping[str, np.ndarray]) -> None:
    """Write both files into the folder, each whole or not at all.

    Raises:
        OSError: for a full disk or a folder that cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **ledger)
    content = {**results, "ledger_sha256": hashlib.sha256(buffer.getbuffer()).hexdigest()}  # the two belong together
    atomic_write(folder / "ledger.npz", buffer.getbuffer())
    atomic_write(folder / "results.json", json.dumps(content, indent=2) + "\n")


def read_results(path: Path, *, writer: str = "logitpair evaluate") -> dict[str, Any]:
    """The content of a ``results.json``.

    Args:
        path: the file.
        writer: the command that writes it.

    Raises:
        InputError: if it is missing or damaged, or of another schema.
    """
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged; run `{writer}` again") from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise InputError(f"'{path}' has schema {schema}, this version reads {SCHEMA}; run `{writer}` again")
    return results


def read_ledger(path: Path, results: Mapping[str, Any], *, writer: str = "logitpair evaluate") -> dict[str, np.ndarray]:
    """The arrays of a ``ledger.npz``.

    Args:
        path: the file.
        results: the content of the ``results.json`` beside it.
        writer: the command that writes it.

    Raises:
        InputError: if it is missing or damaged, or of other results than ``results``.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != results.get("ledger_sha256"):
            raise ValueError("not written together with results.json")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"'{path}' is missing, damaged or of another evaluation ({error}); run `{writer}` again") from error
