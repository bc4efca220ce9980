"""CIFAR's archives, what they unpack to, and class folders: whole, damaged and tampered with."""

from __future__ import annotations

import os
import shutil
import tarfile
import warnings
from pathlib import Path
from typing import Any

import cifar_archives
import numpy as np
import pytest
import torch
from cifar_archives import batch, pickled, write_archive
from PIL import Image

from logitpair import InputError, data

pytestmark = pytest.mark.filterwarnings("ignore:--data-dir.*official")
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
LABELS = [number % 10 for number in range(60)]
PLAIN = {"padding": 0, "flip": False, "validation_fraction": 0.1}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """50 training and 10 test images."""
    return cifar_archives.cifar10_archive(tmp_path, IMAGES, LABELS, test=10)


def together(cifar: data.CIFAR10) -> dict[bytes, int]:
    """Label by image, of all that is trained and validated on."""
    parts = [cifar.train(), cifar.validation()]
    return {x.numpy().tobytes(): int(y) for part in parts for x, y in zip(part.images, part.labels, strict=True)}


def test_archive_folder_around_it_and_what_it_unpacks_to_hold_the_same(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    roots = [archive, archive.parent, tmp_path / "unpacked", tmp_path / "unpacked" / "cifar-10-batches-py", str(archive)]
    expected = {image.tobytes(): label for image, label in zip(IMAGES[:50], LABELS, strict=False)}
    for root in roots:
        cifar = data.CIFAR10(root=root, **PLAIN)
        assert [len(cifar.train()), len(cifar.validation()), len(cifar.test())] == [45, 5, 10]
        assert together(cifar) == expected
        assert torch.equal(cifar.test().images, torch.from_numpy(IMAGES[50:]))
        assert cifar.test().labels.tolist() == LABELS[50:]
    assert cifar.classes[:2] == ("airplane", "automobile")


def test_class_folders_hold_the_same_labels(tmp_path: Path) -> None:
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        folder = tmp_path / ("train" if number < 50 else "test") / data.CIFAR10().classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")
    cifar = data.CIFAR10(root=tmp_path, **PLAIN)
    assert together(cifar) == {image.tobytes(): label for image, label in zip(IMAGES[:50], LABELS, strict=False)}
    assert cifar.test().labels.tolist() == sorted(LABELS[50:])
    shutil.rmtree(tmp_path / "train" / "cat")
    with pytest.raises(InputError, match="^--data-dir: .*train' has classes that are not those of CIFAR-10, .*such as cat; .*Folder$"):
        data.CIFAR10(root=tmp_path).validation()
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match="^--data-dir: no folder '.*test'"):
        data.CIFAR10(root=tmp_path).test()


def test_training_images_are_shifted_and_mirrored(archive: Path) -> None:
    plain, seen = data.CIFAR10(root=archive, **PLAIN).train(), data.CIFAR10(root=archive, validation_fraction=0.1).train()
    torch.manual_seed(0)
    padded = torch.nn.functional.pad(plain.images[3], (4, 4, 4, 4))
    views = [view[:, y : y + 32, x : x + 32] for view in (padded, padded.flip(2)) for y in range(9) for x in range(9)]
    drawn = [seen[3] for _ in range(8)]
    assert all(any(torch.equal(image, view) for view in views) and label == plain.labels[3] for image, label in drawn)
    assert len({image.numpy().tobytes() for image, _ in drawn}) > 4


def test_cifar_100_has_fine_labels(tmp_path: Path) -> None:
    labels = [99, 0, 41]
    files = {name: pickled(batch(IMAGES[:3], labels, b"fine_labels") | {b"coarse_labels": [0, 0, 0]}) for name in ("train", "test")}
    write_archive(tmp_path / "cifar-100-python.tar.gz", {f"cifar-100-python/{name}": raw for name, raw in files.items()})
    cifar = data.CIFAR100(root=tmp_path, **PLAIN | {"validation_fraction": 0.34})
    assert cifar.test().labels.tolist() == labels
    assert together(cifar) == {image.tobytes(): label for image, label in zip(IMAGES[:3], labels, strict=True)}
    assert [cifar.classes[label] for label in labels] == ["worm", "apple", "lawn_mower"]


