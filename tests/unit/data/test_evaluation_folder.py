"""A custom folder of images, and the logits of its folders."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from logitpair import InputError, data
from logitpair.data.class_mapping import match_classes

CPU = torch.device("cpu")
ROTATED = 6  # the EXIF orientation of a photo taken upright: turn it by 90 degrees clockwise


@pytest.fixture(scope="session")
def imagenette() -> Path:
    """Photos of ten ImageNet classes in the folder ``imagenette`` of $LOGITPAIR_DATA, or of ``data`` in this repository."""
    root = Path(os.environ.get("LOGITPAIR_DATA", Path(__file__).parents[3] / "data")) / "imagenette"
    if not (root / "val").is_dir():
        pytest.skip(f"no imagenette in {root}; set LOGITPAIR_DATA to the folder that holds imagenette/")
    return root


def images_in(folder: Path, classes: Sequence[str], count: int = 2) -> Path:
    """Handmade images: those of the class number i are all of the grey value 40 i + 20."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (30 + i, 20), (40 * number + 20,) * 3).save(folder / name / f"{i}.jpg")
    return folder


def refused(photos: data.Photos, logits: int = 3) -> str:
    with pytest.raises(InputError) as caught:
        photos.test(logits)[0]
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert "::" not in text
    return text


@pytest.mark.parametrize("below", [".", "val", "test"])
def test_images_lie_in_the_folder_itself_or_under_val_or_test(tmp_path: Path, below: str) -> None:
    images_in(tmp_path / below, ["cat", "dog", "owl"])
    if below != ".":
        images_in(tmp_path / "train", ["something", "else"])
    photos = data.Photos(root=tmp_path, size=16)
    assert photos.folders == ["cat", "dog", "owl"]
    test = photos.test(3)
    assert list(test.classes) == ["cat", "dog", "owl"]
    assert [label for _, label in test] == [0, 0, 1, 1, 2, 2]
    for image, label in test:
        assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)
        assert (image == 40 * label + 20).all()
    assert torch.equal(photos.first(), test[0][0])
    assert data.count(test) == len(test) == 6


def test_a_folder_of_one_split_serves_where_there_are_several(tmp_path: Path) -> None:
    for split in ("val", "test"):
        images_in(tmp_path / split, ["cat", "dog", "owl"])
    assert refused(data.Photos(root=tmp_path)).startswith(f"--data-dir: '{tmp_path}' holds both val/ and test/; name one of them")
    assert len(data.Photos(root=tmp_path / "test").test(3)) == 6


def test_images_load_in_batches_and_subsets(tmp_path: Path) -> None:
    test = data.Photos(root=images_in(tmp_path, ["cat", "dog", "owl"]), size=16).test(3)
    found = list(data.batches(test, 4, CPU))
    assert [x.shape for x, _ in found] == [(4, 3, 16, 16), (2, 3, 16, 16)]
    assert torch.cat([y for _, y in found]).tolist() == [0, 0, 1, 1, 2, 2]
    subset = list(data.batches(data.select(data.first(test, 5), [4, 1]), 4, CPU))
    assert subset[0][1].tolist() == [2, 0]
    again = pickle.loads(pickle.dumps(test))  # noqa: S301  (as processes that load images receive it)
    assert torch.equal(again[5][0], test[5][0])


