"""Black box between several networks: which are fooled by images that were made against which."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from logitpair.attacks import Attack
from logitpair.data import Data
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.attack_run import check_name
from logitpair.evaluation.confidence import percent
from logitpair.evaluation.evaluate import check_mapping, evaluate
from logitpair.evaluation.result import Evaluation, markdown
from logitpair.runtime.distributed import ALONE, World
from logitpair.storage.ledger import PartialLedger

UNFINISHED = "unfinished"


@dataclass(frozen=True, repr=False)
class Transfer:
    """What ``logitpair.transfer`` returns.

    Args:
        evaluations: one of each network as the target, by its name; all the others were its sources.
    """

    evaluations: dict[str, Evaluation]

    def accuracy(self, source: str, target: str, attack: str | None = None) -> dict[str, Any]:
        """Of ``target`` on what the ``attack`` (the worst if None) made against ``source``, as in ``results.json``.

        Where the two are one it is that of the white box.
        """
        results = self.evaluations[target].results
        if source == target:
            return results["white_box"] if attack is None else results["attacks"][attack]
        return results["black_box"][source] if attack is None else results["black_box"][source]["attacks"][attack]

    def rows(self, attack: str | None = None) -> list[tuple[str, ...]]:
        """The matrix in percent as text: a line for each source, a column for each target."""
        names = list(self.evaluations)
        return [(source, *(percent(self.accuracy(source, target, attack)["top1"]) for target in names)) for source in names]

    def table(self, attack: str | None = None) -> str:
        """The matrix as a Markdown table: made against (rows), tried on (columns), white box on the diagonal, in percent."""
        return markdown(("made against", *self.evaluations), self.rows(attack))

    def save(self, folder: Path | str) -> None:
        """Write each target's evaluation into a folder of its name."""
        for target, evaluation in self.evaluations.items():
            evaluation.save(Path(folder) / target)

    def clear(self, folder: Path | str) -> None:
        """Delete what an interrupted transfer would have resumed from in the folder given to ``transfer``; the images stay."""
        for target, evaluation in self.evaluations.items():
            unfinished = Path(folder) / UNFINISHED / target
            PartialLedger(unfinished, evaluation.record.cache_key or "").clear()
            for empty in (unfinished, unfinished.parent):
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()


def transfer(
    models: Mapping[str, nn.Module],
    data: Data,
    *,
    attacks: Mapping[str, Attack],
    folder: Path | str,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    name: str = "transfer",
    world: World = ALONE,
    progress: bool = True,
) -> Transfer:
    """Evaluate every network on images made against every other.

    Args:
        models: two or more, by name: independently trained, on one data set.
        attacks: by name; against a source they search to their last step.
        folder: for the images, which are made once for all targets, and for the work in progress, from which the same call resumes.
        data, seed, batch_size, workers, name, world, progress: as for ``evaluate``.

    Raises:
        InputError: for fewer than two networks, and as ``evaluate`` does.

    Source: arXiv 1803.06373, section 5.1: the black-box accuracy there is that on images made against an independently initialised copy.
    """
    check_mapping("models", models, "networks by name")
    if len(models) < 2:
        raise InputError(f"models: {len(models)} given; a transfer is between two or more")
    for model in models:
        check_name("models", model)
    evaluations: dict[str, Evaluation] = {}
    for target, model in models.items():
        evaluation = evaluate(
            model,
            data,
            attacks=attacks,
            sources={source: network for source, network in models.items() if source != target},
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            name=name,
            folder=Path(folder) / UNFINISHED / target,
            adversarial=AdversarialImages(Path(folder) / "adversarial", sources_only=True),
            world=world,
            progress=progress,
        )
        evaluations[target] = replace(evaluation, record=msgspec.structs.replace(evaluation.record, transfer=True))
    return Transfer(evaluations)