def test_unofficial_numbers_are_warned_of_and_official_ones_not(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from logitpair.data import cifar as module

    with pytest.warns(UserWarning, match="10 images of split test, the official CIFAR-10 10,000"):
        data.CIFAR10(root=archive).test()
    monkeypatch.setitem(module.OFFICIAL, "test", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.CIFAR10(root=archive).test()


class Calls:
    """An object whose pickle makes a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("made",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"more": Calls()}, r"'test_batch' asks for posix.mkdir; accepted: arrays, strings, numbers"),
        ({b"data": IMAGES[:2].astype(np.int64)}, "data in 'test_batch' is no array of bytes"),
        ({b"data": IMAGES[:2].reshape(4, -1)}, "data in 'test_batch' is no array of bytes"),
        ({b"data": None}, "data in 'test_batch' is no array of bytes"),
        ({b"labels": [1]}, "labels in 'test_batch' is not one label from 0 to 9 for each of 2 images"),
        ({b"labels": [1, 10]}, "labels in 'test_batch' is not one label"),
        ({b"labels": [1, -1]}, "labels in 'test_batch' is not one label"),
        ({b"labels": [1, True]}, "labels in 'test_batch' is not one label"),
        ({b"labels": None}, "labels in 'test_batch' is not one label"),
    ],
)
def test_what_is_tampered_with_is_refused_in_one_line(
    content: dict[bytes, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = pickled(batch(IMAGES[:2], [0, 1]) | content)
    write_archive(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/test_batch": raw})
    with pytest.raises(InputError, match=f"^--data-dir: {message}") as refused:
        data.CIFAR10(root=tmp_path).test()
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9])
def test_truncated_archives_are_refused_in_one_line(archive: Path, fraction: float) -> None:
    archive.write_bytes(archive.read_bytes()[: int(fraction * archive.stat().st_size)])
    with pytest.raises(InputError, match="^--data-dir: .*cifar-10-python.tar.gz' is truncated or not cifar-10-python.tar.gz$"):
        data.CIFAR10(root=archive).train()


@pytest.mark.parametrize("cut", [1, 9])
def test_an_archive_whose_checksum_is_missing_or_another_is_refused(archive: Path, cut: int) -> None:
    whole = archive.read_bytes()
    middle = len(whole) // 2  # of pixels that are stored as they are, since noise cannot be compressed
    for damaged in (whole[:-cut], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match="is truncated or not cifar-10-python.tar.gz$"):
            data.CIFAR10(root=archive).train()


def test_a_link_in_an_archive_is_no_file(archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, to in (("test_batch", "nowhere"), ("data_batch_1", "data_batch_1")):
            link = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, to
            tar.addfile(link)
    for split in ("test", "validation"):
        with pytest.raises(InputError, match="^--data-dir: no (test_batch|data_batch_1) "):
            getattr(data.CIFAR10(root=archive), split)()


def test_missing_files_and_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="^--data-dir: no test_batch in '.*'; it must be cifar-10-python.tar.gz .*or a folder with train/CLASS/"
    ):
        data.CIFAR10(root=tmp_path).test()
    write_archive(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/test_batch": pickled(batch(IMAGES[:2], [0, 1]))})
    with pytest.raises(InputError, match="^--data-dir: no data_batch_1 and no data_batch_2 and .* in"):
        data.CIFAR10(root=tmp_path).train()
    for root, found in ((None, "is not given"), (tmp_path / "nowhere", ": no file or folder '.*nowhere'")):
        with pytest.raises(InputError, match=f"^--data-dir ?{found}; it must be cifar-100-python"):
            data.CIFAR100(root=root).test()
    for settings in ({"padding": -1}, {"validation_fraction": 1.0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            data.CIFAR10(**settings)


def test_real_images(tmp_path: Path) -> None:
    images, labels = cifar_archives.real_images()
    test = data.CIFAR10(root=cifar_archives.cifar10_archive(tmp_path, images, labels, test=150)).test()
    neighbours = (test.images[..., 1:].float() - test.images[..., :-1].float()).abs().mean()
    assert neighbours < 15, "photos are smooth, unless their axes are mixed up"
    assert test.labels.tolist() == labels[50:]
