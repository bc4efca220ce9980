"""Pictures read from files and from shards: crops, damaged ones, and the same examples however they are stored."""

from __future__ import annotations

import io
import math
import os
import pickle
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import damage, image_folder, noise_image
from PIL import Image
from torch.utils.data import Dataset

from logitpair import InputError, data
from logitpair.data.epoch_batches import epoch_batches
from logitpair.data.image_file import open_image
from logitpair.runtime.lazy_imports import import_torchvision

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "folder")


@pytest.fixture
def shards(folder: Path, tmp_path: Path, cache: Path) -> Path:
    data.write_shards(folder, tmp_path / "shards", images=10)
    return tmp_path / "shards"


def pixels(dataset: Dataset, workers: int = 0) -> torch.Tensor:
    return torch.cat([x for x, _ in data.batches(dataset, 5, CPU, workers)])


def labels(dataset: Dataset) -> list[int]:
    return torch.cat([y for _, y in data.batches(dataset, 5, CPU)]).tolist()


# --- crops ---


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


def test_classes_of_imagenet_have_english_names_and_others_their_own(folder: Path, imagenette_root: Path) -> None:
    imagenet = data.ImageNet(root=imagenette_root)
    assert len(imagenet.classes) == 10
    assert imagenet.classes[0].startswith("tench")
    assert imagenet.test()[0][0].shape == (3, 299, 299)
    assert imagenet.train()[0][0].shape == (3, 299, 299)
    assert data.ImageNet(root=folder).classes == ["ant", "bee", "cow"]


# --- modes ---

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
    from logitpair.data.image_file import DamagedImage

    with pytest.raises(InputError, match="cannot be read: No such file") as caught:
        open_image(tmp_path / "missing.jpg")
    assert not isinstance(caught.value, DamagedImage)


def test_the_command_line_tells_in_one_line_what_a_worker_met(folder: Path) -> None:
    from torch._utils import ExceptionWrapper

    from logitpair.cli.main import _without_worker

    path = damage(folder / "val" / "ant" / "ant.00.jpg")
    try:
        data.Folder(root=folder, size=16).test()[0]
    except InputError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(InputError, match="DataLoader worker") as caught:
        wrapped.reraise()
    assert _without_worker(str(caught.value)) == f"--data-dir: '{path}' is truncated or not an image"


# --- shards ---


def test_shards_give_the_same_examples_as_the_folder(folder: Path, shards: Path) -> None:
    options = {"size": 16, "validation_fraction": 0.25}
    ours, theirs = data.Shards(root=shards, **options), data.Folder(root=folder, **options)
    assert sorted(path.name for path in shards.iterdir()) == [
        "classes.txt", "train-000000.tar", "train-000001.tar", "train-000002.tar", "val-000000.tar"
    ]  # fmt: skip
    assert list(ours.classes) == list(theirs.classes)
    for one, other in ((ours.validation(), theirs.validation()), (ours.test(), theirs.test())):
        assert torch.equal(pixels(one), pixels(other))
        assert labels(one) == labels(other)
    for workers in (0, 2):
        batches = [list(epoch_batches(d.train(), 5, seed=3, epoch=2, workers=workers)) for d in (ours, theirs)]
        assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(*batches, strict=True))


def test_shards_are_written_the_same_every_time_and_never_over_others(folder: Path, shards: Path, tmp_path: Path) -> None:
    data.write_shards(folder, tmp_path / "again", images=10)
    for path in shards.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    with pytest.raises(InputError, match="out: .*holds tar files"):
        data.write_shards(folder, shards)
    with pytest.raises(InputError, match="images"):
        data.write_shards(folder, tmp_path / "other", images=0)
    assert not (tmp_path / "other").exists()


