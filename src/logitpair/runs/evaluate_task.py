"""A task evaluated into a folder of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from logitpair.evaluation.evaluate import evaluate
from logitpair.evaluation.result import Evaluation
from logitpair.runs.evaluation_task import EvaluationTask, load_sources
from logitpair.runs.overwrite_guard import refuse_overwriting_evaluation
from logitpair.runtime.distributed import World


def evaluate_task(
    task: EvaluationTask,
    folder: Path,
    *,
    world: World,
    sources: Mapping[str, Path] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    keep_adversarial: bool = False,
) -> Evaluation:
    """Evaluate, with the work in progress and, on request, all adversarial images kept in ``folder``; not saved yet.

    ``sources`` are runs to make black-box images against, by name.

    Raises:
        InputError: for a folder that holds a larger evaluation or another network's, or an option out of range.
    """
    refuse_overwriting_evaluation(folder, task, sources or (), keeps_images=keep_adversarial)
    networks, known = load_sources(sources or {}, task.model)
    evaluation = evaluate(
        task.model,
        task.test,
        attacks=task.attacks,
        sources=networks,
        curve=task.curve,
        curve_examples=task.curve_examples,
        seed=seed,
        batch_size=task.batch_size if batch_size is None else batch_size,
        workers=task.workers,
        name=folder.name,
        folder=folder,
        adversarial=folder / "adversarial" if keep_adversarial else None,
        world=world,
    )
    return evaluation.with_task(replace(task.record, sources=known))
