"""Kept adversarial images tried again: on a checkpoint in float32, and as a picture file would hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from logitpair.data import Data, batches, select
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages, Piece
from logitpair.evaluation.attack_run import WHITE_BOX, Correctness
from logitpair.evaluation.result import Evaluation, percent
from logitpair.models.inference import compute_logits, device_of, frozen_eval
from logitpair.runtime.precision import full_precision
from logitpair.runtime.progress import Progress
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.model_fingerprint import weights_of
from logitpair.threat import Linf
from logitpair.validate import at_least

COLUMNS = ("threat", "attack", "recorded %", "again %", "8 bits %", "differing", "outside")


@dataclass(frozen=True)
class Verified:
    """One attack's images, tried again.

    Args:
        victim: ``white_box``, or the source that the images were made against.
        attack: its name.
        total: examples of the evaluation.
        recorded: how many of them the evaluation counted as correct.
        again: how many are correct now.
        eight_bit: how many are correct when every pixel is rounded to a multiple of 1/255; what then lies outside the ball breaks nothing.
        differing: how many are counted otherwise than in the evaluation.
        outside: images that are not finite, leave [0, 1] or lie further than ``eps`` from the original; they break nothing.
    """

    victim: str
    attack: str
    total: int
    recorded: int
    again: int
    eight_bit: int
    differing: int
    outside: int


@dataclass(frozen=True)
class Verification:
    """What ``logitpair.verify`` returns.

    Args:
        attacks: a line for each attack whose images are kept.
        weights: of the network that they were tried on (``fingerprint.weights_of``).
    """

    attacks: tuple[Verified, ...]
    weights: str

    @property
    def holds(self) -> bool:
        """Whether every example is counted as in the evaluation, and no image lies outside."""
        return not any(attack.differing or attack.outside for attack in self.attacks)

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``."""
        return [
            (
                "white box" if attack.victim == WHITE_BOX else f"black box from {attack.victim}",
                attack.attack,
                *(percent(count / attack.total) for count in (attack.recorded, attack.again, attack.eight_bit)),
                str(attack.differing),
                str(attack.outside),
            )
            for attack in self.attacks
        ]

    def save(self, folder: Path | str) -> Path:
        """Write ``verification.json`` into the evaluation's folder."""
        path = Path(folder) / "verification.json"
        attacks = [asdict(attack) for attack in self.attacks]
        content = {"schema": 1, "kind": "verification", "holds": self.holds, "weights": self.weights, "attacks": attacks}
        atomic_write(path, json.dumps(content, indent=2) + "\n")
        return path


def verify(
    model: nn.Module, data: Data, evaluation: Evaluation, adversarial: Path | str, *, batch_size: int = 256, progress: bool = True
) -> Verification:
    """Try an evaluation's adversarial images again, each by a fresh float32 forward in eval mode.

    Args:
        model: the evaluated model again; left as it was.
        data: what was evaluated, the same examples in the same order; no ``DataLoader``.
        evaluation: what to compare with.
        adversarial: the folder that ``evaluate`` kept the images in.
        batch_size: images tried together.
        progress: show a progress bar.

    Raises:
        InputError: if the model has other weights than the evaluated one, no images are kept, some are missing, or they are of other data.
    """
    at_least("batch_size", batch_size, 1)
    store = AdversarialImages(Path(adversarial))
    entries = [(WHITE_BOX, name, entry) for name, entry in evaluation.results["attacks"].items()]
    for source, summary in evaluation.results["black_box"].items():
        entries += [(source, name, entry) for name, entry in summary["attacks"].items()]
    kept = [(victim, name, entry["images"]) for victim, name, entry in entries if "images" in entry]
    if not kept:
        raise InputError(f"'{adversarial}': this evaluation kept no adversarial images; evaluate again with --keep-adversarial")
    device, weights = device_of(model), weights_of(model)
    evaluated = evaluation.results.get("weights", weights)  # evaluations were once written without
    if weights != evaluated:
        raise InputError(
            f"model: has other weights ({weights[:8]}) than what was evaluated ({evaluated[:8]}); accepted: the same checkpoint"
        )
    verified: list[Verified] = []
    of_all = len(kept) * evaluation.results["examples"]
    with frozen_eval(model), torch.no_grad(), full_precision(device), Progress("verify", of_all, shown=progress) as bar:
        right = _right(model, data, evaluation, batch_size, device)
        for victim, name, images in kept:
            pieces = store.pieces(images["folder"])
            verified.append(_verified(model, data, evaluation, right, victim, name, Linf(images["eps"]), pieces, batch_size, device))
            bar.advance(evaluation.results["examples"])
    return Verification(tuple(verified), weights)


