"""CIFAR's archives as their authors publish them, of any images: written by Python 2, which had other opcodes for strings."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest


class _Python2(pickle._Pickler):
    """Protocol 2 with byte strings as Python 2 wrote them: SHORT_BINSTRING and BINSTRING."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes | str) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def pickled(content: Any) -> bytes:
    """The content as Python 2 and the numpy of its time pickled it."""
    stream = io.BytesIO()
    _Python2(stream, 2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    """A gzipped tar file with these files, by their names in it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def batch(images: np.ndarray, labels: list[int], key: bytes = b"labels") -> dict[bytes, Any]:
    """One of the pickles: uint8 images ``[n, 3, 32, 32]`` in rows of 3,072 bytes."""
    names = [b"image_%d.png" % number for number in range(len(labels))]
    return {b"batch_label": b"one of the batches", key: labels, b"data": images.reshape(len(images), -1), b"filenames": names}


def cifar10_archive(folder: Path, images: np.ndarray, labels: list[int], test: int) -> Path:
    """``cifar-10-python.tar.gz``: the last ``test`` images in test_batch, the others in five batches, in the authors' order of files."""
    last = len(labels) - test
    parts = {f"data_batch_{n + 1}": slice(n * last // 5, (n + 1) * last // 5) for n in range(5)} | {"test_batch": slice(last, None)}
    order = ["data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5", "data_batch_1"]
    files = {f"cifar-10-batches-py/{name}": pickled(batch(images[parts[name]], labels[parts[name]])) for name in order}
    return write_archive(folder / "cifar-10-python.tar.gz", {"cifar-10-batches-py/readme.html": b"<html>"} | files)


def real_images() -> tuple[np.ndarray, list[int]]:
    """200 of CIFAR-10's test images, uint8, and their labels; the test is skipped where they are not."""
    path = Path(os.environ.get("LOGITPAIR_DATA", "data")).parent / "networks" / "cifar-200.npz"
    if not path.is_file():
        pytest.skip(f"no {path}; set LOGITPAIR_DATA to the folder beside networks/, which holds it")
    arrays = np.load(path)
    return arrays["x"], arrays["y"].tolist()
