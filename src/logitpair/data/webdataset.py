"""Pictures packed into tar files, as WebDataset lays them out, read by their place in them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from logitpair.data.dataset import require_folder
from logitpair.data.disk_cache import remembered
from logitpair.data.image_dataset import ImageFileData, Source, Split
from logitpair.data.image_file import SUFFIXES, open_picture
from logitpair.errors import InputError

CLASSES = "classes.txt"
OPEN = 128  # tar files that a process keeps open


@dataclass(frozen=True, kw_only=True)
class Shards(ImageFileData):
    """Tar files of pictures (``.jpg``, ``.png``, ...) and labels (``.cls``), for clusters whose file systems are slow with small files.

    The members of a tar file that share their name up to its first dot are one example, as in WebDataset; other members are passed over.
    Where each picture lies is looked up once and kept in the user's cache folder, so that any example can be read by itself: training
    draws from all of them, and resumes and is shared between processes exactly as with single files. What ``write_shards`` makes of a
    folder gives the same examples in the same order as ``Folder`` does.

    Args:
        root: holds the tar files, not compressed, and ``classes.txt`` of one class name a line in the order of the labels; without it
            classes are called by their number.
        training, testing: names of the tar files of the training and of the test set, where ``*`` stands for anything.
        size, crop_pct, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

    Raises:
        InputError: when used, for missing, truncated or compressed tar files, and examples without a picture or a label.
    """

    root: Path | str | None = None
    training: str = "train-*.tar"
    testing: str = "val-*.tar"
    name = "shards"

    @property
    def classes(self) -> Sequence[str]:
        path = self._root / CLASSES
        if not path.exists():
            return [str(label) for label in range(1 + max(self._members("train").greatest, self._members("test").greatest))]
        return path.read_text(encoding="utf-8").splitlines()

    def _source(self, split: Split) -> Members:
        members = self._members(split)
        if members.greatest >= len(self.classes):
            raise InputError(f"--data-dir: '{self.root}' holds the label {members.greatest}, and {CLASSES} only {len(self.classes)} names")
        return members

    def _members(self, split: Split) -> Members:
        return self._train_members if split == "train" else self._test_members

    @cached_property
    def _train_members(self) -> Members:
        return Members(self._tars("training", self.training))

    @cached_property
    def _test_members(self) -> Members:
        return Members(self._tars("testing", self.testing))

    def _tars(self, option: str, pattern: str) -> list[Path]:
        tars = sorted(self._root.glob(pattern))
        if not tars:
            raise InputError(
                f"data.{option}: no files '{pattern}' in '{self.root}'; accepted: the names of its tar files, such as train-*.tar"
            )
        return tars

    @property
    def _root(self) -> Path:
        return require_folder(self.root, "--data-dir", "a folder of tar files such as train-000000.tar and val-000000.tar")


class Members(Source):
    """The pictures in tar files, by their places there.

    Args:
        tars: the files.

    Raises:
        InputError: as for ``Shards``.
    """

    def __init__(self, tars: Sequence[Path]) -> None:
        stats = [os.stat(path) for path in tars]
        self.tars = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in zip(tars, stats, strict=True)]
        found = [remembered("shard", repr((os.path.realpath(path), *told)), lambda path=path: _examples(path)) for path, *told in self.tars]
        counts = [len(examples["label"]) for examples in found]
        self.tar = np.repeat(np.arange(len(found)), counts)
        self.offset, self.size, self.labels, self.names = (
            np.concatenate([examples[key] for examples in found]) for key in ("offset", "size", "label", "name")
        )

    @property
    def greatest(self) -> int:
        """The greatest label."""
        return int(self.labels.max(initial=-1))

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, position: int) -> int:
        return int(self.labels[position])

    def name(self, position: int) -> str:
        return f"{self.tars[self.tar[position]][0]}: {self.names[position]}"

    def open(self, position: int) -> Image.Image:
        path, _, changed = self.tars[self.tar[position]]
        content = _opened(path, changed).read(int(self.size[position]), int(self.offset[position]))
        return open_picture(content, self.name(position))

    def told(self, positions: Iterable[int]) -> str:
        chosen = np.fromiter(positions, np.int64)
        used = {int(tar): (os.path.basename(self.tars[tar][0]), *self.tars[tar][1:]) for tar in np.unique(self.tar[chosen])}
        return repr((used, *(values[chosen].tolist() for values in (self.tar, self.offset, self.labels))))


class _Tar:
    """A file of which any number of threads and processes read at once."""

    def __init__(self, path: str) -> None:
        self.path, self.handle = path, -1
        self.handle = os.open(path, os.O_RDONLY)

    def read(self, size: int, offset: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.handle, size, offset)
        with open(self.path, "rb") as file:  # Windows
            file.seek(offset)
            return file.read(size)

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)


@lru_cache(maxsize=OPEN)
def _opened(path: str, changed: int) -> _Tar:
    return _Tar(path)


def _examples(path: str) -> dict[str, np.ndarray]:
    """Offset, size, label and name of each picture in a tar file, in its order."""
    pictures: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.lower().partition(".")
                key = str(name.parent / name.name[: len(stem)])
                if not member.isreg() or member.issparse() or not stem or f".{suffix}" not in (*SUFFIXES, ".cls"):
                    continue
                if key in (labels if suffix == "cls" else pictures):
                    raise InputError(f"--data-dir: '{path}' holds two members '{key}.{suffix}' or two pictures of that name; accepted: one")
                if suffix == "cls":
                    labels[key] = _label(path, member, tar)
                else:
                    pictures[key] = member
            end = tar.offset
    except tarfile.TarError as error:
        raise InputError(f"--data-dir: '{path}' is truncated, compressed or no tar file ({error}); accepted: a tar file") from error
    _check_end(path, end)
    if alone := sorted(pictures.keys() ^ labels.keys()):
        raise InputError(f"--data-dir: '{path}' holds '{alone[0]}' without its {'label (.cls)' if alone[0] in pictures else 'picture'}")
    return {
        "offset": np.array([member.offset_data for member in pictures.values()], np.int64),
        "size": np.array([member.size for member in pictures.values()], np.int64),
        "label": np.array([labels[key] for key in pictures], np.int64),
        "name": np.array([member.name for member in pictures.values()], np.str_),
    }


def _label(path: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> int:
    content = tar.extractfile(member)
    text = content.read(32) if content else b""
    if not text.strip().isdigit():
        raise InputError(f"--data-dir: '{member.name}' in '{path}' is {text!r}; accepted: a class as a whole number from 0")
    return int(text)


def _check_end(path: str, end: int) -> None:
    """Refuse a tar file without the zeros that end one: Python's ``tarfile`` takes a damaged header for the end."""
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise InputError(f"--data-dir: '{path}' is truncated or damaged after {end:,} bytes; accepted: a whole tar file")
