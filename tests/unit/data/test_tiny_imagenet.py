"""Tiny ImageNet as its zip unpacks: decoded once, augmented by the seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import damage, noise_image
from PIL import Image

from logitpair import InputError, data
from logitpair.data.epoch_batches import epoch_batches

WNIDS = ["n03000003", "n01000001", "n02000002"]  # not sorted, as in the official file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of 10 training and 2 validation images; the first of each is grey."""
    root = tmp_path / "tiny"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    (root / "words.txt").write_text(
        "n01000001\tgoldfish, Carassius auratus\nn99999999\tother\nn03000003\tchain saw, chainsaw\nn02000002\tcow"
    )
    lines = []
    for number, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(10):
            image = noise_image(100 * number + i, 64, 64)
            (image.convert("L") if i == 0 else image).save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
        for i in range(2):
            noise_image(100 * number + 50 + i, 64, 64).save(root / "val" / "images" / f"val_{2 * number + i}.JPEG")
            lines.append(f"val_{2 * number + i}.JPEG\t{wnid}\t0\t0\t62\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def test_splits_labels_and_names(root: Path) -> None:
    tiny = data.TinyImageNet(root=root)
    train, validation, test = tiny.train(), tiny.validation(), tiny.test()
    assert [len(train), len(validation), len(test)] == [27, 3, 6]
    assert tiny.classes == ["goldfish", "cow", "chain saw"], "in the order of the sorted wnids"
    assert test.labels.tolist() == [2, 2, 0, 0, 1, 1]
    decoded = torch.from_numpy(np.array(Image.open(root / "val" / "images" / "val_3.JPEG"))).permute(2, 0, 1)
    assert torch.equal(test.images[3], decoded)
    everything = torch.cat([data.TinyImageNet(root=root, padding=0, flip=False).train().images, validation.images])
    assert len({image.numpy().tobytes() for image in everything}) == 30
    grey = [image for image in everything if torch.equal(image[0], image[1])]
    assert len(grey) == 3


def test_it_is_decoded_once(root: Path) -> None:
    tiny = data.TinyImageNet(root=root, padding=0, flip=False)
    first = tiny.train().images
    shutil.rmtree(root / "train")
    assert tiny.train().images.data_ptr() == first.data_ptr()
    assert len(tiny.validation()) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_a_function_of_the_seed(root: Path, workers: int) -> None:
    train = data.TinyImageNet(root=root).train()

    def epoch(number: int, workers: int = 0, start: int = 0) -> torch.Tensor:
        return torch.cat([x for x, _ in epoch_batches(train, 8, seed=1, epoch=number, workers=workers, start=start)])

    whole = epoch(0)
    assert whole.dtype == torch.uint8
    assert torch.equal(epoch(0, workers), whole)
    assert torch.equal(epoch(0, workers, start=2), whole[16:])
    other = {image.numpy().tobytes() for image in epoch(1)}
    assert len(other & {image.numpy().tobytes() for image in whole}) < 3


def test_augmentation_shifts_and_mirrors(root: Path) -> None:
    tiny = data.TinyImageNet(root=root)
    plain = data.TinyImageNet(root=root, padding=0, flip=False).train().images[0]
    padded = torch.nn.functional.pad(plain, (4, 4, 4, 4))
    views = [view[:, y : y + 64, x : x + 64] for view in (padded, padded.flip(2)) for y in range(9) for x in range(9)]
    torch.manual_seed(0)
    for _ in range(20):
        seen, label = tiny.train()[0]
        assert any(torch.equal(seen, view) for view in views)
        assert label == tiny.train()[0][1]


def test_images_are_resized_once_to_the_mean_of_what_each_pixel_covers(root: Path) -> None:
    whole, half = data.TinyImageNet(root=root).test().images, data.TinyImageNet(root=root, size=32).test().images
    means = torch.nn.functional.avg_pool2d(whole.float(), 2)
    assert half.shape == (6, 3, 32, 32)
    assert (half - means).abs().max() <= 1
    assert data.TinyImageNet(root=root, size=32).train()[0][0].shape == (3, 32, 32)


def test_crops_of_a_part_of_the_area_take_the_place_of_padding(root: Path) -> None:
    options = {"root": root, "flip": False}
    image = data.TinyImageNet(**options, padding=0).train().images[0]
    uncut, cut = (data.TinyImageNet(**options, scale=scale).train() for scale in ((1.0, 1.0), (0.3, 0.5)))
    torch.manual_seed(0)
    views = [cut[0][0] for _ in range(5)]
    assert all(view.shape == (3, 64, 64) and not torch.equal(view, image) for view in views)
    assert len({view.numpy().tobytes() for view in views}) == 5
    assert torch.equal(uncut[0][0], image)


def test_hidden_files_are_no_images_and_a_byte_order_mark_no_class(root: Path) -> None:
    (root / "train" / WNIDS[0] / "images" / "._x.JPEG").write_bytes(b"no image")
    (root / "wnids.txt").write_text("\ufeff" + "\n".join(WNIDS) + "\n\n", encoding="utf-8")
    assert len(data.TinyImageNet(root=root, padding=0, flip=False).train()) == 27


def test_damaged_files_are_refused_or_skipped_without_moving_the_others(root: Path) -> None:
    options = {"root": root, "padding": 0, "flip": False}
    whole = data.TinyImageNet(**options)
    before = [whole.train(), whole.validation(), whole.test()]
    cut = [damage(root / "train" / WNIDS[i] / "images" / f"{WNIDS[i]}_{3 + i}.JPEG") for i in range(3)]
    with pytest.raises(InputError, match="^--data-dir: .*_[345].JPEG' is truncated or not an image"):
        data.TinyImageNet(**options).train()
    skipping = data.TinyImageNet(**options, corrupt="skip")
    with pytest.warns(UserWarning, match="left out 3 of 30 images") as warned:
        after = [skipping.train(), skipping.validation(), skipping.test()]
    assert len(warned) == 1
    assert all(str(path) in str(warned[0].message) for path in cut)
    gone = 0
    for old, new in zip(before, after, strict=True):
        left = [image.numpy().tobytes() for image in new.images]
        kept = [(image.numpy().tobytes(), label) for image, label in zip(old.images, old.labels, strict=True)]
        kept = [(image, label) for image, label in kept if image in left]
        assert [image for image, _ in kept] == left
        assert [label for _, label in kept] == new.labels.tolist()
        gone += len(old) - len(new)
    assert gone == 3


@pytest.mark.parametrize("build", ["no_wnids", "no_words", "no_class", "no_annotations", "unknown_wnid", "other_size", "missing_file"])
def test_other_layouts_are_refused_in_one_line(root: Path, build: str) -> None:
    if build in ("no_wnids", "no_words", "no_annotations"):
        (root / {"no_wnids": "wnids.txt", "no_words": "words.txt", "no_annotations": "val/val_annotations.txt"}[build]).unlink()
    elif build == "no_class":
        shutil.rmtree(root / "train" / WNIDS[1])
    elif build == "unknown_wnid":
        (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn55555555\t0\t0\t1\t1\n")
    elif build == "other_size":
        noise_image(0, 64, 65).save(root / "val" / "images" / "val_0.JPEG")
    else:
        (root / "val" / "images" / "val_0.JPEG").unlink()
    tiny = data.TinyImageNet(root=root)
    with pytest.raises(InputError, match="^--data-dir: ") as caught:
        tiny.train(), tiny.classes
    assert len(str(caught.value).splitlines()) == 1
    assert "truncated" not in str(caught.value)


def test_bad_settings_are_refused(no_shape_checks: None) -> None:
    for settings in (
        {"padding": -1},
        {"size": 65},
        {"size": 0},
        {"scale": (0.5, 2.0)},
        {"validation_fraction": 1.0},
        {"corrupt": "ignore"},
    ):
        with pytest.raises(InputError, match=next(iter(settings))):
            data.TinyImageNet(root=Path(), **settings)


def test_real_images(tiny_imagenet_root: Path, tmp_path: Path) -> None:
    """A few of its classes: labels and pixels are those of torchvision's ImageFolder."""
    from logitpair.runtime.lazy_imports import import_torchvision

    wnids = (tiny_imagenet_root / "wnids.txt").read_text().split()[:4]
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    lines = (tiny_imagenet_root / "val" / "val_annotations.txt").read_text().splitlines()
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "images").symlink_to(tiny_imagenet_root / "val" / "images")
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(line for line in lines if line.split("\t")[1] in wnids))
    (tmp_path / "words.txt").symlink_to(tiny_imagenet_root / "words.txt")
    for wnid in wnids:
        (tmp_path / "train" / wnid).mkdir(parents=True)
        (tmp_path / "train" / wnid / "images").symlink_to(tiny_imagenet_root / "train" / wnid / "images")
    tiny = data.TinyImageNet(root=tmp_path, padding=0, flip=False)
    found = torch.cat([tiny.train().images, tiny.validation().images])
    labels = torch.cat([tiny.train().labels, tiny.validation().labels]).tolist()
    theirs = import_torchvision().datasets.ImageFolder(tmp_path / "train")
    expected = sorted((np.array(image).transpose(2, 0, 1).tobytes(), label) for image, label in theirs)
    assert sorted((image.numpy().tobytes(), label) for image, label in zip(found, labels, strict=True)) == expected
    assert len(tiny.test()) >= 4
    assert len(set(tiny.classes)) == 4
