"""Which folders are classes, and which files are images: one rule for all data sets."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from image_folders import image_folder, noise_image

from logitpair import InputError, data
from logitpair.data.class_folders import class_images
from logitpair.runtime.lazy_imports import import_torchvision

LEFT_BEHIND = (
    "._0.png",
    ".hidden.jpg",
    "__MACOSX",
    ".ipynb_checkpoints",
    "@eaDir",
    "$RECYCLE.BIN",
    "$Recycle.Bin",
    "#recycle",
    "lost+found",
)


def below(root: Path, folder: Path) -> dict[str, list[str]]:
    return {name: [Path(path).relative_to(root).as_posix() for path in paths] for name, paths in class_images(folder).items()}


def leave_behind(folder: Path) -> None:
    """What systems and editors leave in folders."""
    for name in LEFT_BEHIND:
        if "." in name[1:]:
            (folder / name).write_bytes(b"no image")
        else:
            (folder / name).mkdir()
            (folder / name / "0.jpg").write_bytes(b"no image")


def test_images_and_their_order_are_those_of_torchvision(folder: Path) -> None:
    (folder / "train" / "bee" / "deeper" / "still").mkdir(parents=True)
    (folder / "train" / "bee" / "deeper-not").mkdir(parents=True)
    for name in ("still/0.jpg", "a.PNG", "../deeper-not/b.jpg"):
        noise_image(0).save(folder / "train" / "bee" / "deeper" / name)
    theirs = import_torchvision().datasets.ImageFolder(folder / "train")
    ours = data.Folder(root=folder).source("train")
    assert (ours.samples, ours.classes) == (theirs.samples, theirs.classes)


@pytest.mark.parametrize("link", ["link", "..", ".", "../..", "../../..", "../bee", "../bee/deeper"])
def test_links_that_lead_back_or_to_another_class_add_nothing(folder: Path, link: str) -> None:
    train = folder / "train"
    (train / "bee" / "deeper").mkdir()
    shutil.move(train / "bee" / "bee.07.jpg", train / "bee" / "deeper")
    before = below(folder, train)
    (train / "ant" / "link").symlink_to(link, target_is_directory=True)
    if link == "link":
        with pytest.warns(UserWarning, match="left out 1 files under '.*train' that are no images, such as '.*ant/link'"):
            assert below(folder, train) == before
    elif "bee" in link:
        with pytest.warns(
            UserWarning, match=r"left out \d files under '.*train' that lead to a file that is there by another name, such as "
        ):
            assert below(folder, train) == before
    else:
        assert below(folder, train) == before
    assert sum(map(len, before.values())) == 24


def test_a_file_of_several_names_counts_once_and_links_elsewhere_are_followed(folder: Path, tmp_path: Path) -> None:
    train, pool = folder / "train", tmp_path / "pool"
    before = below(folder, train)
    pool.mkdir()
    noise_image(5).save(pool / "x.jpg")
    (train / "ant" / "0.jpg").symlink_to(pool / "x.jpg")
    (train / "cow" / "pool").symlink_to(pool)
    (train / "bee" / "a.jpg").symlink_to(train / "cow" / "cow.00.jpg")
    with pytest.warns(UserWarning, match="left out 2 files .*another name, such as '.*bee/a.jpg'"):
        assert below(folder, train) == before | {"ant": ["train/ant/0.jpg", *before["ant"]]}


def test_a_link_to_nothing_is_met_when_it_is_opened(folder: Path) -> None:
    (folder / "val" / "ant" / "0.jpg").symlink_to(folder / "gone.jpg")
    with pytest.raises(InputError, match="ant/0.jpg' cannot be read: No such file"):
        data.Folder(root=folder).test()[0]


def test_only_regular_files_count(folder: Path) -> None:
    before = class_images(folder / "val")
    os.mkfifo(folder / "val" / "ant" / "x.jpg")
    with pytest.warns(UserWarning, match="left out 1 files under '.*val' that are no images, such as '.*ant/x.jpg'"):
        assert class_images(folder / "val") == before


def test_what_is_an_image_is_the_same_for_every_data_set(folder: Path, tmp_path: Path, cache: Path) -> None:
    noise_image(1).save(folder / "val" / "bee" / "moving.GIF")
    expected = 10
    for place in (folder, folder / "train", folder / "val", folder / "val" / "ant"):
        leave_behind(place)
    assert len(data.Folder(root=folder).test()) == expected
    assert len(data.Photos(root=folder / "val").test(3)) == expected
    assert list(data.Folder(root=folder).classes) == ["ant", "bee", "cow"]
    shards = tmp_path / "shards"
    data.write_shards(folder, shards)
    with tarfile.open(shards / "val-000000.tar", "a") as tar:
        for name in ("._00000000_ant.jpg", "__MACOSX/a.jpg", ".ipynb_checkpoints/a.png", ".cls"):
            tar.add(folder / "val" / "ant" / "._0.png", name)
    assert len(data.Shards(root=shards).test()) == expected


def test_names_that_are_not_utf_8_are_read_by_latin_1(tmp_path: Path) -> None:
    images = noise_image(0)
    for name in ("Köln".encode("latin-1"), "Ürzig".encode()):
        folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"photos", name)))
        folder.mkdir(parents=True)
        images.save(folder / "0.png")
    photos = data.Photos(root=tmp_path / "photos", size=16)
    assert photos.folders == ["Köln", "Ürzig"]
    (tmp_path / "labels.txt").write_text("Ürzig\nKöln\n", encoding="utf-8")
    test = data.Photos(root=tmp_path / "photos", size=16, labels=tmp_path / "labels.txt").test(2)
    assert [label for _, label in test] == [1, 0]
    assert data.fingerprint(test)


def test_names_are_compared_however_accents_are_written(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for name in (f"{decomposed} ", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        noise_image(0).save(tmp_path / "photos" / name / "0.png")
    (tmp_path / "labels.txt").write_text(f"dog\n{composed}\n", encoding="utf-8")
    test = data.Photos(root=tmp_path / "photos", size=16, labels=tmp_path / "labels.txt").test(2)
    assert [label for _, label in test] == [1, 0]
    (tmp_path / "labels.txt").write_text(f"dog\n{decomposed}\n", encoding="utf-8")
    assert [label for _, label in data.Photos(root=tmp_path / "photos", size=16, labels=tmp_path / "labels.txt").test(2)] == [1, 0]
    (tmp_path / "photos" / composed).mkdir()
    with pytest.raises(InputError, match=f"2 folders in '.*photos' are called '{composed}', in other spellings of it; accepted: one"):
        class_images(tmp_path / "photos")


def test_folders_without_classes_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-dir: '.*' holds no folders"):
        class_images(tmp_path)
    image_folder(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(InputError, match=r"--data-dir: '.*train/dog' holds no images; accepted: \.jpg"):
        class_images(tmp_path / "train")
