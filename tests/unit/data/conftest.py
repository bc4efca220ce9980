"""A folder of images, and the same in tar files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from image_folders import image_folder

from logitpair import data

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "folder")


@pytest.fixture
def shards(folder: Path, tmp_path: Path, cache: Path) -> Path:
    data.write_shards(folder, tmp_path / "shards", images=10)
    return tmp_path / "shards"
