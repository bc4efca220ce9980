"""Data sets, the order of training, and what bad folders and files lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from logitpair import InputError, data
from logitpair.data.epoch_batches import epoch_batches, steps_per_epoch

CPU = torch.device("cpu")


def rows(images: Tensor) -> set[bytes]:
    return set(images.flatten(1).contiguous().numpy().view(f"V{images[0].numel()}").ravel().tolist())


def test_digits_splits_are_disjoint_and_sized() -> None:
    digits = data.Digits()
    splits = [digits.train(), digits.validation(), digits.test()]
    assert [len(split) for split in splits] == [1200, 150, 447]
    images = torch.cat([split.images for split in splits])
    labels = torch.cat([split.labels for split in splits])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert images.max() == 255
    assert torch.equal(labels.bincount(), torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]))  # scikit-learn's counts
    train, validation, test = (rows(split.images) for split in splits)
    assert not train & test
    assert not train & validation
    assert not validation & test
    assert len(digits.classes) == 10


def test_digits_are_the_same_every_time_and_leave_the_global_random_state_alone() -> None:
    from logitpair.data.digits import _digits

    before, labels = torch.get_rng_state(), data.Digits().test().labels.clone()
    _digits.cache_clear()
    assert torch.equal(data.Digits().test().labels, labels)
    assert torch.equal(torch.get_rng_state(), before)


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


def test_a_root_may_be_a_string(mnist_root: Path, tmp_path: Path) -> None:
    assert len(data.MNIST(root=str(mnist_root)).test()) == 10_000
    with pytest.raises(InputError, match="is not a folder"):
        data.Folder(root=str(tmp_path / "missing")).train()


def test_missing_mnist_out_of_reach_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from logitpair.runtime.lazy_imports import import_torchvision

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(import_torchvision().datasets.mnist, "download_and_extract_archive", unreachable)
    with pytest.raises(InputError, match="--data-dir: no MNIST under") as caught:
        data.MNIST(root=tmp_path / "missing").train()
    assert str(tmp_path / "missing") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


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
    root: Path | None = folder
    if build == "not_given":
        root = None
    elif build == "missing":
        root = folder / "nowhere"
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


def test_bad_folder_settings_are_refused() -> None:
    for settings in ({"size": 0}, {"validation_fraction": 1.0}, {"validation_fraction": -0.1}):
        with pytest.raises(InputError, match=next(iter(settings))):
            data.Folder(root=Path(), **settings)


@pytest.mark.parametrize("examples", [10, 12])
def test_every_index_comes_exactly_once_an_epoch(examples: int) -> None:
    images = data.MemoryImages(torch.arange(examples, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(examples))
    assert steps_per_epoch(images, 4) == 3
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        found = list(epoch_batches(images, 4, seed=seed, epoch=epoch))
        assert len(found) == 3
        assert all(torch.equal(x.flatten().long(), y) for x, y in found)
        orders.append(torch.cat([y for _, y in found]).tolist())
        assert sorted(orders[-1]) == list(range(examples))
    assert len(set(map(tuple, orders))) == 3, "each epoch and each seed has its own order"


def test_an_epoch_started_in_the_middle_has_the_same_tail() -> None:
    images = data.Digits().validation()
    whole = list(epoch_batches(images, 16, seed=3, epoch=2))
    tail = list(epoch_batches(images, 16, seed=3, epoch=2, start=6))
    assert len(tail) == len(whole) - 6
    for (x, y), (x_tail, y_tail) in zip(whole[6:], tail, strict=True):
        assert torch.equal(x, x_tail)
        assert torch.equal(y, y_tail)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_each_batch(size: int) -> None:
    images = data.MemoryImages(torch.zeros(50, 1, 1, 1, dtype=torch.uint8), torch.arange(50))
    whole = [y for _, y in epoch_batches(images, 12, seed=0, epoch=0)]
    shares = [[y for _, y in epoch_batches(images, 12, seed=0, epoch=0, rank=rank, size=size)] for rank in range(size)]
    for batch, *shards in zip(whole, *shares, strict=True):
        together = torch.cat(shards)
        assert sorted(together.tolist()) == sorted(batch.tolist())
        assert len(together.unique()) == len(together)


class Augmented(Dataset):
    """Draws a number with every example, as an augmentation does."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 2, 2) + index, index


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_draws_the_same_after_resuming_and_in_workers_and_anew_each_epoch(workers: int) -> None:
    def epoch(number: int, start: int = 0, workers: int = 0) -> Tensor:
        return torch.cat([x for x, _ in epoch_batches(Augmented(), 6, seed=0, epoch=number, start=start, workers=workers)])

    torch.rand(3)  # the global state is nobody's business
    whole = epoch(0)
    torch.rand(7)
    assert torch.equal(epoch(0, start=2, workers=workers), whole[12:])
    assert torch.equal(epoch(0, workers=workers), whole)
    other = {round(value, 5) for value in (epoch(1) % 1).flatten().tolist()}
    assert not other & {round(value, 5) for value in (whole % 1).flatten().tolist()}


def test_batches_of_all_kinds_of_data_agree() -> None:
    images = data.Digits().validation()
    x, y = images.images, images.labels
    kinds = [(x, y), images, TensorDataset(x, y), DataLoader(TensorDataset(x, y), batch_size=40), (x.float() / 255, y)]
    for kind in kinds:
        found = list(data.batches(kind, 40, CPU))
        assert [len(labels) for _, labels in found] == [40, 40, 40, 30]
        torch.testing.assert_close(torch.cat([pixels for pixels, _ in found]), x.float() / 255)
        assert torch.equal(torch.cat([labels for _, labels in found]), y)


def test_float64_pixels_stay_float64() -> None:
    assert data.to_pixels(torch.rand(2, 1, 2, 2, dtype=torch.float64), CPU).dtype == torch.float64


def test_first_takes_the_first() -> None:
    images = data.Digits().validation()
    assert len(data.first(images, 7)) == 7
    assert torch.equal(data.first(images, 7)[6][0], images[6][0])
    assert len(data.first((images.images, images.labels), 7)[1]) == 7
    assert len(data.first(images, 10_000)) == 150
    assert data.first(images, None) is images
    with pytest.raises(InputError, match="DataLoader"):
        data.first(DataLoader(images), 7)


def test_data_of_unequal_length_are_refused(conv: torch.nn.Module) -> None:
    import logitpair as lp

    attacks = {"pgd": lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)}
    for images, labels in ((5, 3), (12, 7), (7, 12)):
        with pytest.raises(InputError, match="y"):
            lp.evaluate(conv, (torch.rand(images, 1, 8, 8), torch.zeros(labels).long()), attacks=attacks, batch_size=6, progress=False)