def test_members_are_indexed_once(shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pixels(data.Shards(root=shards, size=16).test())
    kept = {path.name for path in cache.iterdir()}
    assert kept
    with monkeypatch.context() as patched:
        patched.setattr(tarfile, "open", None)
        assert torch.equal(pixels(data.Shards(root=shards, size=16).test()), before)
    (shards / "val-000000.tar").unlink()
    shutil.copy(shards / "train-000000.tar", shards / "val-000000.tar")
    assert len(data.Shards(root=shards, size=16).test()) == 10, "another file under the same name is looked at anew"
    assert {path.name for path in cache.iterdir()} > kept


def test_shards_survive_a_cache_that_cannot_be_written(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(data.Shards(root=shards, size=16).test()) == 9


def test_shards_go_to_processes_that_do_not_fork(shards: Path) -> None:
    test = data.Shards(root=shards, size=16).test()
    assert torch.equal(pickle.loads(pickle.dumps(test))[4][0], test[4][0])  # noqa: S301


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def encoded(seed: int, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    noise_image(seed).save(buffer, suffix)
    return buffer.getvalue()


def test_shards_of_others_are_read(tmp_path: Path, cache: Path) -> None:
    long = "directory/" * 20 + "x"  # more than a header holds
    write_tar(
        tmp_path / "mine-train-0.tar",
        {f"{long}.cls": b"2\n", f"{long}.json": b"{}", f"{long}.PNG": encoded(1), "a.b.cls.txt": b"9", "y.png": encoded(2), "y.cls": b"0"},
    )
    write_tar(tmp_path / "mine-val-0.tar", {"z.seg.png": b"?", "z.jpeg": encoded(3, "JPEG"), "z.cls": b"1"})
    shards = data.Shards(root=tmp_path, training="*-train-*.tar", testing="*-val-*.tar", size=24, validation_fraction=0.5)
    assert list(shards.classes) == ["0", "1", "2"]
    assert labels(shards.test()) == [1]
    assert sorted([*labels(shards.train()), *labels(shards.validation())]) == [0, 2]
    decoded = np.array(Image.open(io.BytesIO(encoded(3, "JPEG"))).crop((3, 0, 27, 24)))
    assert torch.equal(shards.test()[0][0], torch.from_numpy(decoded).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"1"}, "'a' without its label"),
        ({"a.cls": b"1"}, "'a' without its image"),
        ({"a.png": b"1", "a.jpg": b"1", "a.cls": b"1"}, "two images"),
        ({"a.png": b"1", "a.cls": b"cat"}, "whole number"),
        ({"a.png": b"1", "a.cls": b"-1"}, "whole number"),
        ({"a.png": b"1", "a.cls": b"7"}, "label 7, and classes.txt only 3"),
    ],
)
def test_odd_members_are_refused_in_one_line(shards: Path, members: dict[str, bytes], message: str) -> None:
    write_tar(shards / "val-000000.tar", members)
    with pytest.raises(InputError, match=f"^--data-dir: .*{message}") as caught:
        data.Shards(root=shards).test()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damaged", ["half", "at_a_member", "in_a_header", "header", "empty", "compressed", "none"])
def test_damaged_tar_files_are_refused_in_one_line(shards: Path, damaged: str) -> None:
    path = shards / "val-000000.tar"
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar]
    if damaged == "none":
        path.unlink()
    elif damaged == "compressed":
        path.unlink()
        with tarfile.open(path, "w:gz") as tar:
            tar.add(shards / "classes.txt")
    else:
        at = starts[4]
        broken = content[:at] + b"x" * 512 + content[at + 512 :]
        cuts = {"half": content[: len(content) // 2], "at_a_member": content[:at], "in_a_header": content[: at + 100], "empty": b""}
        path.write_bytes(cuts.get(damaged, broken))
    with pytest.raises(InputError, match=r"^(--data-dir: .*val-000000.tar' is|data.testing: no files)") as caught:
        data.Shards(root=shards).test()
    assert len(str(caught.value).splitlines()) == 1


# --- damaged images ---


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
    shutil.copy(root / "val" / "bee" / "bee.00.jpg", root / "val" / "bee" / "bee.02.jpg")
    assert len(test()) == 9


def test_no_warning_where_nothing_is_damaged(folder: Path, cache: Path) -> None:
    assert len(data.Folder(root=folder, size=16, corrupt="skip").test()) == 9


# --- fingerprint ---


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
