"""A custom folder of images, one folder a class, to test a network on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from logitpair.data.class_folders import class_images, subfolders, warn_of_missing
from logitpair.data.class_mapping import match_classes
from logitpair.data.dataset import require_folder
from logitpair.data.image_dataset import ImageFiles
from logitpair.data.image_source import FileSource, open_image
from logitpair.data.transforms import Transform, center_crop
from logitpair.errors import InputError
from logitpair.validate import whole

LAYOUT = "a folder with one folder of images a class, or with such folders under val/ or test/"
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos", "box", "hamming")
SPLIT = re.compile(r"(?:^|[\W\d_])(?:train|trn|test|tst|val|dev|eval|hold.?out)")  # words that names of splits begin with


@dataclass(frozen=True, kw_only=True)
class Photos:
    """Images to test on, and no others: ``root/<class>/*.jpg``, or the same under ``root/val`` or ``root/test``.

    Which logit a folder is the label of depends on the network, so that the data set is made by ``test``.

    Args:
        size: height and width of the images the network sees, in pixels.
        resize: what the shorter side is resized to before the centre is cropped, in pixels; None: ``size``.
        interpolation: by which it is resized: ``bilinear``, ``bicubic``, ``nearest``, ``lanczos``, ``box`` or ``hamming``.
        labels: a text file of one class name a line, in the order of the network's logits.
        grey: one channel of grey instead of three of colour, for networks that take one.

    Raises:
        InputError: for sizes below 1 or a ``resize`` below ``size``; and, when used, for a folder that is missing or laid out otherwise.
    """

    root: Path | str | None = None
    size: int = 224
    resize: int | None = None
    interpolation: str = "bilinear"
    labels: Path | str | None = None
    grey: bool = False
    name = "photos"

    def __post_init__(self) -> None:
        whole("--size", self.size, 1)
        if self.resize is not None:
            whole("--resize", self.resize, 1)
            if self.resize < self.size:
                raise InputError(f"--resize must be at least --size ({self.size}), not {self.resize}")
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(f"interpolation: '{self.interpolation}' is not accepted; accepted: {', '.join(INTERPOLATIONS)}")

    @property
    def folders(self) -> list[str]:
        """Names of the classes' folders, sorted."""
        return list(self._files)

    def first(self) -> UInt8[Tensor, "channels size size"]:
        """The first image, to try a network on before the labels are matched."""
        return self._transform(open_image(next(paths[0] for paths in self._files.values() if paths)))

    def test(self, logits: int) -> ImageFiles:
        """All images, with the labels they have for a network of so many logits.

        By the file ``labels`` if there is one; otherwise by the classes of ImageNet-1k if all folders are named by their wnids
        (``n01440764``) and there are 1,000 logits; otherwise by the sorted folders, as in torchvision's ``ImageFolder``.

        Raises:
            InputError: if the folders cannot be matched with the logits, or are splits.
        """
        if self.labels is None:  # which settles what the classes are
            _refuse_splits(self._folder, self._files, logits)
        matched = match_classes(self.folders, logits, self.labels)
        warn_of_missing(self._folder, [name for name, paths in self._files.items() if not paths], len(self._files))
        samples = [(path, label) for label, paths in zip(matched.labels, self._files.values(), strict=True) for path in paths]
        return ImageFiles(FileSource(samples, matched.names), self._transform)

    @property
    def _transform(self) -> Transform:
        return center_crop(self.size, self.resize or self.size, self.interpolation, self.grey)

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        instead = ", or --labels, by which a class may be without any"
        return class_images(self._folder, may_be_empty=self.labels is not None, instead=instead)

    @cached_property
    def _folder(self) -> Path:
        root = require_folder(self.root, LAYOUT)
        splits = [root / name for name in ("val", "test") if (root / name).is_dir() and subfolders(root / name)]
        if len(splits) > 1:
            raise InputError(f"--data-dir: '{root}' holds both val/ and test/; name one of them, such as --data-dir {splits[1]}")
        if not splits and self.labels is None and (root / "train").is_dir() and subfolders(root / "train"):  # else it may be a class
            raise InputError(f"--data-dir: '{root}' holds train/ but no val/ and no test/ with one folder a class")
        return splits[0] if splits else root


def _refuse_splits(folder: Path, images: Mapping[str, Sequence[str]], logits: int) -> None:
    """Refuse the folders of several splits, such as ``Training/`` and ``Testing/``, which would pass for two classes.

    They are known by their names, or by folders of the same names in all of them. The latter may as well be the parts of classes, such as
    ``cat/front/`` and ``cat/back/``: these are as many classes as the network has logits, and the parts are not.
    """
    classes = subfolders(folder)
    below = [{path.name for path in subfolders(path)} for path in classes]
    by_name = all(SPLIT.search(path.name.lower()) for path in classes) and (len(classes) > 1 or all(below))
    flat = any(Path(path).parent in classes for paths in images.values() for path in paths)
    # one name in all, such as cat/images/ and owl/images/, would be a split into one class
    same = len(classes) > 1 and len(below[0]) > 1 and all(names == below[0] for names in below) and not flat
    same = same and not len(classes) == logits != len(below[0])
    if by_name or same:
        test = next((path for path in classes if not re.search("train|trn", path.name.lower())), folder)
        parts = (
            f"hold folders{' of the same names' if same else ''} ({', '.join(sorted(below[0])[:3])})"
            if all(below)
            else "are names of splits"
        )
        raise InputError(
            f"--data-dir: {', '.join(path.name for path in classes[:3])} in '{folder}' {parts}: splits, not classes; "
            f"name one of them, such as --data-dir {test}, or give --labels if they are classes"
        )
