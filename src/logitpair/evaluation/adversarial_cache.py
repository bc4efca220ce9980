"""Adversarial images on disk: made once, used again for another target, checked whenever they are read."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from logitpair.attacks import AttackResult
from logitpair.errors import InputError
from logitpair.storage.atomic_files import atomic_write, read_arrays, write_arrays
from logitpair.storage.ledger import Columns
from logitpair.storage.model_fingerprint import bytes_of
from logitpair.threat import Threat

ABOUT = "about.json"
FOUND = ("x_adv", "restart", "step", "gradients", "forwards")


@dataclass(frozen=True)
class AdversarialImages:
    """A folder of adversarial images: one folder an attack on a network, in it one file a batch.

    A file is named after the clean images and their labels, its folder after all that determines what is made of them (the key, in plain
    values), so that no image is ever used in place of another.

    Args:
        folder: may be shared by evaluations of several targets, for which a source's images are then made once.
        sources_only: keep only images that are made against sources.
    """

    folder: Path
    sources_only: bool = False

    def write(self, key: Mapping[str, Any], x: Tensor, y: Tensor, position: Tensor, found: AttackResult) -> None:
        """Keep what an attack found for these examples."""
        folder = self.folder / folder_of(key)
        if not (folder / ABOUT).exists():
            atomic_write(folder / ABOUT, json.dumps(key, indent=2) + "\n")
        arrays = {name: getattr(found, name).cpu().numpy() for name in FOUND}
        write_arrays(_file(folder, x, y, position), arrays | {"position": position.cpu().numpy()})

    def read(self, key: Mapping[str, Any], threat: Threat, x: Tensor, y: Tensor, position: Tensor) -> AttackResult | None:
        """What was kept for these very examples; None if nothing was, or if any of it is damaged or outside the threat model."""
        arrays = _arrays(_file(self.folder / folder_of(key), x, y, position))
        if arrays is None or arrays["x_adv"].shape != tuple(x.shape) or any(len(arrays[name]) != len(x) for name in FOUND):
            return None
        found = AttackResult(**{name: torch.from_numpy(arrays[name]).to(x.device) for name in FOUND})
        return found if bool(threat.contains(found.x_adv.to(x), x).all()) else None

    def chunks(self, folder: str) -> Iterator[Columns]:
        """The arrays of each file of an attack's folder, in the data's order."""
        for path in sorted((self.folder / folder).glob("*.npz")):
            arrays = _arrays(path)
            if arrays is None:
                raise InputError(f"'{path}' is damaged; delete it and evaluate again")
            yield arrays


def folder_of(key: Mapping[str, Any]) -> str:
    """The folder, within that of all images, of those with this key."""
    return _digest(json.dumps(key, sort_keys=True).encode())


def _file(folder: Path, x: Tensor, y: Tensor, position: Tensor) -> Path:
    clean = _digest(*map(bytes_of, (x, y, position)))
    return folder / f"{int(position[0]) if len(position) else 0:09d}-{clean}.npz"


def _arrays(path: Path) -> Columns | None:
    """The content of a file; None where there is none, or where it is damaged."""
    arrays = read_arrays(path)
    return arrays if arrays is not None and {"position", *FOUND} <= arrays.keys() else None


def _digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()[:16]
