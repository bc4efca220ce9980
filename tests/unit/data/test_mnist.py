"""MNIST, and what bad files lead to."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor

from logitpair import InputError, data
from logitpair.runtime.lazy_imports import import_torchvision

CPU = torch.device("cpu")


def rows(images: Tensor) -> set[bytes]:
    return set(images.flatten(1).contiguous().numpy().view(f"V{images[0].numel()}").ravel().tolist())


def test_mnist_splits(mnist_root: Path) -> None:
    mnist = data.MNIST(root=mnist_root)
    splits = [mnist.train(), mnist.validation(), mnist.test()]
    assert [len(split) for split in splits] == [55_000, 5_000, 10_000]
    assert splits[0].images.shape[1:] == (1, 28, 28)
    assert splits[0].images.dtype == torch.uint8
    assert splits[2].labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # the test set's well-known beginning
    assert not rows(splits[0].images) & rows(splits[1].images)


@pytest.mark.parametrize("file", ["t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_truncated_mnist_file_is_refused_in_one_line(tmp_path: Path, mnist_root: Path, file: str) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        (raw / path.name).symlink_to(path)
    (raw / file).unlink()
    (raw / file).write_bytes((mnist_root / "MNIST" / "raw" / file).read_bytes()[:5000])
    with pytest.raises(InputError, match=f"--data-dir: .*{file}.* 5,000 bytes.*truncated") as caught:
        data.MNIST(root=tmp_path).test()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_file_of_the_right_size_that_is_not_mnist_is_refused_in_one_line(tmp_path: Path, mnist_root: Path, kind: str) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        if f"t10k-{kind}" in path.name:
            (raw / path.name).write_bytes(bytes(path.stat().st_size))  # as a copy that was cut off leaves a file whose place was reserved
        else:
            (raw / path.name).symlink_to(path)
    with pytest.raises(InputError, match=f"--data-dir: the files in '{raw}' are damaged or not MNIST's") as caught:
        data.MNIST(root=tmp_path).test()
    assert len(str(caught.value).splitlines()) == 1


def test_a_root_may_be_a_string(mnist_root: Path) -> None:
    assert len(data.MNIST(root=str(mnist_root)).test()) == 10_000


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(import_torchvision().datasets.mnist, "download_and_extract_archive", unreachable)


@pytest.mark.usefixtures("_no_network")
def test_missing_mnist_out_of_reach_is_refused_in_one_line_and_leaves_no_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "logitpair")
    (tmp_path / "there").mkdir()
    for root in (tmp_path / "missing" / "deeper", tmp_path / "there"):
        with pytest.raises(InputError, match="--data-dir: no MNIST under '.*-idx1-ubyte$") as caught:
            data.MNIST(root=root).train()
        assert str(root) in str(caught.value)
        assert caplog.messages[-1] == f"--data-dir: no MNIST under '{root}'; it is downloaded to there"
        assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("file", ["MNIST/raw/train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", "raw/train-images.idx3-ubyte"])
def test_files_of_mnist_that_lie_elsewhere_or_are_packed_are_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"what was found must be unpacked, named and placed so: {tmp_path / file}$"):
        data.MNIST(root=tmp_path).train()
    assert (tmp_path / file).exists()


@pytest.mark.usefixtures("_no_network")
def test_a_folder_that_holds_the_one_that_was_meant_names_it(tmp_path: Path) -> None:
    (tmp_path / "mnist" / "MNIST").mkdir(parents=True)
    with pytest.raises(InputError, match=f"but there is '{tmp_path / 'mnist'}'; give that"):
        data.MNIST(root=tmp_path).test()
