"""SVHN's MATLAB files, whole and odd."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from logitpair import InputError, data


def write(root: Path, split: str, images: int, **content: Any) -> np.ndarray:
    """A file of the official form; returns its pixels ``[32, 32, 3, n]``."""
    pixels = np.random.default_rng(images).integers(0, 256, (32, 32, 3, images), dtype=np.uint8)
    matrices = {"X": pixels, "y": 1 + np.arange(images, dtype=np.uint8)[:, None] % 10} | content
    savemat(root / f"{split}_32x32.mat", {name: value for name, value in matrices.items() if value is not None}, do_compression=True)
    return pixels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "train", 40)
    write(tmp_path, "test", 11)
    return tmp_path


@pytest.mark.filterwarnings("ignore:--data-dir.*official")
def test_pixels_and_labels_lie_where_they_should(root: Path) -> None:
    pixels = loadmat(root / "train_32x32.mat")["X"]
    svhn = data.SVHN(root=root)
    train, validation, test = svhn.train(), svhn.validation(), svhn.test()
    assert [len(train), len(validation), len(test)] == [36, 4, 11]
    assert train.images.dtype == torch.uint8
    for n, y, x, channel in ((0, 3, 5, 0), (35, 31, 0, 2), (7, 0, 31, 1)):
        assert train.images[n, channel, y, x] == pixels[y, x, channel, n]
    assert torch.equal(validation.images[-1], torch.from_numpy(pixels[..., -1].transpose(2, 0, 1).copy()))
    assert train.labels[:12].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], "10 is the digit 0"


@pytest.mark.filterwarnings("ignore:--data-dir.*official")
def test_extra_images_are_trained_on_and_never_validated_on(root: Path) -> None:
    pixels = write(root, "extra", 5)
    svhn = data.SVHN(root=root, extra=True)
    assert [len(svhn.train()), len(svhn.validation())] == [41, 4]
    assert torch.equal(svhn.train().images[36:], torch.from_numpy(pixels.transpose(3, 2, 0, 1).copy()))
    assert torch.equal(svhn.validation().images, data.SVHN(root=root).validation().images)


def test_unofficial_numbers_are_warned_of_once_a_file_and_official_ones_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logitpair.data import svhn as module

    svhn = data.SVHN(root=root)
    with pytest.warns(UserWarning, match="40 images, the official file 73,257") as warned:
        svhn.train(), svhn.validation()
    assert len(warned) == 1
    monkeypatch.setattr(module, "OFFICIAL", {"train": 40})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.SVHN(root=root).train()


@pytest.mark.filterwarnings("ignore:--data-dir.*official")
def test_a_single_image_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "test", 1, X=np.zeros((32, 32, 3), np.uint8))
    assert data.SVHN(root=tmp_path).test().images.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": None}, "holds no X"),
        ({"y": None}, "holds no y"),
        ({"X": np.zeros((28, 28, 3, 40), np.uint8)}, r"uint8 \[28, 28, 3, 40\]"),
        ({"X": np.zeros((32, 32, 3, 40))}, "float64"),
        ({"y": np.ones((39, 1))}, "not one label"),
        ({"y": np.zeros((40, 1))}, "from 1 to 10"),
        ({"y": np.full((40, 1), 2.5)}, "from 1 to 10"),
    ],
)
def test_odd_files_are_refused_in_one_line(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write(tmp_path, "train", 40, **content)
    with pytest.raises(InputError, match=f"^--data-dir: .*{message}") as caught:
        data.SVHN(root=tmp_path).train()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.95])
def test_truncated_files_are_refused_in_one_line(root: Path, fraction: float) -> None:
    path = root / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(InputError, match="^--data-dir: .*train_32x32.mat' (is truncated|holds no)") as caught:
        data.SVHN(root=root).train()
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_and_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^--data-dir: no train_32x32.mat in"):
        data.SVHN(root=tmp_path).train()
    with pytest.raises(InputError, match="^--data-dir: .*is not a folder"):
        data.SVHN(root=tmp_path / "missing").test()
    with pytest.raises(InputError, match="validation_fraction"):
        data.SVHN(validation_fraction=1.0)


@pytest.mark.filterwarnings("ignore:--data-dir.*official", "ignore:--data-dir.*validation")
def test_a_fraction_that_leaves_none_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="validation_fraction: 0.001 of 40 images leaves none"):
        data.SVHN(root=root, validation_fraction=0.001).train()


@pytest.mark.filterwarnings("ignore:--data-dir.*official")
def test_real_images(svhn_root: Path) -> None:
    test = data.SVHN(root=svhn_root).test()
    assert test.images.shape[1:] == (3, 32, 32)
    assert test.labels.unique().tolist() == list(range(10))
    neighbours = (test.images[..., 1:].float() - test.images[..., :-1].float()).abs().mean()
    assert neighbours < 15, "photos are smooth, unless their axes are mixed up"
