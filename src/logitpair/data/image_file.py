"""A picture file as the pixels of an RGB image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_torchvision

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class Damaged(InputError):
    """A file that can be read, and is truncated or no image."""


def open_picture(file: Path | str | bytes, name: object = None) -> Image.Image:
    """A photo as RGB, the right way up.

    Grey, 16-bit, palette and CMYK images become RGB; transparency is dropped, and of an animation the first picture is taken.

    Args:
        file: a path, or a file's content.
        name: what messages call it; None: its path.

    Raises:
        Damaged: for a file that is damaged or no image.
        InputError: for a file that cannot be read, which is no damage.
    """
    name = name or (file if not isinstance(file, bytes) else "a picture")
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return _rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"--data-dir: '{name}' cannot be read: {error.strerror}") from error
        if isinstance(error, MemoryError):
            raise
        raise Damaged(f"--data-dir: '{name}' is truncated or not an image") from error


def read_picture(path: Path, size: int, resize: int) -> UInt8[Tensor, "3 {size} {size}"]:
    """The pixels of a photo's centre: its shorter side is resized to ``resize`` pixels, then it is cropped to ``size``.

    Raises:
        InputError: for a file that is damaged or no image.
    """
    image: Any = open_picture(path)
    functional = import_torchvision().transforms.v2.functional
    return functional.pil_to_tensor(functional.center_crop(functional.resize(image, [resize]), [size]))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow's own conversion would clip to white
        grey = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        return grey.convert("RGB")
    if image.mode == "P":  # a palette may hold transparency, which only RGBA can take
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
