"""An image file as the pixels of an RGB image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from logitpair.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class DamagedImage(InputError):
    """A file that can be read, and is truncated or no image."""


def open_image(file: Path | str | bytes, name: object = None) -> Image.Image:
    """An image file as RGB, the right way up.

    Grey, 16-bit, palette and CMYK images become RGB; transparency is dropped, and of an animation the first frame is taken.

    Args:
        file: a path, or a file's content.
        name: what messages call it; None: its path.

    Raises:
        DamagedImage: for a file that is damaged or no image.
        InputError: for a file that cannot be read, which is no damage.
    """
    name = name or (file if not isinstance(file, bytes) else "an image")
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return _rgb(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:  # what Pillow raises depends on the format and on the damage
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"--data-dir: '{name}' cannot be read: {error.strerror}") from error
        raise DamagedImage(f"--data-dir: '{name}' is truncated or not an image") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow's own conversion would clip to white
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P":  # a palette may hold transparency, which only RGBA can take
        image = image.convert("RGBA")
    return image.convert("RGB")
