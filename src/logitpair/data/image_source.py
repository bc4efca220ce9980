"""Where labelled images lie: in files, or, by other subclasses, in tar files and tables."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from logitpair.data.image_file import open_image


class Source(ABC):
    """Labelled images that are read when they are needed."""

    labels: np.ndarray
    classes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def name(self, position: int) -> str:
        """What messages call the image."""

    @abstractmethod
    def open(self, position: int) -> Image.Image:
        """The image as RGB, the right way up; raises ``DamagedImage`` if it is truncated or no image."""

    @abstractmethod
    def signature(self, positions: Iterable[int]) -> str:
        """All that is known of the images without reading them, wherever they lie: another text for other images or labels."""


class FileSource(Source):
    """Images in a file each, given by path and label."""

    def __init__(self, samples: Sequence[tuple[str, int]], classes: Sequence[str]) -> None:
        self.samples, self.classes = samples, classes
        self.labels = np.array([label for _, label in samples], np.int64)

    def name(self, position: int) -> str:
        return self.samples[position][0]

    def open(self, position: int) -> Image.Image:
        return open_image(self.samples[position][0])

    def signature(self, positions: Iterable[int]) -> str:
        return file_signature([self.samples[position] for position in positions])


def file_signature(samples: Sequence[tuple[str, int]]) -> str:
    """Name below their common folder, label, size and time of change of each file."""
    folder = os.path.commonpath([os.path.dirname(path) for path, _ in samples]) if samples else ""
    stats = [(os.path.relpath(path, folder), label, os.stat(path)) for path, label in samples]
    return repr([(name, label, stat.st_size, stat.st_mtime_ns) for name, label, stat in stats])
