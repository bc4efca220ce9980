"""Folders of images, and what bad ones lead to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from logitpair import InputError, data

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, 4 training and 2 test images each, of odd sizes; one is grey, one has an alpha channel."""
    seeded = torch.Generator().manual_seed(0)
    for split, count in (("train", 4), ("val", 2)):
        for label in ("cat", "dog", "owl"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(count):
                mode = "L" if (label, i) == ("cat", 0) else "RGBA" if (label, i) == ("dog", 1) else "RGB"
                channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
                pixels = torch.randint(256, (20 + i, 30, channels), generator=seeded, dtype=torch.uint8).squeeze(2).numpy()
                Image.fromarray(pixels).save(tmp_path / split / label / f"{i}.png")
    return tmp_path


def test_folder_gives_rgb_images_of_one_size(folder: Path) -> None:
    images = data.Folder(root=folder, size=16, validation_fraction=0.25)
    assert [len(images.train()), len(images.validation()), len(images.test())] == [9, 3, 6]
    assert list(images.classes) == ["cat", "dog", "owl"]
    for split in (images.train(), images.validation(), images.test()):
        for image, label in split:
            assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)
            assert label in (0, 1, 2)
    grey, _ = images.test()[0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_folder_splits_are_disjoint_and_the_same_every_time(folder: Path) -> None:
    once, again = (data.Folder(root=folder, size=16, validation_fraction=0.25) for _ in range(2))
    assert once.train().indices == again.train().indices
    assert sorted([*once.train().indices, *once.validation().indices]) == list(range(12))


def test_folder_loads_in_batches(folder: Path) -> None:
    found = list(data.batches(data.Folder(root=folder, size=16).test(), 4, CPU))
    assert [x.shape for x, _ in found] == [(4, 3, 16, 16), (2, 3, 16, 16)]
    assert all(x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1 for x, _ in found)
    assert torch.cat([y for _, y in found]).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("build", ["not_given", "missing", "no_val", "empty_class", "other_classes"])
def test_bad_folders_are_refused_in_one_line(folder: Path, build: str) -> None:
    root: Path | str | None = folder
    if build == "not_given":
        root = None
    elif build == "missing":
        root = str(folder / "nowhere")
    elif build == "no_val":
        (folder / "val").rename(folder / "validation")
    elif build == "empty_class":
        (folder / "val" / "eel").mkdir()
    else:
        (folder / "val" / "owl").rename(folder / "val" / "eel")
    with pytest.raises(InputError, match="^--data-dir") as caught:
        data.Folder(root=root, size=16).test()
    assert len(str(caught.value).splitlines()) == 1
    assert "::" not in str(caught.value)
    assert ": :" not in str(caught.value)


def test_classes_of_imagenet_have_english_names_and_others_their_own(folder: Path, imagenette_root: Path) -> None:
    imagenet = data.ImageNet(root=imagenette_root)
    assert len(imagenet.classes) == 10
    assert imagenet.classes[0].startswith("tench")
    assert imagenet.test()[0][0].shape == (3, 299, 299)
    assert imagenet.train()[0][0].shape == (3, 299, 299)
    assert data.ImageNet(root=folder).classes == ["cat", "dog", "owl"]


def test_classes_without_images_to_test_on_are_warned_of_and_keep_their_labels(folder: Path) -> None:
    for path in (folder / "val" / "dog").iterdir():
        path.unlink()
    for remaining in (True, False):
        with pytest.warns(UserWarning, match="val' holds no images of 1 of 3 classes, such as 'dog'; the accuracy says nothing of them"):
            test = data.Folder(root=folder, size=16).test()
        assert [label for _, label in test] == [0, 0, 2, 2]
        if remaining:
            (folder / "val" / "dog").rmdir()


def test_a_link_from_one_split_to_the_other_is_warned_of(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    (folder / "val").symlink_to("train")
    with pytest.warns(UserWarning, match="^--data-dir: '.*val' is in train/ too: the network is tested on images that it is trained on"):
        data.Folder(root=folder).test()


def test_grey_images_have_one_channel(folder: Path) -> None:
    colour = data.Folder(root=folder, size=16, augmentation=data.Augmentation(flip=False))
    grey = data.Folder(root=folder, size=16, augmentation=data.Augmentation(flip=False), grey=True)
    for split in ("train", "validation", "test"):
        for (x, y), (x_grey, y_grey) in zip(getattr(colour, split)(), getattr(grey, split)(), strict=True):
            assert (x_grey.shape, y_grey) == ((1, 16, 16), y)
            luma = (x.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
            assert (x_grey.float() - luma).abs().max() <= 1
    crop = data.Augmentation(scale=(0.5, 1.0))
    assert data.Folder(root=folder, size=16, augmentation=crop, grey=True).train()[0][0].shape == (1, 16, 16)
