"""What training looks at besides the loss: whether network and data fit, and robust accuracy on held-out images."""

import shutil
from pathlib import Path
from typing import Any

from logitpair.config.run_config import RunConfig
from logitpair.evaluation.evaluate import evaluate
from logitpair.runtime.distributed import World
from logitpair.training.recovery import recover
from logitpair.training.train_state import TrainState


def validate(state: TrainState, held_out: Any, config: RunConfig, run: Path, world: World) -> dict[str, float]:
    """Accuracies of the weights that training goes on with, which are those of the best checkpoint where robust accuracy collapsed."""
    found = measure(state, held_out, config, run, world)
    collapsed = found["validation_white_box"]
    back = recover(state, collapsed, config, run, world)
    if back is not None:
        found = measure(state, held_out, config, run, world) | {"validation_collapsed": collapsed, "validation_back_to_step": back}
    state.best = max(state.best, found["validation_white_box"])
    return found


def measure(state: TrainState, held_out: Any, config: RunConfig, run: Path, world: World) -> dict[str, float]:
    """Clean and white-box accuracy on held-out images, which several processes share by way of a folder."""
    shared = run / "validation"
    evaluation = evaluate(
        state.evaluated,
        held_out,
        attacks={"validation": config.validation.attack},
        seed=config.seed,
        batch_size=min(config.evaluation.batch_size, -(-len(held_out) // world.size)),
        workers=config.workers,
        folder=shared if world.size > 1 else None,
        world=world,
        progress=False,
    )
    if world.is_main:
        shutil.rmtree(shared, ignore_errors=True)
    clean, white_box = (evaluation.results[part]["top1"] for part in ("clean", "white_box"))
    return {"validation_clean": clean, "validation_white_box": white_box}
