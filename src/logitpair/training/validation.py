"""What training looks at besides the loss: whether network and data fit, and robust accuracy on held-out images."""

import logging
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError
from logitpair.evaluation.evaluate import evaluate
from logitpair.models.inference import Images, check_accepts
from logitpair.runtime.distributed import World
from logitpair.training.train_state import TrainState

logger = logging.getLogger("logitpair")
COLLAPSE = 0.5  # of the best robust accuracy so far; one that oscillates stays above, catastrophic overfitting ends near 0


def check_classes(model: nn.Module, x: Images, config: RunConfig) -> None:
    """Refuse a network that does not take the data's images, or whose logits are not as many as their classes."""
    found, classes = check_accepts("--model", model, x).shape[1], config.data.classes
    if found != len(classes):
        names = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise InputError(f"model: gives {found} logits for {len(classes)} classes of {config.data.name} ({names}); see --model.classes")


def validate(state: TrainState, held_out: Any, config: RunConfig, run: Path, world: World) -> dict[str, float]:
    """Clean and white-box accuracy on held-out images, which several processes share by way of a folder.

    ``state.best`` follows; that it is far above is warned of where training attacks. Elsewhere robust accuracy falls as a rule.
    """
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
    attacks = getattr(config.objective, "attack", None) is not None
    if world.is_main and attacks and white_box < COLLAPSE * state.best:
        logger.warning(
            f"step {state.step}: {white_box:.1%} of the held-out images are right under the validation's attack, after {state.best:.1%} "
            "before: training may have overfitted to its own attack (catastrophic overfitting, arXiv 2001.03994), against which more of "
            "its steps or more noise may help; `--checkpoint best` takes the weights from before"
        )
    state.best = max(state.best, white_box)
    return {"validation_clean": clean, "validation_white_box": white_box}
