"""Images read from a source: crops, damaged ones, fingerprints."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from image_folders import damage
from PIL import Image
from torch.utils.data import Dataset

from logitpair import InputError, data
from logitpair.data.epoch_batches import epoch_batches
from logitpair.models import SmallConvNet, preprocessing
from logitpair.models.package import Architecture, write_package
from logitpair.runtime.lazy_imports import import_torchvision

CPU = torch.device("cpu")


def pixels(dataset: Dataset, workers: int = 0) -> torch.Tensor:
    return torch.cat([x for x, _ in data.batches(dataset, 5, CPU, workers)])


def labels(dataset: Dataset) -> list[int]:
    return torch.cat([y for _, y in data.batches(dataset, 5, CPU)]).tolist()


def test_evaluation_resizes_and_crops_as_torchvision_does(folder: Path) -> None:
    v2 = import_torchvision().transforms.v2
    path = folder / "val" / "ant" / "ant.00.jpg"
    expected = v2.functional.pil_to_tensor(v2.CenterCrop(14)(v2.Resize(16)(Image.open(path))))
    found = data.Folder(root=folder, size=14, crop_pct=0.875).test()[0][0]
    assert torch.equal(found, expected)
    assert math.floor(299 / 0.875) == 341
    plain = data.Folder(root=folder, size=14).test()[0][0]
    assert not torch.equal(found, plain)


@pytest.mark.parametrize("workers", [0, 2])
def test_random_crops_are_a_function_of_the_seed(folder: Path, workers: int) -> None:
    train = data.ImageNet(root=folder, size=16, validation_fraction=0.25).train()

    def epoch(number: int, workers: int = 0, start: int = 0) -> torch.Tensor:
        return torch.cat([x for x, _ in epoch_batches(train, 6, seed=1, epoch=number, workers=workers, start=start)])

    whole = epoch(0)
    assert whole.shape == (18, 3, 16, 16)
    assert torch.equal(epoch(0, workers, start=1), whole[6:])
    assert not {image.numpy().tobytes() for image in epoch(1)} & {image.numpy().tobytes() for image in whole}


def test_augmentation_does_what_is_asked(folder: Path) -> None:
    def views(**options: object) -> set[bytes]:
        train = data.Folder(root=folder, size=16, augmentation=data.Augmentation(**options)).train()
        return {train[0][0].numpy().tobytes() for _ in range(12)}

    torch.manual_seed(0)
    assert len(views(flip=False)) == 1
    assert len(views()) == 2
    assert len(views(scale=(0.1, 0.9), flip=False)) == 12
    full = data.Folder(root=folder, size=16, augmentation=data.Augmentation(scale=(1.0, 1.0), ratio=(30 / 24, 30 / 24), flip=False))
    assert len({full.train()[0][0].numpy().tobytes() for _ in range(4)}) == 1


def test_bad_settings_are_refused(no_shape_checks: None) -> None:
    for settings in ({"size": 0}, {"crop_pct": 0.0}, {"crop_pct": 1.1}, {"validation_fraction": 1.0}, {"corrupt": "ignore"}):
        with pytest.raises(InputError, match=next(iter(settings))):
            data.Folder(root=Path(), **settings)
    for settings in ({"scale": (0.0, 1.0)}, {"scale": (0.5, 0.2)}, {"scale": (0.5, 1.2)}, {"ratio": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}):
        with pytest.raises(InputError, match=next(iter(settings))):
            data.Augmentation(**settings)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_and_evaluation_say_in_one_line_what_is_damaged_also_if_a_worker_met_it(folder: Path, workers: int) -> None:
    images, path = data.Folder(root=folder, size=16).test(), damage(folder / "val" / "ant" / "ant.00.jpg")
    for batches in (epoch_batches(images, 9, seed=0, epoch=0, workers=workers), data.batches(images, 9, CPU, workers)):
        with pytest.raises(InputError, match=f"^--data-dir: '{path}' is truncated or not an image$"):
            list(batches)


def damaged_root(folder: Path, tmp_path: Path, kind: str) -> tuple[Path, list[str]]:
    """The folder or its shards with three damaged training images and one to test on, and what these are called."""
    names = ["train/ant/ant.03.jpg", "train/bee/bee.01.png", "train/cow/cow.07.jpg", "val/bee/bee.02.jpg"]
    for name in names:
        damage(folder / name)
    if kind == "folder":
        return folder, names
    data.write_shards(folder, tmp_path / "shards", images=10)
    return tmp_path / "shards", [Path(name).stem.replace(".", "_") for name in names]


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_damaged_images_are_named_and_refused_unless_skipped(folder: Path, tmp_path: Path, cache: Path, kind: str) -> None:
    build = data.Folder if kind == "folder" else data.Shards
    options = {"size": 16, "validation_fraction": 0.25, "augmentation": data.Augmentation(flip=False)}
    whole = data.Folder(root=folder, **options)
    before = {split: [(x.numpy().tobytes(), y) for x, y in getattr(whole, split)()] for split in ("train", "validation", "test")}
    root, names = damaged_root(folder, tmp_path, kind)
    with pytest.raises(InputError, match=f"--data-dir: '.*{names[3]}.*' is truncated or not an image"):
        pixels(build(root=root, **options).test())

    skipping = build(root=root, **options, corrupt="skip")
    with pytest.warns(UserWarning, match="left out") as warned:
        after = {split: [(x.numpy().tobytes(), y) for x, y in getattr(skipping, split)()] for split in before}
    messages = {str(warning.message) for warning in warned}
    assert len(messages) == 2, "one of the training and one of the test set"
    assert any("left out 3 of 24 images" in message and all(name in message for name in names[:3]) for message in messages)
    assert any("left out 1 of 9 images" in message and names[3] in message for message in messages)
    for split, examples in after.items():
        kept = iter(before[split])
        assert all(example in kept for example in examples), "the others are the same, in the same order"
    assert sum(map(len, before.values())) - sum(map(len, after.values())) == 4
    assert len(after["test"]) == 8


def test_the_look_for_damaged_images_is_cached_until_a_file_changes(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logitpair.data import image_dataset

    root, _ = damaged_root(folder, tmp_path, "folder")
    looked: list[int] = []
    look = image_dataset._is_damaged
    monkeypatch.setattr(image_dataset, "_is_damaged", lambda source, position: looked.append(position) or look(source, position))

    def test() -> Dataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return data.Folder(root=root, size=16, corrupt="skip").test()

    assert len(test()) == len(test()) == 8
    assert sorted(looked) == list(range(9))
    with pytest.warns(UserWarning, match="left out 1 of 9"):  # what is cached is warned of again
        data.Folder(root=root, size=16, corrupt="skip").test()
    monkeypatch.setattr("PIL.__version__", "0")
    assert len(test()) == 8
    assert len(looked) == 18, "another version of Pillow may read other files"
    shutil.copy(root / "val" / "bee" / "bee.00.jpg", root / "val" / "bee" / "bee.02.jpg")
    assert len(test()) == 9


def test_an_exported_network_is_given_the_crop_of_its_training(folder: Path, tmp_path: Path) -> None:
    network = SmallConvNet(3, channels=3, size=28)
    architecture = Architecture("logitpair.models.SmallConvNet", {"classes": 3, "channels": 3, "size": 28})
    write_package(tmp_path / "exported", architecture, network, (3, 28, 28), crop_pct=0.56)  # 28 / 0.56 is a little below 50
    size, resize, interpolation = preprocessing(str(tmp_path / "exported"))
    photos = data.Photos(root=folder / "val", size=size, resize=resize, interpolation=interpolation)
    assert torch.equal(pixels(photos.test(3)), pixels(data.Folder(root=folder, size=28, crop_pct=0.56).test()))


def test_no_warning_where_nothing_is_damaged(folder: Path, cache: Path) -> None:
    assert len(data.Folder(root=folder, size=16, corrupt="skip").test()) == 9


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_fingerprints_differ(folder: Path, shards: Path, kind: str) -> None:
    root, build = (folder, data.Folder) if kind == "folder" else (shards, data.Shards)
    plain = build(root=root, size=16)
    own = data.fingerprint(plain.test())
    assert own == data.fingerprint(build(root=root, size=16).test())
    others = {
        "validation": plain.validation(),
        "other crop": build(root=root, size=16, crop_pct=0.8).test(),
        "other size": build(root=root, size=15).test(),
        "a subset": torch.utils.data.Subset(plain.test(), range(8)),
    }
    found = {name: data.fingerprint(dataset) for name, dataset in others.items()}
    assert len({own, *found.values()}) == 5
    path = root / "val" / "ant" / "ant.00.jpg" if kind == "folder" else root / "val-000000.tar"
    os.utime(path, (1e9, 1e9))
    touched = build(root=root, size=16)
    assert data.fingerprint(touched.test()) != own
    shutil.copytree(root, root.parent / "elsewhere")
    assert data.fingerprint(build(root=root.parent / "elsewhere", size=16).test()) == data.fingerprint(touched.test()), "wherever it lies"
