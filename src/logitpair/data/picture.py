"""A picture file as the pixels of an RGB image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from logitpair.compat import import_torchvision
from logitpair.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


def open_picture(path: Path | str) -> Image.Image:
    """A photo as RGB, the right way up.

    Grey, 16-bit and palette images become RGB; transparency is dropped, and of an animation the first picture is taken.

    Raises:
        InputError: for a file that is damaged or no image.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(_rgb(image))
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        raise InputError(f"--data-dir: '{path}' is truncated or not an image") from error


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
