"""Small folders of images to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise_image(seed: int, height: int = 24, width: int = 30) -> Image.Image:
    """Noise in colour, so smooth that two crops of it differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def image_folder(root: Path, train: int = 8, val: int = 3) -> Path:
    """Three classes in the ImageFolder layout; a file's name holds dots, and one format is another."""
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(("ant", "bee", "cow")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                suffix = "png" if i == 1 else "jpg"
                noise_image(1000 * number + i + 100 * len(split), 24 + i, 30).save(root / split / name / f"{name}.{i:02d}.{suffix}")
    return root


def damage(path: Path) -> Path:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
