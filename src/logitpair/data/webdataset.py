"""Images packed into tar files, as WebDataset lays them out: read by their offsets there, and written from a folder."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from logitpair.data.class_folders import SUFFIXES, is_hidden
from logitpair.data.class_mapping import class_names
from logitpair.data.dataset import require_folder
from logitpair.data.disk_cache import cached_on_disk
from logitpair.data.image_dataset import ImageFileData, Split, warn_of_gaps, warn_of_leak
from logitpair.data.image_folder import Folder
from logitpair.data.image_source import Source, open_image
from logitpair.errors import InputError
from logitpair.runtime.progress import tracked
from logitpair.storage import remote
from logitpair.storage.atomic_files import atomic_write, naming
from logitpair.validate import whole

CLASSES = "classes.txt"
PARTIAL = ".partial."  # how the name of a folder of tar files begins that are not all written
PADDING = 2**20  # zeros that may end a tar file; of two in one the second begins within them
OPEN = 128  # tar files that a process keeps open


@dataclass(frozen=True, kw_only=True)
class Shards(ImageFileData):
    """Tar files of images (``.jpg``, ``.png``, ...) and labels (``.cls``), for clusters whose file systems are slow with small files.

    An image and a label of one name up to its last dot are one example. Other members are passed over, and so are hidden ones and those
    that WebDataset counts as parts of an example, such as ``cat.seg.png`` beside ``cat.jpg`` and ``cat.cls``.
    The offset of each image is looked up once and kept in the user's cache folder, so that any example can be read by itself: training
    draws from all of them, and resumes and is shared between processes exactly as with single files. What ``write_shards`` makes of a
    folder gives the same examples in the same order as ``Folder`` does.

    Args:
        root: holds the tar files, not compressed, and ``classes.txt`` of one class name a line in the order of the labels; without it
            classes are called by their number. A folder, or its URL for fsspec, such as ``s3://bucket/shards``.
        training, testing: names of the tar files of the training and of the test set, where ``*`` matches anything.
        size, crop_pct, grey, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

    Raises:
        InputError: when used, for missing, truncated or compressed tar files, and examples without an image or a label.
    """

    root: Path | str | None = None
    training: str = "train-*.tar"
    testing: str = "val-*.tar"
    name = "shards"

    @property
    def classes(self) -> Sequence[str]:
        names = self._class_names()
        return names if names is not None else list(map(str, range(1 + _greatest(self._train))))

    def source(self, split: Split) -> TarSource:
        pattern = self.training if split == "train" else self.testing
        tars = self._tars(split)
        if not tars:
            accepted = "the names of its tar files, such as train-*.tar"
            raise InputError(f"data.{split}ing: no files '{pattern}' in '{self.root}'; accepted: {accepted}")
        source, names, where = TarSource(tars), self._class_names(), f"data.{split}ing: '{pattern}' in '{self.root}'"
        if not len(source):
            raise InputError(f"{where} hold no image with a label; accepted: an image and a label (.cls) of one name for each example")
        if names is not None and _greatest(source) >= len(names):
            only = f"{CLASSES} only {len(names)} names; labels begin at 0"
            raise InputError(f"--data-dir: '{self.root}' holds the label {_greatest(source)}, and {only}")
        if names is None and split == "train":
            warn_of_gaps(where, source.labels)
        if names is None and split == "test" and _greatest(source) > _greatest(self._train):
            accepted = f"as in training, or {CLASSES} of all classes"
            raise InputError(f"{where} has labels up to {_greatest(source)}, training up to {_greatest(self._train)}; accepted: {accepted}")
        if split == "test" and (both := set(tars) & set(self._tars("train"))):
            warn_of_leak(f"{where}: {PurePosixPath(min(both)).name}", "data.training")
        return source

    def _tars(self, split: Split) -> list[str]:
        pattern, root = self.training if split == "train" else self.testing, self._root
        if isinstance(root, str):
            found = remote.find(root, pattern, "--data-dir")
            return [path for path in found if not _is_left_out(PurePosixPath(path))]
        try:
            return sorted(str(path) for path in root.glob(pattern) if not _is_left_out(path) and not path.is_dir())
        except (NotImplementedError, ValueError) as error:  # for an absolute path, and an empty text
            raise InputError(f"data.{split}ing: '{pattern}' is no pattern of names in --data-dir, such as {split}-*.tar") from error

    @property
    def _root(self) -> Path | str:
        root = remote.place(self.root or "")
        holds = "a folder of tar files such as train-000000.tar and val-000000.tar, or its URL"
        return root if isinstance(root, str) else require_folder(self.root and root, holds)

    def _class_names(self) -> list[str] | None:
        root = self._root
        path = f"{root}/{CLASSES}" if isinstance(root, str) else root / CLASSES
        try:
            if isinstance(path, str):
                there = remote.find(str(root), CLASSES, "--data-dir")
                names = class_names(remote.read(path, "--data-dir")) if there else None
            else:
                names = class_names(path.read_bytes()) if path.exists() else None
        except (UnicodeDecodeError, IsADirectoryError) as error:
            raise InputError(f"--data-dir: '{path}' is not a text file of one class name a line") from error
        if names is not None and "" in names:
            raise InputError(f"--data-dir: '{path}' has an empty line, {names.index('') + 1}; accepted: one class name a line")
        return names


def _is_left_out(path: PurePath) -> bool:
    """Whether a tar file is hidden, or what a kill left of ``write_shards``."""
    return is_hidden(path.name) or path.parent.name.startswith(PARTIAL)


def _greatest(source: Source) -> int:
    return int(source.labels.max(initial=-1))


class TarSource(Source):
    """The images in tar files, paths or URLs, by their offsets there."""

    def __init__(self, tars: Sequence[str]) -> None:
        self.tars = [(path, *_state(path)) for path in tars]
        found = [
            cached_on_disk("shard-examples", repr((path if _is_remote(path) else os.path.realpath(path), *state)), partial(_index, path))
            for path, *state in self.tars
        ]
        self.tar = np.repeat(np.arange(len(found)), [len(examples["label"]) for examples in found])
        self.offset, self.size, self.labels, self.names = (
            np.concatenate([examples[key] for examples in found]) for key in ("offset", "size", "label", "name")
        )

    def name(self, position: int) -> str:
        return f"{self.tars[self.tar[position]][0]}: {self.names[position]}"

    def open(self, position: int) -> Image.Image:
        path, _, modified = self.tars[self.tar[position]]
        # read at an offset, since any number of threads and processes read at once
        start, size = int(self.offset[position]), int(self.size[position])
        if isinstance(modified, str):
            content = remote.read(path, "--data-dir", start, start + size)
        else:
            file = _opened(path, modified)  # named, or another thread's next file could close it before it is read
            content = os.pread(file.handle, size, start)
        return open_image(content, self.name(position))

    def signature(self, positions: Iterable[int]) -> str:
        chosen = np.fromiter(positions, np.int64)
        used = {int(tar): (os.path.basename(self.tars[tar][0]), *self.tars[tar][1:]) for tar in np.unique(self.tar[chosen])}
        return repr((used, *(values[chosen].tolist() for values in (self.tar, self.offset, self.labels))))


def _is_remote(path: str) -> bool:
    return isinstance(remote.place(path), str)


def _state(path: str) -> tuple[int, int | str]:
    """A file's size, and its time of change or what tells as much of one at a URL."""
    return remote.version(path, "--data-dir") if _is_remote(path) else (os.stat(path).st_size, os.stat(path).st_mtime_ns)


