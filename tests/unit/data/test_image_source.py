"""Image files of every kind, as RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from logitpair import InputError
from logitpair.data.image_source import open_image

CPU = torch.device("cpu")


ORIENTED = 6  # EXIF: the camera was turned a quarter to the left


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("L", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("I;16", "png"), ("CMYK", "jpg"), ("RGB", "webp")],
)
@pytest.mark.parametrize("turned", [False, True])
def test_any_mode_comes_out_right_and_upright(tmp_path: Path, mode: str, suffix: str, turned: bool) -> None:
    stripes = np.zeros((8, 12, 3), np.uint8)
    stripes[:4], stripes[4:] = (200, 200, 200), (40, 40, 40)
    grey = Image.fromarray(stripes[..., 0])
    image = {"I;16": Image.fromarray(stripes[..., 0].astype(np.uint16) * 257), "P": grey.quantize(2)}.get(mode) or grey.convert(mode)
    exif = Image.Exif()
    exif[0x112] = ORIENTED
    image.save(tmp_path / f"it.{suffix}", **({"exif": exif} if turned else {}), **({"lossless": True} if suffix == "webp" else {}))
    found = np.asarray(open_image(tmp_path / f"it.{suffix}")).astype(int)
    expected = stripes.astype(int)
    if turned:
        expected = np.rot90(expected, -1)
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= 3


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    from logitpair.data.image_source import DamagedImage

    with pytest.raises(InputError, match="cannot be read: No such file") as caught:
        open_image(tmp_path / "missing.jpg")
    assert not isinstance(caught.value, DamagedImage)
