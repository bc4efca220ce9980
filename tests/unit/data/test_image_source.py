"""Image files of every kind, as RGB."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from logitpair import InputError
from logitpair.data.image_source import DamagedImage, open_image

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


STEPS = np.array([[0, 257, 32768, 65535]], np.uint16)


def tiff(path: Path, pixels: np.ndarray, **tags: int) -> Path:
    Image.fromarray(pixels).save(path, tiffinfo={262: tags.get("photometric", 1)})
    return path


def grey_of(path: Path) -> list[int]:
    found = np.asarray(open_image(path))
    assert (found == found[..., :1]).all()
    return found[0, :, 0].tolist()


def test_grey_of_16_bits_keeps_its_values(tmp_path: Path) -> None:
    expected = [0, 1, 127, 255]
    assert grey_of(tiff(tmp_path / "a.tif", STEPS)) == expected
    assert grey_of(tiff(tmp_path / "b.tif", STEPS.astype(">u2"))) == expected
    (tmp_path / "c.pgm").write_bytes(b"P5 4 1 65535\n" + STEPS.astype(">u2").tobytes())
    assert grey_of(tmp_path / "c.pgm") == expected
    inverted = bytearray(tiff(tmp_path / "d.tif", STEPS).read_bytes())
    at = inverted.index(struct.pack("<HHI", 262, 3, 1)) + 8
    inverted[at] = 0  # white is zero
    (tmp_path / "d.tif").write_bytes(inverted)
    assert grey_of(tmp_path / "d.tif") == [255, 254, 127, 0]


def test_grey_of_12_bits_reaches_white(tmp_path: Path) -> None:
    content = bytearray(tiff(tmp_path / "a.tif", np.zeros((1, 4), np.uint16)).read_bytes())
    at = content.index(struct.pack("<HHI", 258, 3, 1)) + 8
    content[at] = 12
    with Image.open(tmp_path / "a.tif") as image:
        offset = image.tag_v2[273][0]
    content[offset : offset + 6] = bytes.fromhex("000fff800001")  # 000 fff 800 001
    (tmp_path / "a.tif").write_bytes(content)
    assert grey_of(tmp_path / "a.tif") == [0, 255, 127, 0]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 255]], np.int32), "signed or 32-bit integer pixels"),
        (np.array([[0, 2**31 - 1]], np.int32), "signed or 32-bit integer pixels"),
        (np.array([[0, 0.5]], np.float32), "32-bit floating-point pixels"),
    ],
)
def test_pixels_of_unknown_range_are_refused_and_not_called_damaged(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"^--data-dir: '.*a.tif' has {message}") as caught:
        open_image(tiff(tmp_path / "a.tif", pixels))
    assert not isinstance(caught.value, DamagedImage)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # of Pillow
@pytest.mark.parametrize(
    ("bits", "sample", "content", "message"),
    [
        (8, 2, b"\x9c", "signed or 32-bit integer"),
        (64, 3, struct.pack("<d", 0.5), "64-bit, half-precision or complex"),
        (16, 3, struct.pack("<e", 0.5), "64-bit, half-precision or complex"),
        (64, 1, struct.pack("<Q", 5), "64-bit, half-precision or complex"),
    ],
)
def test_tiff_files_of_other_numbers_are_refused_and_damaged_ones_are_damaged(
    tmp_path: Path, bits: int, sample: int, content: bytes, message: str
) -> None:
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(content), 339: sample}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    whole = b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory + bytes(4)
    (tmp_path / "a.tif").write_bytes(whole)
    for file, name in ((tmp_path / "a.tif", None), (whole, tmp_path / "a.tif")):
        with pytest.raises(InputError, match=f"^--data-dir: '.*a.tif' has {message} pixels") as caught:
            open_image(file, name)
        assert not isinstance(caught.value, DamagedImage)
    with pytest.raises(DamagedImage):
        open_image(whole[:9])


def test_colours_of_16_bits_that_are_lost_are_warned_of_once_a_folder(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def png(*pixel: int) -> bytes:
        header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(struct.pack(">B3H", 0, *pixel)))
            + chunk(b"IEND", b"")
        )

    (tmp_path / "a.png").write_bytes(png(51200, 25600, 255))
    assert np.asarray(open_image(tmp_path / "a.png")).tolist() == [[[200, 100, 0]]]
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(90, 80, 70))
    with pytest.warns(
        UserWarning, match="^--data-dir: '.*0.png' is all black: if its 16 bits hold values of 8, these are lost, for white is"
    ):
        open_image(tmp_path / "0.png")
    open_image(tmp_path / "1.png")


def test_a_black_image_of_16_bits_is_black(tmp_path: Path) -> None:
    assert grey_of(tiff(tmp_path / "a.tif", np.zeros((1, 4), np.uint16))) == [0, 0, 0, 0]


def test_images_that_may_be_of_8_bits_are_warned_of_once_a_folder(tmp_path: Path) -> None:
    for number in range(2):
        tiff(tmp_path / f"{number}.tif", np.array([[0, 255]], np.uint16))
    with pytest.warns(UserWarning, match="^--data-dir: '.*0.tif' has 16 bits, of which it uses 8: all of it is black, for white is 65535$"):
        assert grey_of(tmp_path / "0.tif") == [0, 0]
    assert grey_of(tmp_path / "1.tif") == [0, 0]


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_of_several_pages_the_first_is_taken_with_a_warning_a_folder(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("L", (2, 1), shade) for shade in (50, 200)]
    for number in range(2):
        pages[0].save(
            tmp_path / f"{number}.{suffix}", save_all=True, append_images=pages[1:], **({"lossless": True} if suffix == "webp" else {})
        )
    with pytest.warns(UserWarning, match=rf"^--data-dir: '.*0.{suffix}' has several pages or frames, of which the first is taken$"):
        assert grey_of(tmp_path / f"0.{suffix}") == [50, 50]
    assert grey_of(tmp_path / f"1.{suffix}") == [50, 50]


def test_a_photo_with_another_one_for_viewers_is_one_photo(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 8), (shade,) * 3) for shade in (50, 200)]
    pages[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
    assert set(grey_of(tmp_path / "a.jpg")) == {50}


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_very_large_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 30), 7).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.warns(UserWarning, match="^--data-dir: '.*a.png' has 0 million pixels, which take memory and time$"):
        assert open_image(tmp_path / "a.png").size == (30, 30)


def test_an_image_larger_than_pillow_opens_is_not_called_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(InputError, match=r"a.png' is larger than Pillow opens \(.*900 pixels.*accepted: a smaller image") as caught:
        open_image(tmp_path / "a.png")
    assert not isinstance(caught.value, DamagedImage)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file") as caught:
        open_image(tmp_path / "missing.jpg")
    assert not isinstance(caught.value, DamagedImage)
