"""How many photos a second one core makes into batches, for training and for evaluation: ours, torchvision's and timm's loaders.

    python benchmarks/loaders.py PHOTOS --sizes 224 299

PHOTOS holds a folder a class. So that decoding costs what it does for photos of a camera's shape, they are first written again as JPEG of
``--width`` x ``--height`` into a folder that goes away. Every loader does the same: for training crops of 8 to 100% of the area, mirrored
or not, for evaluation the centre, bilinear, float32 in the process that asks, without workers; timm's also takes mean and deviation off.
In each round all read the same photos, one loader after another; ratios are of medians, to torchvision's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import track
from torch.utils.data import DataLoader

from logitpair.data import Folder, batches, to_pixels
from logitpair.data.epoch_batches import epoch_batches
from logitpair.data.transforms import Augmentation
from logitpair.runtime import environment
from logitpair.runtime.lazy_imports import import_timm, import_torchvision
from logitpair.storage.atomic_files import atomic_write

CROP_PCT, SCALE = 0.875, (0.08, 1.0)
CPU = torch.device("cpu")
Pass = Callable[[], Iterable[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 299], help="pixels of a side that the network sees")
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--images", type=int, default=256, help="photos read in each round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/loaders.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(arguments, Path(folder))
        for size in arguments.sizes:
            for use, loaders in {"training": training(folder, size, arguments), "evaluation": evaluation(folder, size, arguments)}.items():
                name = f"{use}, {size} pixels"
                found[name] = measured(loaders, arguments, name)
                print(name, *(f"{loader}: {rate['images_per_second']}" for loader, rate in found[name].items()), sep="  ")
    settings = {name: getattr(arguments, name) for name in ("width", "height", "images", "batch", "repeats")}
    record = {
        "settings": settings,
        "found": found,
        "versions": environment.versions(),
        "hardware": environment.hardware(torch.device("cpu")),
    }
    atomic_write(arguments.out, json.dumps(record, indent=1) + "\n")


def write_photos(arguments: argparse.Namespace, folder: Path) -> None:
    """Some of the photos at the wanted size, as those to train on and as those to test on."""
    for number, path in enumerate(sorted(arguments.photos.rglob("*.*"))[: arguments.images]):
        image = Image.open(path).convert("RGB").resize((arguments.width, arguments.height))
        for split in ("train", "val"):
            place = folder / split / f"class-{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{number}.jpg", quality=90)


def training(folder: str, size: int, arguments: argparse.Namespace) -> dict[str, Pass]:
    """A pass of each loader over the photos, as training takes them."""
    vision = import_torchvision().transforms
    crop = vision.Compose([vision.RandomResizedCrop(size, SCALE), vision.RandomHorizontalFlip(), vision.ToTensor()])
    data = Folder(root=Path(folder), size=size, augmentation=Augmentation(scale=SCALE), validation_fraction=1 / arguments.images)
    ours, epoch = data.train(), itertools.count()
    return {
        "torchvision": lambda: theirs(f"{folder}/train", crop, arguments, shuffle=True),
        "timm": timms(f"{folder}/train", size, arguments, is_training=True, scale=SCALE, color_jitter=0),
        "logitpair": lambda: (to_pixels(x, CPU) for x, _ in epoch_batches(ours, arguments.batch, seed=0, epoch=next(epoch))),
    }


def evaluation(folder: str, size: int, arguments: argparse.Namespace) -> dict[str, Pass]:
    """A pass of each loader over the photos, as evaluation takes them."""
    vision = import_torchvision().transforms
    crop = vision.Compose([vision.Resize(int(size / CROP_PCT)), vision.CenterCrop(size), vision.ToTensor()])
    ours = Folder(root=Path(folder), size=size, crop_pct=CROP_PCT).test()
    return {
        "torchvision": lambda: theirs(f"{folder}/val", crop, arguments, shuffle=False),
        "timm": timms(f"{folder}/val", size, arguments, crop_pct=CROP_PCT),
        "logitpair": lambda: batches(ours, arguments.batch, CPU),
    }


def theirs(folder: str, transform: Any, arguments: argparse.Namespace, *, shuffle: bool) -> Iterable[Any]:
    """torchvision's data set in PyTorch's loader."""
    return DataLoader(import_torchvision().datasets.ImageFolder(folder, transform), arguments.batch, shuffle=shuffle)


def timms(folder: str, size: int, arguments: argparse.Namespace, **how: Any) -> Pass:
    """timm's data set and loader."""
    data = import_timm().data
    here = {"num_workers": 0, "use_prefetcher": False, "persistent_workers": False, "interpolation": "bilinear"}
    return lambda: data.create_loader(data.ImageDataset(folder), (3, size, size), arguments.batch, **here, **how)


def measured(loaders: dict[str, Pass], arguments: argparse.Namespace, name: str) -> dict[str, dict[str, Any]]:
    """Images a second of each loader, after a pass that warms up."""
    rates: dict[str, list[float]] = {loader: [] for loader in loaders}
    for number in track(range(arguments.repeats + 1), name, transient=True):
        for loader, read in loaders.items():
            began = time.perf_counter()
            images = sum(len(batch if isinstance(batch, torch.Tensor) else batch[0]) for batch in read())
            if number:
                rates[loader].append(images / (time.perf_counter() - began))
    usual = statistics.median(rates["torchvision"])
    return {
        loader: {
            "images_per_second": round(statistics.median(rate), 1),
            "lowest_highest": [round(min(rate), 1), round(max(rate), 1)],
            "of_torchvision": round(statistics.median(rate) / usual, 3),
        }
        for loader, rate in rates.items()
    }


if __name__ == "__main__":
    main()
