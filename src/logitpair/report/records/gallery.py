"""The images that a ledger shows, and the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitpair.storage.schema1 import NO_CLASS

Images = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Example:
    """One image of the gallery, before and after the attack; classes by number, None where the logits were no numbers."""

    clean: Images
    adversarial: Images
    true: int
    before: int | None
    after: int | None


def read_class_names(results: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes' names, or their numbers where ``results.json`` names none.

    Raises:
        ValueError: for a name too many or too few.
    """
    classes = int(results["classes"])
    names = tuple(map(str, (results.get("data") or {}).get("class_names") or range(classes)))
    if len(names) != classes:
        raise ValueError(f"{len(names)} class names for {classes} classes")
    return names


def read_gallery(ledger: Mapping[str, NDArray[Any]], images: str, prediction: str, classes: int) -> list[Example]:
    """The images of a ledger, none where it holds none.

    Args:
        ledger: the content of ``ledger.npz``.
        images: the column of the attacked images.
        prediction: the column of what they are taken for.
        classes: how many there are.

    Raises:
        ValueError: where the columns do not fit together (``KeyError`` where one is missing).
    """
    if "gallery/x" not in ledger or images not in ledger:
        return []
    columns = [ledger[key] for key in ("gallery/x", images, "y", "clean/prediction", prediction)]
    shown = len(columns[0])
    if columns[0].ndim != 4 or columns[0].shape != columns[1].shape or any(len(column) < shown for column in columns):
        raise ValueError("the gallery's images and predictions do not fit together")
    examples = [
        Example(clean, adversarial, int(true), _class(before), _class(after))
        for clean, adversarial, true, before, after in zip(*columns, strict=False)  # the gallery shows the first rows of the ledger
    ]
    known = [label for example in examples for label in (example.true, example.before, example.after) if label is not None]
    if any(not 0 <= label < classes for label in known):
        raise ValueError(f"a label of the gallery is outside 0 to {classes - 1}")
    return examples


def _class(label: Any) -> int | None:
    return None if label == NO_CLASS else int(label)
