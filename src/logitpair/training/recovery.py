"""Catastrophic overfitting (arXiv 2001.03994): training that goes back to before it, and goes on with another attack."""

import logging
from dataclasses import replace
from pathlib import Path

from logitpair.config.run_config import RunConfig
from logitpair.objectives import Objective
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.storage import checkpoint
from logitpair.training.train_state import TrainState

logger = logging.getLogger("logitpair")
COLLAPSE = 0.5  # of the best robust accuracy so far; one that oscillates stays above, catastrophic overfitting ends near 0


def recover(state: TrainState, white_box: float, config: RunConfig, run: Path, world: World) -> int | None:
    """Go back to the best checkpoint where robust accuracy fell far below it, and return its step; None where ``state`` stays.

    Steps, and so learning rate and data, go on. Each time takes another attack of ``config.validation.recovery``; without one that is left
    a fall is warned of, once. Only training that attacks is looked at: elsewhere robust accuracy falls as a rule.
    """
    attacks = getattr(config.objective, "attack", None) is not None
    threshold, before = COLLAPSE * state.best, state.collapsed
    state.collapsed = attacks and white_box < threshold and threshold > 1 / len(config.data.classes)  # which a constant network has
    if not state.collapsed or before:
        return None
    left = config.validation.recovery[len(state.recoveries) :]
    reason = (
        f"step {state.step}: {white_box:.1%} of the held-out images are right under the validation's attack, after {state.best:.1%} "
        "before: training may have overfitted to its own attack (catastrophic overfitting, arXiv 2001.03994)"
    )
    if left:
        state.go_back(checkpoint.path_of(run, "best"), world.device, left[0])
        distributed.barrier(world)  # the files that processes validate by are those of one validation at a time
    if world.is_main and left:
        taken = f"attack {len(state.recoveries)} of validation.recovery, {type(left[0]).__name__}"
        logger.warning(f"{reason}; it goes back to the best checkpoint, of step {state.recoveries[-1].back_to_step}, and on with {taken}")
    elif world.is_main:
        logger.warning(
            f"{reason}, against which more of its steps or more noise may help; `--checkpoint best` takes the weights from before"
        )
    return state.recoveries[-1].back_to_step if left else None


def objective_of(state: TrainState, config: RunConfig) -> Objective:
    """The defense, with the attack that training goes on with since it last went back."""
    last = len(state.recoveries) - 1
    return config.objective if last < 0 else replace(config.objective, attack=config.validation.recovery[last])  # type: ignore[call-arg]