def test_the_centre_is_cropped_after_the_shorter_side_is_resized(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[10:30, 30:50] = 255  # the middle quarter of the height
    Image.fromarray(pixels).save(tmp_path / "only" / "a.png")
    whole_height = data.Photos(root=tmp_path, size=40).first()
    assert torch.equal(whole_height, torch.from_numpy(pixels[:, 20:60]).permute(2, 0, 1))
    assert (data.Photos(root=tmp_path, size=20, resize=40).first() == 255).all()
    half = data.Photos(root=tmp_path, size=20).first()
    assert half[0, 10, 10] == 255
    assert half[0, 1, 1] == half[0, 18, 18] == 0


def test_images_are_those_that_a_network_was_trained_on_by_folder(tmp_path: Path) -> None:
    seeded = torch.Generator().manual_seed(0)
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        pixels = torch.randint(256, (50, 70, 3), generator=seeded, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / split / "cat" / "a.jpg")
    assert torch.equal(data.Photos(root=tmp_path, size=32).first(), data.Folder(root=tmp_path, size=32).test()[0][0])


def test_every_kind_of_image_becomes_rgb_the_right_way_up(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    ramp = np.linspace(0, 255, 16 * 16).astype(np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(folder / "grey.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "sixteen.PNG")
    Image.fromarray(np.dstack([ramp, ramp])).save(folder / "alpha.png")
    palette = Image.fromarray(ramp).convert("P")
    palette.info["transparency"] = bytes(range(256))
    palette.save(folder / "palette.png")
    exif = Image.Exif()
    exif[274] = ROTATED
    Image.fromarray(ramp).transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    Image.fromarray(np.dstack([ramp] * 3)).convert("CMYK").save(folder / "print.tif")
    test = data.Photos(root=tmp_path, size=16).test(1)
    assert len(test) == 6
    for position, (image, _) in enumerate(test):
        assert torch.equal(image, torch.from_numpy(ramp).expand(3, 16, 16)), test.source.name(position)


def test_nested_and_hidden_files(tmp_path: Path) -> None:
    images_in(tmp_path, ["cat", "dog", "owl"])
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("in no class")
    (tmp_path / "cat" / ".DS_Store").write_text("")
    (tmp_path / "cat" / "._0.jpg").write_text("no image")
    (tmp_path / "cat" / "deeper").mkdir()
    (tmp_path / "cat" / "0.jpg").rename(tmp_path / "cat" / "deeper" / "0.jpg")
    photos = data.Photos(root=tmp_path)
    paths = [Path(path).relative_to(tmp_path).as_posix() for path, _ in photos.test(3).source.samples]
    assert paths[:2] == [
        "cat/1.jpg",
        "cat/deeper/0.jpg",
    ]
    hidden = tmp_path / "owl" / ".thumbnails" / "deeper"
    hidden.mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(hidden / "0.jpg")
    assert len(data.Photos(root=tmp_path).test(3)) == 6
    (tmp_path / "dog" / "clip.mp4").write_text("")
    with pytest.warns(UserWarning, match=r"--data-dir: left out 1 files under '.*' that are no images, such as '.*dog/clip.mp4'"):
        assert len(data.Photos(root=tmp_path).test(3)) == 6


def test_damaged_files_are_named_in_one_line(tmp_path: Path) -> None:
    seeded = torch.Generator().manual_seed(0)
    noise = Image.fromarray(torch.randint(256, (64, 64, 3), generator=seeded, dtype=torch.uint8).numpy())
    for name in ("cut.jpg", "cut.png"):
        path = tmp_path / name.partition(".")[2] / "a" / name
        path.parent.mkdir(parents=True)
        noise.save(path)
        path.write_bytes(path.read_bytes()[:-1000])
        assert refused(data.Photos(root=path.parents[1]), 1) == f"--data-dir: '{path}' is truncated or not an image"
    for number, content in enumerate((b"", b"junk", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDRjunk")):
        path = tmp_path / f"other-{number}" / "a" / "b.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        assert "b.png' is truncated or not an image" in refused(data.Photos(root=path.parents[1]), 1)


def test_folders_laid_out_otherwise_are_refused(tmp_path: Path) -> None:
    images_in(tmp_path / "mine", ["cat", "dog", "owl"])
    images_in(tmp_path / "training" / "train", ["cat"])
    (tmp_path / "empty").mkdir()
    assert refused(data.Photos()).startswith("--data-dir is not given; it must be a folder with one folder of images a class")
    assert refused(data.Photos(root=tmp_path / "no")).startswith(f"--data-dir: '{tmp_path / 'no'}' is not a folder")
    assert "empty' holds no folders" in refused(data.Photos(root=tmp_path / "empty"))
    assert "cat' holds no folders" in refused(data.Photos(root=tmp_path / "mine" / "cat"))
    assert "holds train/ but no val/ and no test/" in refused(data.Photos(root=tmp_path / "training"))
    for name in ("cat", "eel"):
        (tmp_path / "bare" / name).mkdir(parents=True)
    assert "cat' holds no images; accepted: .jpg" in refused(data.Photos(root=tmp_path / "bare"), 2)


def test_a_class_without_images_is_warned_of_where_labels_name_it(tmp_path: Path) -> None:
    images_in(tmp_path / "mine", ["cat", "dog", "owl"])
    (tmp_path / "mine" / "eel").mkdir()
    assert ".gif, or --labels, by which a class may be without any" in refused(data.Photos(root=tmp_path / "mine"), 4)
    (tmp_path / "labels.txt").write_text("owl\neel\ndog\ncat")
    photos = data.Photos(root=tmp_path / "mine", size=8, labels=tmp_path / "labels.txt")
    with pytest.warns(UserWarning, match="mine' holds no images of 1 of 4 classes, such as 'eel'"):
        test = photos.test(4)
    assert [label for _, label in test] == [3, 3, 2, 2, 0, 0]


def test_a_network_of_one_channel_is_given_grey(tmp_path: Path) -> None:
    images_in(tmp_path, ["cat", "dog"])
    photos = data.Photos(root=tmp_path, size=8, grey=True)
    assert photos.first().shape == (1, 8, 8)
    for image, label in photos.test(2):
        assert torch.equal(image, torch.full((1, 8, 8), 40 * label + 20, dtype=torch.uint8))


@pytest.mark.parametrize(
    "splits", [("Training", "Testing"), ("TRAIN", "VAL"), ("valid", "holdout"), ("part-2", "part-1"), ("trnset", "tstset"), ("Valid",)]
)
def test_splits_are_not_taken_for_classes(tmp_path: Path, splits: Sequence[str]) -> None:
    for split in splits:
        images_in(tmp_path / split, ["cat", "owl"])
    text = refused(data.Photos(root=tmp_path), 2)
    assert f"hold folders{' of the same names' if len(splits) > 1 else ''} (cat, owl): splits, not classes" in text
    assert f"name one of them, such as --data-dir {tmp_path / splits[-1]}, or give --labels" in text
    assert len(data.Photos(root=tmp_path / splits[-1]).test(2)) == 4
    (tmp_path / "labels.txt").write_text("\n".join(splits))
    assert data.Photos(root=tmp_path, labels=tmp_path / "labels.txt").folders == sorted(splits)


def test_splits_whose_classes_differ_are_known_by_their_names(tmp_path: Path) -> None:
    images_in(tmp_path / "Train", ["cat", "owl"])
    images_in(tmp_path / "Test", ["cat"])
    assert f"--data-dir {tmp_path / 'Test'}" in refused(data.Photos(root=tmp_path), 2)


def test_splits_are_known_by_their_names_whatever_else_lies_in_them(tmp_path: Path) -> None:
    for name in ("TrainData", "TestData"):
        images_in(tmp_path / "some" / name, ["cat", "owl"])
    (tmp_path / "some" / "TrainData" / "cat" / "0.jpg").rename(tmp_path / "some" / "TrainData" / "sample.jpg")
    assert "hold folders (cat, owl): splits, not classes" in refused(data.Photos(root=tmp_path / "some"), 2)
    images_in(tmp_path / "flat", ["train", "test"])
    assert "test, train in" in (text := refused(data.Photos(root=tmp_path / "flat"), 2))
    assert "are names of splits: splits, not classes" in text


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    test = data.Photos(root=images_in(tmp_path, ["bus", "train"]), size=8).test(2)
    assert [label for _, label in test] == [0, 0, 1, 1]
    images_in(tmp_path / "train", ["steam"])
    assert "holds train/ but no val/ and no test/" in refused(data.Photos(root=tmp_path), 2)
    (tmp_path / "labels.txt").write_text("train\nbus")
    assert len(data.Photos(root=tmp_path, size=8, labels=tmp_path / "labels.txt").test(2)) == 6


def test_splits_within_a_folder_of_their_name_are_known_by_it(tmp_path: Path) -> None:
    for split in ("seg_train", "seg_test"):
        images_in(tmp_path / split / split, ["cat", "owl"])
    text = refused(data.Photos(root=tmp_path), 2)
    assert f"hold folders (seg_test): splits, not classes; name one of them, such as --data-dir {tmp_path / 'seg_test'}" in text


def test_parts_of_classes_are_no_splits_where_the_network_tells(tmp_path: Path) -> None:
    for name in ("cat", "dog", "owl"):
        images_in(tmp_path / name, ["back", "front"])
    assert len(data.Photos(root=tmp_path, size=8).test(3)) == 12
    for logits in (2, 4):
        assert "hold folders of the same names (back, front): splits, not classes" in refused(data.Photos(root=tmp_path, size=8), logits)


def test_folders_below_classes_are_no_splits(tmp_path: Path) -> None:
    images_in(tmp_path / "a" / "cat", ["left", "right"])
    images_in(tmp_path / "a" / "owl", ["left"])
    assert data.Photos(root=tmp_path / "a").folders == ["cat", "owl"]
    images_in(tmp_path / "b", ["cat", "owl"])
    for name in ("cat", "owl"):
        images_in(tmp_path / "b" / name, ["left"])
    assert data.Photos(root=tmp_path / "b").folders == ["cat", "owl"]
    for name in ("cat", "owl"):  # as in Tiny ImageNet
        images_in(tmp_path / "c" / name, ["images"])
    assert data.Photos(root=tmp_path / "c").folders == ["cat", "owl"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "--size"),
        ({"resize": 0}, "--resize"),
        ({"size": 64, "resize": 63}, r"--resize must .*64.*63"),
        ({"interpolation": "cubic"}, "interpolation: 'cubic' .* accepted: bilinear, bicubic"),
    ],
)
def test_bad_sizes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        data.Photos(**settings)


def test_labels_give_each_folder_its_logit(tmp_path: Path) -> None:
    images_in(tmp_path / "photos", ["cat", "owl"])
    labels = tmp_path / "labels.txt"
    labels.write_bytes("\ufeffowl\r\nground beetle\r\n cat \r\nground beetle\r\n\r\n".encode())
    test = data.Photos(root=tmp_path / "photos", size=8, labels=labels).test(4)
    assert [label for _, label in test] == [2, 2, 0, 0]
    assert list(test.classes) == ["owl", "ground beetle", "cat", "ground beetle"]
    assert data.Photos(root=str(tmp_path / "photos"), size=8, labels=str(labels)).test(4).classes == test.classes
    assert match_classes(["cat", "owl"], 4, labels).labels == [2, 0]


@pytest.mark.parametrize(
    ("content", "logits", "message"),
    [
        (None, 3, "no file '"),
        (b"\xff\xfe\x00", 3, "is not a text file of one class name a line"),
        (b"", 3, "has 0 lines, and the network 3 logits"),
        (b"owl\ncat\n", 3, "has 2 lines, and the network 3 logits"),
        (b"owl\n\ncat\ndog", 3, "has 4 lines"),
        (b"owl\nCat\ndog", 3, "has no line 'cat', the name of a folder; its lines begin owl, Cat, dog"),
        (b"cat\nowl\ncat", 3, "names 'cat' in the lines 1 and 3"),
    ],
)
def test_labels_that_do_not_name_each_logit_are_refused(tmp_path: Path, content: bytes | None, logits: int, message: str) -> None:
    images_in(tmp_path / "photos", ["cat", "owl"])
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    text = refused(data.Photos(root=tmp_path / "photos", size=8, labels=tmp_path / "labels.txt"), logits)
    assert text.startswith("--labels: ")
    assert message in text


def test_without_labels_there_must_be_as_many_folders_as_logits() -> None:
    assert match_classes(["cat", "dog"], 2) == ([0, 1], ["cat", "dog"])
    with pytest.raises(InputError, match=r"^--labels is not given, and there are 2 folders \(cat, dog\) for a network of 3 logits"):
        match_classes(["cat", "dog"], 3)
    with pytest.raises(InputError, match=r"4 folders \(a, b, c, ...\) for a network of 1000 .* or folders named by ImageNet wnid"):
        match_classes(["a", "b", "c", "d"], 1000)


@pytest.mark.parametrize("folders", [["Zebra", "apple"], ["10b", "2c"]])
def test_names_that_readers_of_other_libraries_sort_otherwise_are_warned_of(folders: list[str]) -> None:
    first, second = folders
    with pytest.warns(UserWarning, match=f"sorted as text, '{first}' before '{second}', as torchvision's ImageFolder sorts them"):
        assert match_classes(folders, 2).names == folders


@pytest.mark.parametrize("form", ["{}", "class_{}", "{}-x", "v1.{}"])
def test_an_alphabetical_order_that_is_not_the_natural_one_is_warned_of(tmp_path: Path, form: str) -> None:
    natural = [form.format(number) for number in range(12)]
    first = form.format(10), form.format(2)
    with pytest.warns(UserWarning, match=f"--labels is not given: .* sorted as text, '{first[0]}' before '{first[1]}'.*--labels FILE"):
        assert match_classes(sorted(natural), 12).names[2] == first[0]
    (tmp_path / "labels.txt").write_text("\n".join(natural))
    settled = match_classes(sorted(natural), 12, tmp_path / "labels.txt")
    assert [settled.names[label] for label in settled.labels] == sorted(natural)
    assert settled.labels[:4] == [0, 1, 10, 11]


@pytest.mark.parametrize(
    "folders", [["0", "1"], ["class_01", "class_02", "class_10"], ["a2b", "a2c", "b1"], ["ant", "Zebra"], ["1a", "a1"]]
)
def test_orders_that_agree_are_not_warned_of(folders: list[str]) -> None:
    assert match_classes(folders, len(folders)).labels == list(range(len(folders)))


def test_wnids_are_the_classes_of_imagenet() -> None:
    folders = ["n01440764", "n02102040", "n03888257"]
    matched = match_classes(folders, 1000)
    assert matched.labels == [0, 217, 701]
    assert len(matched.names) == 1000
    assert [matched.names[label].partition(",")[0] for label in matched.labels] == ["tench", "English springer", "parachute"]
    assert match_classes(folders, 3).labels == [0, 1, 2], "a network of their own, trained on these folders"
    with pytest.raises(InputError, match=r"^--labels is not given, and the folder 'n00000001' is none of ImageNet-1k's 1000 classes"):
        match_classes(["n00000001", *folders], 1000)


def test_real_images_of_imagenet(imagenette: Path) -> None:
    test = data.Photos(root=imagenette, size=64, resize=72).test(1000)
    assert sorted(set(test.source.labels)) == [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]  # as imagenette is documented
    x, y = next(data.batches(data.select(test, range(0, len(test), 25)), 8, CPU))
    assert x.shape == (8, 3, 64, 64)
    assert 0.1 < x.mean() < 0.9
    assert y[0] == 0