def _verified(
    model: nn.Module,
    data: Data,
    evaluation: Evaluation,
    right: np.ndarray,
    victim: str,
    name: str,
    threat: Linf,
    pieces: Iterator[Piece],
    batch_size: int,
    device: torch.device,
) -> Verified:
    """One attack's images, tried again; an example without an image stands as it does unperturbed (``right``)."""
    ledger = evaluation.ledger
    recorded = ledger[f"{victim}/{name}/prediction"] == ledger["y"]
    again, eight_bit = right.copy(), right.copy()
    seen, outside = np.zeros(len(recorded), dtype=bool), 0
    for piece in pieces:
        if len(piece.position) == 0:
            continue
        if piece.position.max() >= len(recorded):
            raise InputError(f"adversarial images of '{name}' are of more examples than the evaluation has")
        fresh = ~seen[piece.position]  # after an interruption an example may have been kept twice
        seen[piece.position] = True
        for position, x, y, x_adv in _examples(data, piece, fresh, batch_size, device):
            if x_adv.shape != x.shape:
                raise InputError(f"data: not what was evaluated; the images of '{name}' are of other examples")
            inside = threat.contains(x_adv, x)
            x_adv = torch.where(inside[:, None, None, None], x_adv, x)
            outside += int((~inside).sum())
            rounded = threat.eight_bit(x_adv, x)  # of an image between multiples of 1/255 it may lie outside
            rounded = torch.where(threat.contains(rounded, x)[:, None, None, None], rounded, x)
            for stands, images in ((again, x_adv), (eight_bit, rounded)):
                stands[position] &= Correctness.of(compute_logits(model, images), y).top1.cpu().numpy()
    if (recorded & ~seen).any():
        raise InputError(f"adversarial images of '{name}' are missing for {int((recorded & ~seen).sum())} examples; evaluate again")
    counts = {"recorded": int(recorded.sum()), "again": int(again.sum()), "eight_bit": int(eight_bit.sum())}
    return Verified(victim, name, len(recorded), **counts, differing=int((again != recorded).sum()), outside=outside)


def _right(model: nn.Module, data: Data, evaluation: Evaluation, batch_size: int, device: torch.device) -> np.ndarray:
    """Which examples the model gets right unperturbed, ``[examples]``."""
    labels: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for x, y in batches(data, batch_size, device):
        labels.append(y.cpu().numpy())
        right.append(Correctness.of(compute_logits(model, x), y).top1.cpu().numpy())
    if not labels or not np.array_equal(np.concatenate(labels), evaluation.ledger["y"]):
        raise InputError("data: not what was evaluated; its labels are of other examples")
    return np.concatenate(right)


def _examples(
    data: Data, piece: Piece, chosen: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[tuple[Any, Tensor, Tensor, Tensor]]:
    """Positions, images, labels and adversarial images of the chosen rows of a piece, batch by batch."""
    position, images = piece.position[chosen], piece.x_adv[chosen]
    start = 0
    for x, y in batches(select(data, position.tolist()), batch_size, device) if len(position) else ():
        rows = slice(start, start + len(x))
        start += len(x)
        yield position[rows], x, y, torch.from_numpy(images[rows]).to(device, x.dtype)
