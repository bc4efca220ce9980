"""Where labelled images lie (in files, or, by other subclasses, in tar files and tables), and how a file becomes an RGB image."""

import io
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PREFIXES, SAMPLEFORMAT, ImageFileDirectory_v2

from logitpair.errors import InputError, first_line
from logitpair.runtime.progress import tracked

WHITE_IS_ZERO = 0  # of TIFF's photometric interpretations
UNSIGNED, SIGNED = 1, 2  # of TIFF's formats of samples
_warned_of = set[tuple[str, str]]()
Item = TypeVar("Item")
Result = TypeVar("Result")


class DamagedImage(InputError):
    """A file that can be read, and is truncated or no image."""


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
        """The image as ``open_image`` gives it."""

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


def open_image(file: Path | str | bytes, name: object = None) -> Image.Image:
    """An image file of any mode, by its path or content, as RGB the right way up; messages call it ``name``, by default its path."""
    name = name or (file if not isinstance(file, bytes) else "an image")
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF") or tags.get(SAMPLEFORMAT, [UNSIGNED])[0] == SIGNED:
                raise _of_unknown_range(name, "32-bit floating-point" if image.mode == "F" else "signed or 32-bit integer")
            if Image.MAX_IMAGE_PIXELS is not None and (pixels := image.width * image.height) > Image.MAX_IMAGE_PIXELS:
                warnings.warn(f"--data-dir: '{name}' has {pixels / 1e6:,.0f} million pixels, which take memory and time", stacklevel=2)
            if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's, whose other images are the same one
                _warn_once(str(name), "has several pages or frames, of which the first is taken")
            deep = not image.mode.startswith("I") and ";16" in str(image.tile)  # colours, of which Pillow keeps the upper 8 bits
            rgb = _rgb(ImageOps.exif_transpose(image), tags, name)
            if deep and rgb.getbbox() is None:
                _warn_once(str(name), "is all black: if its 16 bits hold values of 8, these are lost, for white is 65535")
            return rgb
    except (MemoryError, InputError, Warning):  # Python makes an error of a warning where it is told to
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"--data-dir: '{name}' is larger than Pillow opens ({first_line(error)}); accepted: a smaller image") from error
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        if isinstance(error, Image.UnidentifiedImageError) and _is_other_tiff(file):
            raise _of_unknown_range(name, "64-bit, half-precision or complex") from error
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"--data-dir: '{name}' cannot be read: {error.strerror}") from error
        raise DamagedImage(f"--data-dir: '{name}' is truncated or not an image") from error


def _of_unknown_range(name: object, kind: str) -> InputError:
    return InputError(f"--data-dir: '{name}' has {kind} pixels, whose black and white are not known; accepted: 8 or 16 bits")


def _is_other_tiff(file: Path | str | bytes) -> bool:
    """Whether a file that Pillow does not take is a TIFF file of other numbers than unsigned integers, and not a damaged one."""
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as content:
        if (header := content.read(8))[:4] not in PREFIXES:
            return False
        try:
            tags = ImageFileDirectory_v2(header)
            content.seek(tags.next)
            tags.load(content)
        except Exception:  # as above
            return False
    return tags.get(SAMPLEFORMAT, [UNSIGNED])[0] != UNSIGNED or tags.get(BITSPERSAMPLE, [0])[0] > 32


def _rgb(image: Image.Image, tags: Mapping[int, Any], name: object) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(np.asarray(image).astype(np.int64), tags, name)
    if image.mode == "P":  # a palette may hold transparency, which only RGBA can take
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(grey: np.ndarray, tags: Mapping[int, Any], name: object) -> Image.Image:
    """Grey of 16 bits, of 12 in some TIFF files, which Pillow's own conversion would clip to white."""
    white = 2 ** tags.get(BITSPERSAMPLE, (16,))[0] - 1
    if white == 65535 and 0 < grey.max() <= 255:
        _warn_once(str(name), "has 16 bits, of which it uses 8: all of it is black, for white is 65535")
    if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:  # which Pillow heeds for 8 bits alone
        grey = white - grey
    return Image.fromarray((grey.clip(0, white) * 255 // white).astype(np.uint8))


def _warn_once(name: str, of: str) -> None:
    """Warn of the first such image in a folder."""
    if (where := (os.path.dirname(name), of)) not in _warned_of:
        _warned_of.add(where)
        warnings.warn(f"--data-dir: '{name}' {of}", stacklevel=3)


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[Result]:
    """The results in the order of the items, on all cores: Pillow decodes outside Python's lock, so that threads are enough."""
    with ThreadPool(min(os.cpu_count() or 1, 32)) as pool:
        yield from tracked(pool.imap(work, items, chunksize=64), description, len(items))
