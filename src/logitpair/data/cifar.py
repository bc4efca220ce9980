"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test photos of 32x32 pixels, of 10 and of 100 classes (Krizhevsky 2009)."""

import tarfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from logitpair.data.class_folders import class_images
from logitpair.data.dataset import ImageData, MemoryImages, held_out
from logitpair.data.image_dataset import Split
from logitpair.data.plain_pickle import byte_array, read_plain_pickle
from logitpair.data.small_images import augmented, decode
from logitpair.errors import InputError
from logitpair.validate import fraction, whole

SIZE = 32
OFFICIAL = {"train": 50_000, "test": 10_000}
HUNDRED = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle "
    "chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house "
    "kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange "
    "orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal "
    "shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


class Published(NamedTuple):
    """How the authors publish one of the two: the archive, its folder, the pickles in it, their key of the labels, and the classes."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    key: bytes
    classes: tuple[str, ...]

    @property
    def layout(self) -> str:
        """What ``--data-dir`` must be."""
        unpacked = f"{self.archive} (https://www.cs.toronto.edu/~kriz/cifar.html), what it unpacks to"
        return f"{unpacked}, or a folder with train/CLASS/ and test/CLASS/"


@dataclass(frozen=True, kw_only=True)
class CIFAR10(ImageData):
    """CIFAR-10, out of its authors' archive for Python, what this unpacks to, or one folder of images a class.

    Of the archive's pickles arrays, strings and numbers are read, and nothing that a foreign one may ask for is run. Images are held in
    memory, 0.2 GB of them all; any number of them is taken, with a warning where it is not the official one. Validation images are drawn
    once by a fixed seed from the training images.

    Args:
        root: the archive ``cifar-10-python.tar.gz``, a folder that holds it or the ``cifar-10-batches-py`` of it, that folder itself, or
            a folder with ``train/CLASS/`` and ``test/CLASS/`` of images, its classes named as in ``classes``.
        padding: in training, black pixels added around an image before a random crop of its size; 0: no crop.
        flip: in training, mirror every second image.
        validation_fraction: fraction of the training images kept for validation.

    Raises:
        InputError: for values outside their range; and, when used, for files that are missing, damaged, tampered with, or of another form.
    """

    root: Path | str | None = Path("data")
    padding: int = 4
    flip: bool = True
    validation_fraction: float = 0.02
    name = "CIFAR-10"
    published: ClassVar[Published] = Published(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        key=b"labels",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    )

    def __post_init__(self) -> None:
        whole("data.padding", self.padding, 0)
        fraction("data.validation_fraction", self.validation_fraction, one=False)

    @property
    def classes(self) -> Sequence[str]:
        return self.published.classes

    def train(self) -> Dataset[Any]:
        self.test()  # what evaluation will need is looked at before hours of training
        return augmented(self._part(0), SIZE, padding=self.padding, flip=self.flip)

    def validation(self) -> MemoryImages:
        return self._part(1)

    def test(self) -> MemoryImages:
        return self._test

    def _part(self, number: int) -> MemoryImages:
        positions = held_out(len(self._train), self.validation_fraction)[number]
        return MemoryImages(*self._train[positions])

    @cached_property
    def _train(self) -> MemoryImages:
        return self._read("train")

    @cached_property
    def _test(self) -> MemoryImages:
        return self._read("test")

    def _read(self, split: Split) -> MemoryImages:
        images = self._from_folders(split) or self._from_batches(split)
        if len(images) != OFFICIAL[split]:
            number = f"{len(images):,} images of split {split}, the official {self.name} {OFFICIAL[split]:,}"
            warnings.warn(f"--data-dir: '{self.root}' holds {number}: results are not comparable with published ones", stacklevel=2)
        return images

    def _from_folders(self, split: Split) -> MemoryImages | None:
        """The images of class folders; None where there are no such folders."""
        if self.root is None or not (Path(self.root) / "train").is_dir():
            return None
        folder = Path(self.root) / split
        if not folder.is_dir():
            raise InputError(f"--data-dir: no folder '{folder}' beside train/; it must hold one folder of images a class")
        found = class_images(folder)
        if unlike := sorted(found.keys() ^ set(self.classes)):
            other = f"classes that are not those of {self.name}, or lacks some of them, such as {', '.join(unlike[:3])}"
            raise InputError(f"--data-dir: '{folder}' has {other}; other folders of images: logitpair.data.Folder")
        files = [(path, label) for label, name in enumerate(self.classes) for path in found[name]]
        return decode(files, SIZE, size=SIZE, description=f"decoding {self.name}")[0]

    def _from_batches(self, split: Split) -> MemoryImages:
        names = self.published.train if split == "train" else self.published.test
        batches = {name: _batch(raw, name, self.published.key, len(self.classes)) for name, raw in self._read_files(names)}
        if missing := [name for name in names if name not in batches]:
            raise InputError(f"--data-dir: no {' and no '.join(missing)} in '{self.root}'; it must be {self.published.layout}")
        images, labels = (np.concatenate([batches[name][part] for name in names]) for part in (0, 1))
        return MemoryImages(torch.from_numpy(images), torch.from_numpy(labels))

    def _read_files(self, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The files of these names, as many of them as there are, wherever they lie."""
        root, folder = Path(self.root or ""), self.published.folder
        if self.root is None or not root.exists():
            found = " is not given" if self.root is None else f": no file or folder '{root}'"
            raise InputError(f"--data-dir{found}; it must be {self.published.layout}")
        unpacked = [path / name for path in (root, root / folder) for name in wanted if (path / name).is_file()]
        for path in unpacked:
            yield path.name, path.read_bytes()
        path = root if root.is_file() else root / self.published.archive
        if unpacked or not path.is_file():
            return
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    inside = PurePosixPath(member.name)
                    named = inside.name in wanted and inside.parent.name == folder and member.isfile()
                    if named and (content := archive.extractfile(member)):
                        yield inside.name, content.read()
                while archive.fileobj and archive.fileobj.read(2**20):
                    pass  # to the end, where gzip's checksum is
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(f"--data-dir: '{path}' is truncated or not {self.published.archive}") from error


@dataclass(frozen=True, kw_only=True)
class CIFAR100(CIFAR10):
    """CIFAR-100 with its 100 fine classes, as ``CIFAR10``: ``cifar-100-python.tar.gz``, which unpacks to ``cifar-100-python``."""

    name = "CIFAR-100"
    published: ClassVar[Published] = Published(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        key=b"fine_labels",
        classes=tuple(HUNDRED.split()),
    )


def _batch(raw: bytes, name: str, key: bytes, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The images ``[n, 3, 32, 32]`` and labels ``[n]`` of one of the pickles."""
    try:
        content = read_plain_pickle(raw)
    except InputError as error:
        raise InputError(f"--data-dir: '{name}' {error}") from error
    content = content if isinstance(content, dict) else {}
    pixels, labels = byte_array(content.get(b"data")), content.get(key)
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != 3 * SIZE**2:
        raise InputError(f"--data-dir: data in '{name}' is no array of bytes [n, {3 * SIZE**2}], as the official files have it")
    in_range = isinstance(labels, list) and all(type(label) is int and 0 <= label < classes for label in cast(list[Any], labels))
    if not in_range or len(cast(list[Any], labels)) != len(pixels):
        accepted = f"one label from 0 to {classes - 1} for each of {len(pixels)} images"
        raise InputError(f"--data-dir: {key.decode()} in '{name}' is not {accepted}")
    return pixels.reshape(-1, 3, SIZE, SIZE), np.array(labels, np.int64)
