"""Two sets of examples are taken for one only where everything that is known of them agrees."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from logitpair import data
from logitpair.data import MemoryImages, fingerprint

EXAMPLES = 200  # more than the 64 that are looked at where not all can be
ELSEWHERE = 1  # which is none of them


def images(changed: bool = False, relabelled: bool = False) -> tuple[Tensor, Tensor]:
    x = torch.randint(256, (EXAMPLES, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(EXAMPLES) % 10
    x[ELSEWHERE, 0, 0, 0] ^= changed
    y[ELSEWHERE] += relabelled
    return x, y


KINDS = {
    "pair": lambda x, y: (x, y),
    "memory": MemoryImages,
    "tensors": TensorDataset,
    "subset": lambda x, y: Subset(MemoryImages(x, y), range(100)),
    "subset_of_a_subset": lambda x, y: Subset(Subset(TensorDataset(x, y), range(150)), [3, 2, 1, *range(4, 100)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_what_is_in_memory_every_pixel_and_label_counts(kind: str) -> None:
    own = fingerprint(KINDS[kind](*images()))
    assert own == fingerprint(KINDS[kind](*images()))
    assert own != fingerprint(KINDS[kind](*images(changed=True)))
    assert own != fingerprint(KINDS[kind](*images(relabelled=True)))


def test_another_subset_is_another_set() -> None:
    whole = MemoryImages(*images())
    assert (
        len({fingerprint(whole), fingerprint(whole.part(0, 100)), fingerprint(whole.part(100, 200)), fingerprint(Subset(whole, range(99)))})
        == 4
    )
    assert fingerprint(whole.part(0, 100)) == fingerprint(Subset(whole, range(100)))


def images_in(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            path = folder / name / f"{i:02d}.png"
            Image.new("L", (4, 4), i).save(path)
            os.utime(path, (1e9, 1e9))
    return folder


@pytest.mark.parametrize("kind", ["photos", "folder"])
def test_of_files_the_names_sizes_times_and_labels_count(tmp_path: Path, kind: str) -> None:
    here = tmp_path / "here"
    folder = images_in(here / "val")
    shutil.copytree(folder, here / "train")

    def own(root: Path = here) -> str | None:
        source = data.Photos(root=root, size=4).test(2) if kind == "photos" else data.Folder(root=root, size=4).test()
        return fingerprint(Subset(source, range(79)))

    before = own()
    assert own() == before
    shutil.copytree(here, tmp_path / "elsewhere")
    assert own(tmp_path / "elsewhere") == before, "wherever the folder lies"
    touched = folder / "cat" / f"{ELSEWHERE + 1:02d}.png"
    os.utime(touched, (2e9, 2e9))
    assert own() != before
    os.utime(touched, (1e9, 1e9))
    assert own() == before
    touched.rename(touched.with_name("01-a.png"))
    assert own() != before


def test_labels_of_images_count_though_the_files_are_the_same(tmp_path: Path) -> None:
    root = images_in(tmp_path / "photos")
    (tmp_path / "one.txt").write_text("cat\ndog\nowl")
    (tmp_path / "two.txt").write_text("cat\nowl\ndog")
    one, two = (fingerprint(data.Photos(root=root, size=4, labels=tmp_path / name).test(3)) for name in ("one.txt", "two.txt"))
    assert one != two


class Read(Dataset[tuple[Tensor, Tensor]]):
    """Notes which examples are read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read.append(index)
        return torch.full((1, 2, 2), index / 1000), torch.tensor(0)


def test_of_anything_else_a_few_examples_are_read() -> None:
    source = Read()
    assert fingerprint(source)
    assert len(source.read) == 64
    assert source.read[-1] == 999
    assert fingerprint(DataLoader(source)) is None


def test_images_in_a_dtype_that_numpy_does_not_know() -> None:
    x, y = torch.rand(4, 1, 2, 2).bfloat16(), torch.arange(4)
    assert fingerprint((x, y)) == fingerprint((x.clone(), y)) != fingerprint((x.flip(0), y))
    assert fingerprint((x, y)) != fingerprint((x.float(), y))
