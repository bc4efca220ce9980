"""How validation images are held out of the training images, and the folder that a data set lies in."""

from __future__ import annotations

from pathlib import Path

import torch

from logitpair.errors import InputError


def check_fraction(fraction: float) -> None:
    """Refuse a fraction of the training images for validation that is not in [0, 1)."""
    if not 0 <= fraction < 1:
        raise InputError(f"data.validation_fraction must be at least 0 and below 1, not {fraction}")


def training_count(examples: int, fraction: float) -> int:
    """How many training images are left when this fraction of them, at least one and not all, is held out."""
    kept = examples - round(fraction * examples)
    if not 0 < kept < examples:
        raise InputError(f"data.validation_fraction: {fraction} of {examples} images leaves none for validation or none for training")
    return kept


def held_out(examples: int, fraction: float) -> tuple[list[int], list[int]]:
    """Positions that are kept for training and those held out for validation, drawn once by a fixed seed."""
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(0)).tolist()
    kept = training_count(examples, fraction)
    return order[:kept], order[kept:]


def require_folder(root: Path | str | None, holds: str) -> Path:
    """The folder that ``--data-dir`` names or one below it, or an error that says what it must hold."""
    if root is None or not Path(root).is_dir():
        found = " is not given" if root is None else f": '{root}' is not a folder"
        raise InputError(f"--data-dir{found}; it must be {holds}")
    return Path(root)
