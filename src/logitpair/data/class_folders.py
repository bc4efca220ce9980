"""One folder a class: which folders are classes, and which files are images. The rule for every data set."""

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from logitpair.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


# in small letters, since they are written in several ways
LEFT_BY_SYSTEMS = (
    "__macosx", "__pycache__", "@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found", "system volume information",
)  # fmt: skip


class _File(NamedTuple):
    """What is no folder: its path, the real one, whether a symbolic link lies between the two, and whether it is an image."""

    path: str
    real: str
    linked: bool
    image: bool


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data set's by its name: ``._cat.jpg``, ``.ipynb_checkpoints``, ``__MACOSX``."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def is_image(name: str) -> bool:
    """Whether a file of this name is an image."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def images_in(folder: Path) -> list[Path]:
    """The images in a folder, without those in folders below; none where there is no folder."""
    return sorted(path for path in folder.glob("*") if is_image(path.name) and path.is_file())


def class_name(folder: Path) -> str:
    """The class that a folder stands for: its name, by Latin-1 where it is not UTF-8, which no file of results could hold.

    Letters with accents are one character, as files are written that name classes, and not two, as macOS has them in names of folders.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        return os.fsencode(folder.name).decode("latin-1")
    return unicodedata.normalize("NFC", folder.name).strip()


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def class_images(folder: Path, *, may_be_empty: bool = False, instead: str = "") -> dict[str, list[str]]:
    """The images of each class, by its name: those in it and in folders below, in the order of torchvision's ``ImageFolder``.

    Hidden names are passed over. Other files that are no images are left out with a warning. Symbolic links are followed, but
    none that leads back up, and a file of several names is taken once, by the name that is no link, with a warning.
    With ``may_be_empty`` so is a class without images, as long as there are others; else ``instead`` says what there is to do about one.

    Raises:
        InputError: for a folder without classes, and a class without images.
    """
    top = os.path.realpath(folder)
    folders = subfolders(folder)
    found = {class_name(path): list(_files(str(path), os.path.realpath(path), path.is_symlink(), {top})) for path in folders}
    if not found:
        raise InputError(f"--data-dir: '{folder}' holds no folders; accepted: one folder of images a class")
    if len(found) < len(folders):
        name, times = Counter(map(class_name, folders)).most_common(1)[0]
        raise InputError(f"--data-dir: {times} folders in '{folder}' are called '{name}', in other spellings of it; accepted: one")
    everything = [file for files in found.values() for file in files]
    named: dict[str, str] = {}
    for file in sorted(everything, key=lambda file: file.linked):
        named.setdefault(file.real, file.path)
    _warn_of_left_out(folder, [file.path for file in everything if not file.image], "are no images")
    again = [file.path for file in everything if file.image and named[file.real] != file.path]
    _warn_of_left_out(folder, again, "lead to a file that is there by another name")
    images = {name: [file.path for file in files if file.image and named[file.real] == file.path] for name, files in found.items()}
    empty = [name for name, files in images.items() if not files]
    if empty and not (may_be_empty and len(empty) < len(images)):
        raise InputError(f"--data-dir: '{folder / empty[0]}' holds no images; accepted: {', '.join(SUFFIXES)}{instead}")
    return {name: sorted(files, key=os.path.split) for name, files in images.items()}


def warn_of_missing(folder: Path, without: Sequence[str], classes: int) -> None:
    """Warn of classes that have no image to test on."""
    if without:
        warnings.warn(
            f"--data-dir: '{folder}' holds no images of {len(without)} of {classes} classes, such as '{without[0]}'; "
            "the accuracy says nothing of them",
            stacklevel=3,
        )


def _files(folder: str, real: str, linked: bool, entered: set[str]) -> Iterator[_File]:
    """All files in a folder and below it that are not hidden; none of the real folders is ``entered`` twice."""
    entered.add(real)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            link = entry.is_symlink()
            target = os.path.realpath(entry.path) if link else os.path.join(real, entry.name)
            if is_hidden(entry.name) or target in entered or (link and os.path.commonpath([target, real]) == target):
                continue
            if os.path.isdir(entry.path) if link else entry.is_dir():  # of a link that leads to itself a scan's entry raises
                yield from _files(entry.path, target, linked or link, entered)
            else:
                # a link to nothing is met when it is opened
                regular = os.path.isfile(entry.path) or not os.path.exists(entry.path) if link else entry.is_file()
                yield _File(entry.path, target, linked or link, regular and is_image(entry.name))


def _warn_of_left_out(folder: Path, files: list[str], why: str) -> None:
    if files:
        warnings.warn(f"--data-dir: left out {len(files)} files under '{folder}' that {why}, such as '{files[0]}'", stacklevel=3)
