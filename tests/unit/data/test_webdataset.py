"""Images in tar files: the same examples as in a folder, and what odd files lead to."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from image_folders import noise_image
from PIL import Image
from torch.utils.data import Dataset

from logitpair import InputError, data
from logitpair.data import webdataset
from logitpair.data.epoch_batches import epoch_batches

CPU = torch.device("cpu")


def pixels(dataset: Dataset, workers: int = 0) -> torch.Tensor:
    return torch.cat([x for x, _ in data.batches(dataset, 5, CPU, workers)])


def labels(dataset: Dataset) -> list[int]:
    return torch.cat([y for _, y in data.batches(dataset, 5, CPU)]).tolist()


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


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_shards_at_a_url_give_the_same_examples(shards: Path, cache: Path, tmp_path: Path, kind: str) -> None:
    url = shards.as_uri() if kind == "file" else f"memory://{tmp_path.name}/shards"
    if kind == "memory":
        fsspec.filesystem("memory").put(f"{shards}/*", f"/{tmp_path.name}/shards/")
    options = {"size": 16, "validation_fraction": 0.25}
    here = data.Shards(root=shards, **options)
    for root in (url, Path(url)):  # in which a path has joined the slashes
        there = data.Shards(root=root, **options)
        assert list(there.classes) == list(here.classes)
        assert torch.equal(pixels(there.test(), workers=2), pixels(here.test()))
        assert torch.equal(pixels(there.validation()), pixels(here.validation()))
    assert len(list(cache.glob("*.npz"))) == (4 if kind == "file" else 8), "looked up once, by the URL"


def test_a_url_without_shards_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="^data.training: no files 'train-\\*.tar' in 'memory://nothing'"):
        data.Shards(root="memory://nothing").train()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match="^--data-dir: 's3://bucket' raised ImportError: Install s3fs"):
        data.Shards(root="s3://bucket").train()


def test_shards_are_written_the_same_every_time_and_never_over_others(folder: Path, shards: Path, tmp_path: Path) -> None:
    data.write_shards(folder, tmp_path / "again", images=10)
    for path in shards.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    with pytest.raises(InputError, match="out: .*holds tar files"):
        data.write_shards(folder, shards)
    with pytest.raises(InputError, match="images"):
        data.write_shards(folder, tmp_path / "other", images=0)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("place", "name"), [(webdataset, "_write"), (Path, "rename")], ids=["written", "shown"])
def test_shards_whose_writing_was_cut_off_are_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, error: BaseException
) -> None:
    out, done = tmp_path / "cut", getattr(place, name)

    def until_the_last(path: Path, *arguments: Any) -> Any:
        if path.name == "val-000002.tar":
            raise error
        return done(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, until_the_last)
        with pytest.raises(type(error)):
            data.write_shards(folder, out, images=4)
    assert not list(out.glob("*.tar"))
    names = [path.name for path in data.write_shards(folder, out, images=4)]
    assert names == [f"train-{number:06d}.tar" for number in range(6)] + [f"val-{number:06d}.tar" for number in range(3)]
    assert {path.name for path in out.iterdir()} == {*names, "classes.txt"}


def test_what_a_kill_left_of_shards_is_not_read(shards: Path) -> None:
    (shards / ".partial.x").mkdir()
    shutil.copy(shards / "train-000000.tar", shards / ".partial.x")
    assert list(data.Shards(root=shards, size=16, training="**/train-*.tar").source("train").tar) == sorted([0] * 10 + [1] * 10 + [2] * 4)


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


def test_a_tar_file_stays_open_while_it_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = data.Shards(root=shards, size=16).test()
    read, expected = os.pread, test[4][0]

    def after_other_threads(handle: int, size: int, start: int) -> bytes:
        webdataset._opened.cache_clear()  # as they do who open many files meanwhile
        return read(handle, size, start)

    monkeypatch.setattr(os, "pread", after_other_threads)
    assert torch.equal(test[4][0], expected)


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


@pytest.mark.filterwarnings("ignore:data.training:UserWarning")  # of class 1, which is in the test set alone
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


def test_names_with_dots_are_examples_of_their_own(tmp_path: Path, cache: Path) -> None:
    parts = {"z.seg.png": b"?", "z.mask.0.png": b"?", "z.cls": b"0", "z.jpeg": encoded(3, "JPEG")}
    for split in ("train", "val"):
        members = {f"cat.{i}{suffix}": content for i in range(5) for suffix, content in ((".jpg", encoded(i)), (".cls", b"1"))}
        write_tar(tmp_path / f"{split}-0.tar", members | parts)
    (tmp_path / "classes.txt").write_bytes("\ufeffdog\r\ncat\r\n\r\n\n".encode())
    shards = data.Shards(root=tmp_path, size=24, validation_fraction=0.5)
    assert labels(shards.test()) == [1] * 5 + [0]
    assert list(shards.classes) == ["dog", "cat"]


@pytest.mark.parametrize("members", [{}, {"a.txt": b"1"}, {"._a.jpg": b"1", "._a.cls": b"1"}])
def test_tar_files_without_examples_are_refused(shards: Path, members: dict[str, bytes]) -> None:
    for path in shards.glob("train-*.tar"):
        write_tar(path, members)
    with pytest.raises(InputError, match=r"^data.training: 'train-\*.tar' in '.*shards' hold no image with a label; accepted"):
        data.Shards(root=shards).train()


def test_labels_that_begin_at_1_are_warned_of(tmp_path: Path, cache: Path) -> None:
    for split in ("train", "val"):
        members = {f"{i}{suffix}": content for i in (1, 2) for suffix, content in ((".png", encoded(i)), (".cls", str(i).encode()))}
        write_tar(tmp_path / f"{split}-0.tar", members)
    with pytest.warns(UserWarning, match=r"data.training: .* has labels from 1 to 2: labels begin at 0, and class 0 has no image"):
        assert len(data.Shards(root=tmp_path).classes) == 3
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(InputError, match="holds the label 2, and classes.txt only 2 names; labels begin at 0"):
        data.Shards(root=tmp_path).train()


def test_without_class_names_training_tells_which_labels_there_are(tmp_path: Path, cache: Path) -> None:
    def write(split: str, *labels: int) -> None:
        members = {f"{i}{suffix}": content for i in labels for suffix, content in ((".png", encoded(i)), (".cls", str(i).encode()))}
        write_tar(tmp_path / f"{split}-0.tar", members)

    write("train", 0, 3)
    write("val", 3)
    with pytest.warns(UserWarning, match="has labels from 0 to 3: labels begin at 0, and class 1 and 1 more have no image"):
        assert list(data.Shards(root=tmp_path).classes) == ["0", "1", "2", "3"]
    write("train", 0, 1)
    write("val", 1, 2)
    with pytest.raises(
        InputError, match="^data.testing: .* has labels up to 2, training up to 1; accepted: as in training, or classes.txt"
    ):
        data.Shards(root=tmp_path).test()
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    assert len(data.Shards(root=tmp_path).test()) == 2
    (tmp_path / "classes.txt").write_text("ant\n\nbee\ncow\n")
    with pytest.raises(InputError, match="classes.txt' has an empty line, 2; accepted: one class name a line"):
        data.Shards(root=tmp_path).test()


def test_only_files_that_are_not_hidden_are_tar_files_and_none_is_in_both_splits_without_a_word(shards: Path) -> None:
    (shards / "._val-000000.tar").write_bytes(b"of macOS")
    (shards / "val-folder.tar").mkdir()
    assert len(data.Shards(root=shards, testing="*val-*.tar").test()) == 9
    with pytest.warns(UserWarning, match=r"^data.testing: '\*.tar' .* train-000000.tar is in data.training too: the network is tested on"):
        data.Shards(root=shards, testing="*.tar").test()
    for pattern in (str(shards / "val-*.tar"), ""):
        with pytest.raises(InputError, match="^data.testing: '.*' is no pattern of names in --data-dir, such as test"):
            data.Shards(root=shards, testing=pattern).test()


def test_two_tar_files_in_one_are_refused(shards: Path) -> None:
    path = shards / "val-000000.tar"
    path.write_bytes(path.read_bytes() + (shards / "train-000000.tar").read_bytes())
    with pytest.raises(InputError, match="val-000000.tar' is truncated, damaged, or several tar files in one, after"):
        data.Shards(root=shards).test()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"1"}, "'a' without its label"),
        ({"a.0.png": b"1", "a.1.png": b"1", "a.1.cls": b"1"}, "'a.0' without its label"),
        ({"a.cls": b"1"}, "'a' without its image"),
        ({"a.png": b"1", "a.jpg": b"1", "a.cls": b"1"}, "two images"),
        ({"a.png": b"1", "a.cls": b"cat"}, "whole number"),
        ({"a.png": b"1", "a.cls": b"0" * 32 + b"1"}, "whole number"),
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