@contextmanager
def _reading(path: str) -> Generator[Any]:
    if not _is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    with remote.reached(path, "--data-dir") as (files, name), files.open(name, "rb") as file:
        yield file


class _OpenFile:
    """A handle that is closed when the cache lets go of it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self) -> None:
        os.close(self.handle)


@lru_cache(maxsize=OPEN)
def _opened(path: str, modified: int | str) -> _OpenFile:
    return _OpenFile(os.open(path, os.O_RDONLY))


def _index(path: str) -> dict[str, np.ndarray]:
    """Offset, size, label and name of each image in a tar file, in its order."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    with _reading(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    name = PurePosixPath(member.name)
                    key, suffix = str(name.with_suffix("")), name.suffix.lower()
                    wanted = suffix in (*SUFFIXES, ".cls") and not any(map(is_hidden, name.parts))
                    if not wanted or not member.isreg() or member.issparse():
                        continue
                    if key in (labels if suffix == ".cls" else images):
                        raise InputError(
                            f"--data-dir: '{path}' holds two members '{key}{suffix}' or two images of that name; accepted: one"
                        )
                    if suffix == ".cls":
                        labels[key] = _label(path, member, tar)
                    else:
                        images[key] = member
                end = tar.offset
        except tarfile.TarError as error:
            raise InputError(f"--data-dir: '{path}' is truncated, compressed or no tar file ({error}); accepted: a tar file") from error
        file.seek(end)  # Python's tarfile takes a damaged header for the zeros that end a tar file
        rest = file.read(PADDING)
        if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
            found = "truncated, damaged, or several tar files in one"
            raise InputError(f"--data-dir: '{path}' is {found}, after {end:,} bytes; accepted: a whole tar file")
    examples = images.keys() & labels.keys()
    if alone := sorted(key for key in images.keys() ^ labels.keys() if not _is_part(key, examples)):
        raise InputError(f"--data-dir: '{path}' holds '{alone[0]}' without its {'label (.cls)' if alone[0] in images else 'image'}")
    images = {key: member for key, member in images.items() if key in labels}
    return {
        "offset": np.array([member.offset_data for member in images.values()], np.int64),
        "size": np.array([member.size for member in images.values()], np.int64),
        "label": np.array([labels[key] for key in images], np.int64),
        "name": np.array([member.name for member in images.values()], np.str_),
    }


