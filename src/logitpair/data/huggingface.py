"""Any data set of labelled images from the Hugging Face hub or a folder, through the library ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from logitpair.data.image_dataset import ImageFileData, Source, Split
from logitpair.data.image_file import Damaged, open_picture
from logitpair.errors import InputError


@dataclass(frozen=True, kw_only=True)
class HuggingFace(ImageFileData):
    """A data set by the name it has on huggingface.co, such as ``ylecun/mnist``, or from a folder of one's own.

    A name is downloaded once into the cache of ``datasets``. A folder is what ``save_to_disk`` wrote, or pictures, parquet or arrow files
    laid out as ``datasets.load_dataset`` takes them. Needs ``pip install 'logitpair[hub]'``.

    Args:
        path: the name or the folder.
        config: which of the data set's configurations, where it has several.
        revision: branch, tag or commit on the hub; name a commit for results that are to stay the same.
        training, testing: names of the splits to train and to test on. The test split of some has no labels: name another.
        image, label: names of the columns; None: the only one of images, and the only one of classes.
        size, crop_pct, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

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

    @property
    def classes(self) -> Sequence[str]:
        return self._rows("train").classes

    def _source(self, split: Split) -> Rows:
        rows, classes = self._rows(split), self.classes
        if rows.labels.min() < 0 or rows.labels.max() >= len(classes):
            raise InputError(
                f"data.{split}ing: the split '{self.testing if split == 'test' else self.training}' of '{self.path}' has labels from "
                f"{rows.labels.min()} to {rows.labels.max()}; accepted: a split with labels from 0 to {len(classes) - 1}"
            )
        return rows

    def _rows(self, split: Split) -> Rows:
        return self._train_rows if split == "train" else Rows(self._split("testing", self.testing), self.image, self.label)

    @cached_property
    def _train_rows(self) -> Rows:
        return Rows(self._split("training", self.training), self.image, self.label)

    def _split(self, option: str, name: str) -> Any:
        if name not in self._splits:
            raise InputError(f"data.{option}: '{self.path}' has no split '{name}'; accepted: {', '.join(self._splits)}")
        if not len(self._splits[name]):
            raise InputError(f"data.{option}: the split '{name}' of '{self.path}' is empty; accepted: {', '.join(self._splits)}")
        return self._splits[name]

    @cached_property
    def _splits(self) -> Any:
        """The library's ``DatasetDict``."""
        datasets = import_datasets()
        try:
            if (Path(self.path) / "dataset_dict.json").exists():
                return datasets.load_from_disk(self.path)
            return datasets.load_dataset(self.path, self.config, revision=self.revision)
        except Exception as error:  # what the library raises depends on the hub, the network and the files
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"data.path: cannot load '{self.path}' ({reason}); accepted: a name on huggingface.co that can be reached, or a folder"
            ) from error


class Rows(Source):
    """The rows of a table of the library.

    Args:
        table: a ``datasets.Dataset``.
        image, label: names of the columns; None: to be found by their types.

    Raises:
        InputError: for columns that are not there or of another type.
    """

    def __init__(self, table: Any, image: str | None, label: str | None) -> None:
        self.image = _column(table, "image", image, "Image")
        column = _column(table, "label", label, "ClassLabel")
        of_whole_numbers = "int" in str(getattr(table.features[column], "dtype", ""))
        self.labels = np.asarray(table.select_columns([column])[:][column] if of_whole_numbers else [None])
        if self.labels.dtype.kind not in "iu":  # nor where some rows have no label
            raise InputError(f"data.label: the column '{column}' holds no whole numbers; accepted: a column of classes")
        names = getattr(table.features[column], "names", None)
        self.classes: Sequence[str] = list(names) if names else [str(number) for number in range(int(self.labels.max()) + 1)]
        self.table = table.cast_column(self.image, import_datasets().Image(decode=False))  # decoded here, turned and in any mode

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, position: int) -> int:
        return int(self.labels[position])

    def name(self, position: int) -> str:
        return f"row {position}"

    def open(self, position: int) -> Image.Image:
        content = self.table[position][self.image] or {}
        file = content.get("bytes") or content.get("path")
        if file is None:
            raise Damaged(f"data.path: {self.name(position)} has no picture")
        return open_picture(file, self.name(position))

    def told(self, positions: Iterable[int]) -> str:
        chosen = np.fromiter(positions, np.int64)
        return repr((self.table._fingerprint, chosen.tolist(), self.labels[chosen].tolist()))


def import_datasets() -> Any:
    """The library.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _not_installed() from error
    if not hasattr(datasets, "load_dataset"):  # a folder of that name in the current one
        raise _not_installed()
    return datasets


def _not_installed() -> InputError:
    return InputError("data: HuggingFace needs the library datasets, which is not installed: pip install 'logitpair[hub]'")


def _column(table: Any, option: str, name: str | None, kind: str) -> str:
    """The column that is named, or the only one of a kind."""
    columns = list(table.features)
    found = [column for column in columns if type(table.features[column]).__name__ == kind] if name is None else [name]
    if len(found) != 1 or found[0] not in columns:
        why = f"there is no '{name}'" if name is not None else f"{len(found)} of the columns are of type {kind}"
        raise InputError(f"data.{option}: {why}; accepted: {', '.join(columns)}")
    return found[0]
