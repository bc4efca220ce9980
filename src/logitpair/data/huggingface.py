"""Any data set of labelled images from the Hugging Face hub or a folder, through the library ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from logitpair.data.image_dataset import ImageFileData, Split, warn_of_gaps, warn_of_leak
from logitpair.data.image_source import DamagedImage, Source, open_image
from logitpair.errors import InputError, first_line


@dataclass(frozen=True, kw_only=True)
class HuggingFace(ImageFileData):
    """A data set by the name it has on huggingface.co, such as ``ylecun/mnist``, or from a custom folder.

    A name is downloaded once into the cache of ``datasets``. A folder is what ``save_to_disk`` wrote, or images, parquet or arrow files
    laid out as ``datasets.load_dataset`` takes them. Needs ``pip install 'logitpair[hub]'``.

    Args:
        config: which of the data set's configurations, where it has several.
        revision: branch, tag or commit on the hub; name a commit for results that are to stay the same.
        training, testing: names of the splits to train and to test on. The test split of some has no labels: name another.
        image, label: names of the columns; None: the only one of images, and the only one of classes.
        size, crop_pct, grey, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

    Raises:
        InputError: when used, without the library or the network, and for splits, columns or labels that are not there.
    """

    path: str
    config: str | None = None
    revision: str | None = None
    training: str = "train"
    testing: str = "test"
    image: str | None = None
    label: str | None = None
    name = "Hugging Face"

    def source(self, split: Split) -> TableSource:
        option, name = f"data.{split}ing", self.training if split == "train" else self.testing
        table, accepted = self._splits.get(name), ", ".join(self._splits)
        if table is None:
            raise InputError(f"{option}: '{self.path}' has no split '{name}'; accepted: {accepted}")
        if not len(table):
            raise InputError(f"{option}: the split '{name}' of '{self.path}' is empty; accepted: {accepted}")
        rows = TableSource(table, self.image, self.label)
        known = rows.classes if split == "train" or rows.named else self.classes
        low, high = rows.labels.min(), rows.labels.max()
        if low < 0 or high >= len(known):
            accepted = f"a split with labels from 0 to {len(known) - 1}"
            raise InputError(f"{option}: the split '{name}' of '{self.path}' has labels from {low} to {high}; accepted: {accepted}")
        if split == "train" and not rows.named:
            warn_of_gaps(f"{option}: the split '{name}' of '{self.path}'", rows.labels)
        if split == "test" and self.testing == self.training:
            warn_of_leak(f"{option}: '{self.testing}'", "data.training")
        if split == "test" and rows.named and list(rows.classes) != list(self.classes):
            unknown = [rows.classes[label] for label in np.unique(rows.labels) if rows.classes[label] not in self.classes]
            if unknown:
                known = ", ".join(self.classes[:5])
                raise InputError(
                    f"{option}: the split '{name}' of '{self.path}' has the class '{unknown[0]}'; those of training are {known}"
                )
            rows.labels = np.array([self.classes.index(rows.classes[label]) for label in rows.labels])
            rows.classes = self.classes
        return rows

    @cached_property
    def _splits(self) -> Any:
        """The library's ``DatasetDict``."""
        datasets = _import_datasets()
        try:
            if (Path(self.path) / "dataset_dict.json").exists():
                return datasets.load_from_disk(self.path)
            return datasets.load_dataset(self.path, self.config, revision=self.revision)
        except Exception as error:  # what the library raises depends on the hub, the network and the files
            accepted = "a name on huggingface.co that can be reached, or a folder"
            raise InputError(f"data.path: cannot load '{self.path}' ({first_line(error)}); accepted: {accepted}") from error


class TableSource(Source):
    """The rows of a table of the library, with images and labels in the columns named, or the only ones of their types."""

    def __init__(self, table: Any, image: str | None, label: str | None) -> None:
        self.image = _column(table, "image", image, "Image")
        column = _column(table, "label", label, "ClassLabel")
        kind = table.features[column]
        integers = "int" in str(getattr(kind, "dtype", ""))
        self.labels = np.asarray(table.select_columns([column])[:][column] if integers else [None])
        if self.labels.dtype.kind not in "iu":  # nor where some rows have no label
            raise InputError(f"data.label: the column '{column}' holds no whole numbers; accepted: a column of classes")
        names = getattr(kind, "names", None)
        self.named = bool(names)
        self.classes: Sequence[str] = list(names or map(str, range(int(self.labels.max()) + 1)))
        self.table = table.cast_column(self.image, _import_datasets().Image(decode=False))  # decoded by open_image, in any mode

    def name(self, position: int) -> str:
        return f"row {position}"

    def open(self, position: int) -> Image.Image:
        content = self.table[position][self.image] or {}
        file = content.get("bytes") or content.get("path")
        if file is None:
            raise DamagedImage(f"data.path: {self.name(position)} has no image")
        return open_image(file, self.name(position))

    def signature(self, positions: Iterable[int]) -> str:
        chosen = np.fromiter(positions, np.int64)
        return repr((self.table._fingerprint, chosen.tolist(), self.labels[chosen].tolist()))


def _import_datasets() -> Any:
    """The library, which is optional."""
    with suppress(ImportError):
        import datasets  # pyright: ignore[reportMissingImports]

        if hasattr(datasets, "load_dataset"):  # which a folder of that name in the current one has not
            return datasets
    raise InputError("data: HuggingFace needs the library datasets, which is not installed: pip install 'logitpair[hub]'")


def _column(table: Any, option: str, name: str | None, kind: str) -> str:
    """The column that is named, or the only one of a kind."""
    columns = list(table.features)
    found = [column for column in columns if type(table.features[column]).__name__ == kind] if name is None else [name]
    if len(found) != 1 or found[0] not in columns:
        reason = f"there is no '{name}'" if name is not None else f"{len(found)} of the columns are of type {kind}"
        raise InputError(f"data.{option}: {reason}; accepted: {', '.join(columns)}")
    return found[0]
