"""SVHN: house numbers cut out of street photos, 32x32 pixels, in colour (Netzer et al. 2011)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from logitpair.data.dataset import ImageData, MemoryImages, require_folder, training_count
from logitpair.errors import InputError
from logitpair.validate import fraction

OFFICIAL = {"train": 73_257, "test": 26_032, "extra": 531_131}
LAYOUT = "the folder of train_32x32.mat and test_32x32.mat (http://ufldl.stanford.edu/housenumbers)"
PIXELS = (32, 32, 3)


@dataclass(frozen=True, kw_only=True)
class SVHN(ImageData):
    """SVHN as its authors publish it: ``root/{train,test}_32x32.mat``, and ``extra_32x32.mat`` with ``extra``.

    Any file of that form is taken, with a warning if it has not as many images as the official one. The validation images are the last
    of the training file, whose digits come photo by photo, so that no photo is in both. A file is read once an instance, into memory:
    0.3 GB for all of train and test, 1.6 GB more for ``extra``, and twice that while it is read.

    Args:
        extra: train on the 531,131 easier images of ``extra_32x32.mat`` too.
        validation_fraction: fraction of the training file kept for validation.

    Raises:
        InputError: for a ``validation_fraction`` outside [0, 1); and, when used, for files that are missing, truncated, or of another form.
    """

    root: Path | str | None = Path("data")
    extra: bool = False
    validation_fraction: float = 0.1
    name = "SVHN"

    def __post_init__(self) -> None:
        fraction("data.validation_fraction", self.validation_fraction, one=False)

    @property
    def classes(self) -> Sequence[str]:
        return [str(digit) for digit in range(10)]

    def train(self) -> MemoryImages:
        kept = self._train.part(0, training_count(len(self._train), self.validation_fraction))
        if not self.extra:
            return kept
        more = self._read("extra")
        return MemoryImages(torch.cat([kept.images, more.images]), torch.cat([kept.labels, more.labels]))

    def validation(self) -> MemoryImages:
        return self._train.part(training_count(len(self._train), self.validation_fraction), len(self._train))

    def test(self) -> MemoryImages:
        return self._test

    @cached_property
    def _train(self) -> MemoryImages:
        return self._read("train")

    @cached_property
    def _test(self) -> MemoryImages:
        return self._read("test")

    def _read(self, split: str) -> MemoryImages:
        path = require_folder(self.root, LAYOUT) / f"{split}_32x32.mat"
        if not path.is_file():
            raise InputError(f"--data-dir: no {path.name} in '{self.root}'; it must be {LAYOUT}")
        images, labels = _matrices(path)
        if len(labels) != OFFICIAL[split]:
            number = f"{len(labels):,} images, the official file {OFFICIAL[split]:,}"
            warnings.warn(f"--data-dir: '{path}' has {number}: results are not comparable with published ones", stacklevel=2)
        return MemoryImages(torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1))), torch.from_numpy(labels % 10))


def _matrices(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """``X`` as ``[32, 32, 3, n]`` and ``y`` as ``[n]``, int64 from 1 to 10, where 10 is the digit 0."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # what scipy raises depends on where the file is cut
        if (isinstance(error, OSError) and error.errno is not None) or isinstance(error, MemoryError):
            raise
        raise InputError(f"--data-dir: '{path}' is truncated or not a MATLAB file as SVHN's are") from error
    if missing := [name for name in ("X", "y") if name not in content]:
        raise InputError(f"--data-dir: '{path}' holds no {' and no '.join(missing)}; accepted: X [32, 32, 3, n] and y [n, 1]")
    images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    if images.shape == PIXELS:  # MATLAB drops the last axis of a single image
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != PIXELS or not len(labels):
        raise InputError(f"--data-dir: X in '{path}' is {images.dtype} {list(images.shape)}; accepted: uint8 [32, 32, 3, n]")
    if labels.dtype.kind not in "iuf" or len(labels) != images.shape[3] or not np.isin(labels, range(1, 11)).all():
        accepted = "one label from 1 to 10 (10 is the digit 0)"
        raise InputError(f"--data-dir: y in '{path}' is not {accepted} for each of {images.shape[3]} images")
    return images, labels.astype(np.int64)
