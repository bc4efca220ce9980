"""A folder of pictures packed into tar files."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from logitpair.data.image_folder import Folder, Split
from logitpair.data.webdataset import CLASSES
from logitpair.errors import InputError
from logitpair.runtime.progress import tracked
from logitpair.storage.atomic_files import atomic_write
from logitpair.validate import whole


def write_shards(root: Path | str, out: Path | str, *, images: int = 10_000) -> list[Path]:
    """Pack a folder in the ImageFolder layout into WebDataset's tar files, which ``Shards`` reads.

    Pictures are copied as they are, in the order in which ``Folder`` finds them. The same folder gives the same bytes.

    Args:
        root: holds ``train/<class>/`` and ``val/<class>/``.
        out: gets ``train-000000.tar``, ..., ``val-000000.tar``, ... and ``classes.txt``, which comes last.
        images: a tar file, at most; 10,000 of ImageNet are about 1.1 GB.

    Returns:
        The tar files.

    Raises:
        InputError: for a folder that is laid out otherwise, and for an ``out`` that holds tar files already.
        OSError: for a full disk; no tar file is then half written.
    """
    whole("images", images, 1)
    out = Path(out)
    if out.is_file() or next(out.glob("*.tar"), None):
        raise InputError(f"out: '{out}' is a file or holds tar files; accepted: another folder")
    folder = Folder(root=root)
    splits: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))
    samples = {name: folder.samples(split) for name, split in splits}  # both are looked at before anything is written
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, files in samples.items():
        for number, start in enumerate(tracked(range(0, len(files), images), f"writing {name}-*.tar")):
            written.append(out / f"{name}-{number:06d}.tar")
            _write(written[-1], enumerate(files[start : start + images], start))
    atomic_write(out / CLASSES, "\n".join(folder.classes) + "\n")
    return written


def _write(path: Path, samples: Iterable[tuple[int, tuple[str, int]]]) -> None:
    """One tar file, whole or not at all, of numbered pictures with their labels."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for number, (picture, label) in samples:
                source = Path(picture)
                key = f"{number:08d}_{source.stem.replace('.', '_')}"  # WebDataset ends it at the first dot
                for suffix, content in ((source.suffix.lower(), source.read_bytes()), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(key + suffix)  # its time, owner and rights are fixed
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