def _is_part(key: str, examples: Set[str]) -> bool:
    """Whether a name belongs to an example by its beginning: ``cat.seg`` to ``cat``."""
    return "." in key and ((shorter := key.rpartition(".")[0]) in examples or _is_part(shorter, examples))


def _label(path: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> int:
    content = tar.extractfile(member)
    text = content.read(32) if content else b""
    if not text.strip().isdigit() or member.size > len(text):
        raise InputError(f"--data-dir: '{member.name}' in '{path}' is {text!r}; accepted: a class as a whole number from 0")
    return int(text)


def write_shards(root: Path | str, out: Path | str, *, images: int = 10_000) -> list[Path]:
    """Pack a folder in the ImageFolder layout into WebDataset's tar files, which ``Shards`` reads, and return these.

    Image files are copied as they are, in the order in which ``Folder`` finds them. The same folder gives the same bytes.

    Args:
        root: holds ``train/<class>/`` and ``val/<class>/``.
        out: gets ``train-000000.tar``, ..., ``val-000000.tar``, ... and ``classes.txt``, once all are written.
        images: a tar file, at most; 10,000 of ImageNet are about 1.1 GB.

    Raises:
        InputError: for a folder that is laid out otherwise, and for an ``out`` that holds tar files already.
        OSError: for a full disk; ``out`` then holds no tar file, as after an interruption. A kill leaves a hidden ``.partial.*`` there,
            which may be deleted.
    """
    whole("images", images, 1)
    out = Path(out)
    if out.is_file() or next(out.glob("*.tar"), None):
        raise InputError(f"out: '{out}' is a file or holds tar files; accepted: another folder")
    folder = Folder(root=root)
    splits = {"train": folder.source("train").samples, "val": folder.source("test").samples}  # both before anything is written
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=PARTIAL) as partial_folder:
        for name, samples in splits.items():
            for start in tracked(range(0, len(samples), images), f"writing {name}-*.tar"):
                _write(Path(partial_folder) / f"{name}-{start // images:06d}.tar", samples[start : start + images], start)
        written = sorted(Path(partial_folder).iterdir())
        atomic_write(out / CLASSES, "\n".join(folder.classes) + "\n")
        try:
            return [path.rename(out / path.name) for path in written]
        except BaseException:
            for path in written:
                (out / path.name).unlink(missing_ok=True)
            raise


def _write(path: Path, samples: Sequence[tuple[str, int]], start: int) -> None:
    """One tar file of images with their labels, numbered from ``start``."""
    with naming(path.parents[1] / path.name), tarfile.open(path, "w") as tar:
        for number, (image, label) in enumerate(samples, start):
            source = Path(image)
            key = f"{number:08d}_{source.stem.replace('.', '_')}"  # WebDataset ends it at the first dot
            for suffix, content in ((source.suffix.lower(), source.read_bytes()), (".cls", str(label).encode())):
                member = tarfile.TarInfo(key + suffix)  # its time, owner and rights are fixed
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
