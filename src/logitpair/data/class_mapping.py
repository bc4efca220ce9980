"""Which logit of a network the folder of a class has for its label."""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_timm

IMAGENET = 1000
WNID = re.compile(r"n\d{8}")


class Matched(NamedTuple):
    """The logit of each folder, and the classes' names in the order of the logits."""

    labels: list[int]
    names: list[str]


def match_classes(folders: Sequence[str], logits: int, labels: Path | str | None = None) -> Matched:
    """Match the sorted folders of classes with so many logits, as ``Photos.test`` says."""
    if labels is not None:
        return _by_file(folders, logits, Path(labels))
    if logits == IMAGENET and all(WNID.fullmatch(folder) for folder in folders):
        imagenet = _imagenet_names()
        wnids = list(imagenet)
        for folder in folders:
            if folder not in imagenet:
                raise InputError(f"--labels is not given, and the folder '{folder}' is none of ImageNet-1k's 1000 classes")
        return Matched([wnids.index(folder) for folder in folders], list(imagenet.values()))
    if len(folders) != logits:
        raise InputError(
            f"--labels is not given, and there are {len(folders)} folders ({', '.join(folders[:3])}{', ...' if len(folders) > 3 else ''}) "
            f"for a network of {logits} logits; accepted: --labels FILE of one class name a line in the order of the logits"
            + (", or folders named by ImageNet wnid (n01440764), or --classes for a network of timm" if logits == IMAGENET else "")
        )
    differing = [pair for pair in zip(folders, sorted(folders, key=_natural), strict=True) if pair[0] != pair[1]]
    if differing:
        taken, natural = differing[0]
        warnings.warn(
            f"--labels is not given: folders are sorted as text, '{taken}' before '{natural}', as torchvision's ImageFolder "
            "sorts them; if the network counts otherwise, labels are wrong (--labels FILE: one class name a line, in its order)",
            stacklevel=2,
        )
    return Matched(list(range(logits)), list(folders))


def wnid_names(folders: Sequence[str]) -> list[str] | None:
    """English names of classes of ImageNet-1k given by their wnids; None if any is none of them."""
    imagenet = _imagenet_names() if all(WNID.fullmatch(folder) for folder in folders) else {}
    return [imagenet[folder] for folder in folders] if imagenet.keys() >= set(folders) else None


def _imagenet_names() -> dict[str, str]:
    """The English name of each wnid of ImageNet-1k, in the order of the logits."""
    info = import_timm().data.ImageNetInfo()
    return {wnid: info.label_name_to_description(wnid) for wnid in info.label_names()}


def class_names(content: bytes) -> list[str]:
    """The lines of a text file of one class name a line, without blank last lines; accents as in ``class_name``."""
    text = unicodedata.normalize("NFC", content.decode("utf-8-sig"))
    return [line.strip() for line in text.rstrip().splitlines()]


def _natural(name: str) -> list[str | int]:
    """What sorts names by the numbers in them, ``class_2`` before ``class_10``, and small letters among capitals, as timm's readers do."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())]


def _by_file(folders: Sequence[str], logits: int, path: Path) -> Matched:
    try:
        names = class_names(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"--labels: no file '{path}'") from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"--labels: '{path}' is not a text file of one class name a line") from error
    if len(names) != logits:
        raise InputError(f"--labels: '{path}' has {len(names)} lines, and the network {logits} logits; accepted: one class name for each")
    for folder in folders:
        lines = [number for number, name in enumerate(names, 1) if name == folder]
        if not lines:
            raise InputError(f"--labels: '{path}' has no line '{folder}', the name of a folder; its lines begin {', '.join(names[:3])}")
        if len(lines) > 1:
            raise InputError(f"--labels: '{path}' names '{folder}' in the lines {lines[0]} and {lines[1]}; accepted: once")
    return Matched([names.index(folder) for folder in folders], names)
