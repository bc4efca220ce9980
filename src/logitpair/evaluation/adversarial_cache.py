"""Adversarial images on disk: made once, taken again for another target, checked whenever they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logitpair.attacks import AttackResult
from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write, read_arrays, write_arrays
from logitpair.threat import Linf

ABOUT = "about.json"
COLUMNS = ("restart", "step", "gradients", "forwards")


@dataclass(frozen=True)
class Piece:
    """The adversarial images of some examples, as stored.

    Args:
        position: ``[n]``, where the examples stand in the data.
        x_adv: ``[n, channels, height, width]``.
    """

    position: np.ndarray
    x_adv: np.ndarray


class AdversarialImages:
    """A folder of adversarial images: one folder an attack on a network, in it one file a batch.

    A batch's file is named after the clean images and their labels, and its folder after all that determines what is made of them
    (``made_by``), so that nothing is ever taken for something else.

    Args:
        folder: may be shared by evaluations of several targets, for which a source's images are then made once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, made_by: Mapping[str, Any], x: Tensor, y: Tensor, position: Tensor, found: AttackResult) -> None:
        """Keep what an attack found for these examples; ``made_by`` in plain values."""
        folder = self._folder(made_by)
        if not (folder / ABOUT).exists():
            atomic_write(folder / ABOUT, json.dumps(made_by, indent=2) + "\n")
        columns = {name: getattr(found, name).cpu().numpy() for name in COLUMNS}
        arrays = {"position": position.cpu().numpy(), "x_adv": found.x_adv.cpu().numpy()}
        write_arrays(_file(folder, x, y, position), arrays | columns)

    def read(self, made_by: Mapping[str, Any], threat: Linf, x: Tensor, y: Tensor, position: Tensor) -> AttackResult | None:
        """What was kept for these very examples; None if nothing was, or if any of it is damaged or outside the threat model."""
        arrays = _arrays(_file(self._folder(made_by), x, y, position))
        if arrays is None or arrays["x_adv"].shape != tuple(x.shape) or any(len(arrays[name]) != len(x) for name in COLUMNS):
            return None
        x_adv = torch.from_numpy(arrays["x_adv"]).to(x)
        if not bool(threat.contains(x_adv, x).all()):
            return None
        return AttackResult(x_adv, **{name: torch.from_numpy(arrays[name]).to(x.device) for name in COLUMNS})

    def pieces(self, name: str) -> Iterator[Piece]:
        """The files of one attack's folder, in the data's order.

        Raises:
            InputError: if one is damaged.
        """
        for path in sorted((self.folder / name).glob("*.npz")):
            arrays = _arrays(path)
            if arrays is None:
                raise InputError(f"'{path}' is damaged; delete it and evaluate again")
            yield Piece(arrays["position"], arrays["x_adv"])

    def _folder(self, made_by: Mapping[str, Any]) -> Path:
        return self.folder / name_of(made_by)


def name_of(made_by: Mapping[str, Any]) -> str:
    """The folder, within that of all images, of what was made so."""
    return _digest(json.dumps(made_by, sort_keys=True).encode())


def _file(folder: Path, x: Tensor, y: Tensor, position: Tensor) -> Path:
    clean = _digest(*(part.cpu().contiguous().numpy().tobytes() for part in (x, y, position)))
    return folder / f"{int(position[0]) if len(position) else 0:09d}-{clean}.npz"


def _arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The content of a file; None where there is none, or where it is damaged."""
    found = read_arrays(path)
    return found if found is not None and {"position", "x_adv", *COLUMNS} <= found.keys() else None


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
