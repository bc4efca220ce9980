"""Kept adversarial images tried again: on a checkpoint in float32, and as an image file would hold them."""

import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from logitpair.data import Data, batches, select
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.attack_run import WHITE_BOX, Correctness, or_unperturbed
from logitpair.evaluation.confidence import percent
from logitpair.evaluation.result import Evaluation
from logitpair.models.inference import compute_logits, device_of, frozen_eval
from logitpair.runtime.precision import full_precision
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import POSITION, Columns
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.result_files import write_record
from logitpair.storage.results import SCHEMA, UNION, AttackAccuracy, AttackInTurn, VerificationResults, VerifiedAttack
from logitpair.threat import Threat
from logitpair.validate import instance, whole

Kept = tuple[Threat, Iterable[Columns]]  # the images of one attack and the threat model that they lie in
COLUMNS = ("threat", "attack", "recorded %", "again %", "8 bits %", "differing", "outside")


@dataclass(frozen=True)
class Verification:
    """What ``logitpair.verify`` returns.

    Args:
        attacks: a line for each attack whose images are kept.
        weights: of the network that they were tried on (``results["weights"]``).
    """

    attacks: tuple[VerifiedAttack, ...]
    weights: str

    @property
    def holds(self) -> bool:
        """Whether every example is counted as in the evaluation, and no image lies outside."""
        return not any(attack.differing or attack.outside for attack in self.attacks)

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``."""
        return [
            (
                "white box" if attack.setting == WHITE_BOX else f"black box from {attack.setting}",
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
        write_record(path, VerificationResults(schema=SCHEMA, holds=self.holds, weights=self.weights, attacks=self.attacks))
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
    whole("batch_size", batch_size, 1)
    instance("evaluation", evaluation, Evaluation, "what lp.evaluate gives, or lp.Evaluation.load(folder)")
    record, store = evaluation.record, AdversarialImages(Path(adversarial))
    settings = {WHITE_BOX: record.attacks, **{source: suite.attacks for source, suite in record.black_box.items()}}
    each = [(setting, name, {name: attack}) for setting, attacks in settings.items() for name, attack in attacks.items()]
    each += [(WHITE_BOX, UNION, record.in_turn)] if record.in_turn else []
    kept = [entry for entry in each if all(attack.images for attack in entry[2].values())]
    if not kept:
        raise InputError(f"'{adversarial}': this evaluation kept no adversarial images; evaluate again with --keep-adversarial")
    weights = weights_of(model)
    evaluated = record.weights or weights  # evaluations were once written without
    if weights != evaluated:
        found = f"has other weights ({weights[:8]}) than what was evaluated ({evaluated[:8]})"
        raise InputError(f"model: {found}; accepted: the same checkpoint")
    verified: list[VerifiedAttack] = []
    bar = Progress("verify", len(kept) * record.examples, shown=progress)
    with frozen_eval(model), torch.no_grad(), full_precision(device_of(model)), bar:
        verifier = _Verifier(model, data, evaluation, batch_size)
        clean = verifier.clean()
        for setting, name, attacks in kept:
            images = [(_threat_of(one, attack), store.chunks(attack.images.folder)) for one, attack in attacks.items() if attack.images]
            verified.append(verifier.attack(setting, name, images, clean))
            bar.advance(record.examples)
    return Verification(tuple(verified), weights)


def _threat_of(name: str, attack: AttackAccuracy | AttackInTurn) -> Threat:
    """The threat model that an attack was recorded with."""
    settings = attack.parameters["init_args"]["threat"]
    try:
        kind = pkgutil.resolve_name(settings["class_path"])
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"attack '{name}': its threat model {settings['class_path']} cannot be imported") from error
    if not (isinstance(kind, type) and issubclass(kind, Threat)):
        raise InputError(f"attack '{name}': {settings['class_path']} is no threat model")
    return kind(**settings["init_args"])


@dataclass(frozen=True)
class _Verifier:
    model: nn.Module
    data: Data
    evaluation: Evaluation
    batch_size: int

    def clean(self) -> NDArray[np.bool_]:
        """Which examples the model gets right unperturbed, ``[examples]``."""
        found = [(y.cpu().numpy(), self.correct(x, y)) for x, y in batches(self.data, self.batch_size, device_of(self.model))]
        if not found or not np.array_equal(np.concatenate([y for y, _ in found]), self.evaluation.ledger["y"]):
            raise InputError("data: not what was evaluated; its labels are of other examples")
        return np.concatenate([correct for _, correct in found])

    def attack(self, setting: str, name: str, kept: Iterable[Kept], clean: NDArray[np.bool_]) -> VerifiedAttack:
        """The images of an attack, or of several together, tried again; an example without any counts as unperturbed (``clean``)."""
        ledger = self.evaluation.ledger
        recorded = ledger[f"{setting}/{name}/prediction"] == ledger["y"]
        again, eight_bit, complete, outside = clean.copy(), clean.copy(), np.ones(len(clean), dtype=bool), 0
        for threat, chunks in kept:
            seen = np.zeros(len(clean), dtype=bool)
            for chunk in chunks:
                if (chunk[POSITION] >= len(recorded)).any():
                    raise InputError(f"adversarial images of '{name}' are of more examples than the evaluation has")
                fresh = ~seen[chunk[POSITION]]  # after an interruption an example may have been kept twice
                position, images = chunk[POSITION][fresh], torch.from_numpy(chunk["x_adv"][fresh])
                seen[position] = True
                as_kept, rounded, beyond = self.tried(name, threat, position, images)
                again[position] &= as_kept
                eight_bit[position] &= rounded
                outside += beyond
            complete &= seen
        missing = int((recorded & ~complete).sum())
        if missing:
            raise InputError(f"adversarial images of '{name}' are missing for {missing} examples; evaluate again")
        return VerifiedAttack(
            setting=setting,
            attack=name,
            total=len(recorded),
            recorded=int(recorded.sum()),
            again=int(again.sum()),
            eight_bit=int(eight_bit.sum()),
            differing=int((again != recorded).sum()),
            outside=outside,
        )

    def tried(
        self, name: str, threat: Threat, position: NDArray[np.int64], images: Tensor
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
        """Which of these images are classified right as they are and rounded to 8 bits, and how many lie outside the threat model."""
        again, eight_bit, start, outside = np.zeros(len(position), bool), np.zeros(len(position), bool), 0, 0
        for x, y in batches(select(self.data, position.tolist()), self.batch_size, device_of(self.model)) if len(position) else ():
            rows = slice(start, start + len(x))
            start += len(x)
            x_adv = images[rows].to(x)
            if x_adv.shape != x.shape:
                raise InputError(f"data: not what was evaluated; the images of '{name}' are of other examples")
            outside += int((~threat.contains(x_adv, x)).sum())
            x_adv = or_unperturbed(x_adv, x, threat)
            rounded = or_unperturbed(threat.eight_bit(x_adv, x), x, threat)  # of an image between multiples of 1/255 it may lie outside
            again[rows], eight_bit[rows] = self.correct(x_adv, y), self.correct(rounded, y)
        return again, eight_bit, outside

    def correct(self, x: torch.Tensor, y: torch.Tensor) -> NDArray[np.bool_]:
        """Which of these images are classified right."""
        return Correctness.of(compute_logits(self.model, x), y).top1.cpu().numpy()
