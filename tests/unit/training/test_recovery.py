"""When training goes back, to what, and what it goes on with."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import logitpair as lp
from logitpair.attacks import NFGSM, PGD
from logitpair.config import recipes
from logitpair.config.parsing import resolve
from logitpair.config.run_config import ElasticConfig, RunConfig
from logitpair.errors import InputError
from logitpair.runtime.distributed import ALONE
from logitpair.storage import checkpoint
from logitpair.storage.class_path import describe
from logitpair.storage.results import Recovery
from logitpair.training.recovery import objective_of, recover
from logitpair.training.train_state import TrainState, initial_state

LADDER = (NFGSM(lp.Linf(0.6)), PGD(lp.Linf(0.2), step_size=0.1, steps=3))


def config_of(recipe: str = "digits-alp", recovery: tuple[Any, ...] = LADDER, **changes: Any) -> RunConfig:
    config = resolve(recipes.load(recipe).at_scale("smoke"), ["--model.width=2", "--ema=0.5"]).config
    return replace(config, validation=replace(config.validation, recovery=recovery), **changes)


def begun(config: RunConfig, run: Path) -> TrainState:
    """A state at step 10 of a run whose best checkpoint is that of step 4, at a robust accuracy of 0.6."""
    state = initial_state(config, torch.device("cpu"), resuming=False)
    state.step, state.best, state.seconds = 4, 0.6, 1.0
    checkpoint.save(run / "checkpoints", state.state_dict(), state.step, keep=1, best=True)
    state.step, state.seconds = 10, 3.0
    with torch.no_grad():
        for parameter in [*state.model.parameters(), *state.evaluated.parameters()]:
            parameter += 1
    state.optimizer.param_groups[0]["lr"] = 0.123
    return state


def test_each_fall_goes_back_to_the_best_and_on_with_the_next_attack(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of()
    state = begun(config, tmp_path)
    best = checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    assert objective_of(state, config) is config.objective
    for number, attack in enumerate(LADDER, 1):
        assert recover(state, 0.31, config, tmp_path, ALONE) is None
        assert recover(state, 0.29, config, tmp_path, ALONE) == 4
        assert all(torch.equal(value, best["model"][name]) for name, value in state.model.state_dict().items())
        assert state.ema is not None
        assert all(torch.equal(value, best["ema"][name]) for name, value in state.ema.state_dict().items())
        assert (state.step, state.seconds, state.best, state.collapsed) == (10, 3.0, 0.6, False)
        assert state.optimizer.param_groups[0]["lr"] == 0.123
        assert state.recoveries == [Recovery(step=10, back_to_step=4, attack=describe(taken)) for taken in LADDER[:number]]
        assert objective_of(state, config) == replace(config.objective, attack=attack)  # type: ignore[call-arg]
        told = f"goes back to the best checkpoint, of step 4, and on with attack {number} of validation.recovery, {type(attack).__name__}"
        assert told in caplog.text


def test_a_fall_without_an_attack_that_is_left_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(recovery=())
    state = begun(config, tmp_path)
    said: list[bool] = []
    with caplog.at_level(logging.WARNING, "logitpair"):
        for accuracy in (0.31, 0.29, 0.2, 0.5, 0.1):
            caplog.clear()
            assert recover(state, accuracy, config, tmp_path, ALONE) is None
            said.append(f"{accuracy:.1%} of the held-out images" in caplog.text and "after 60.0% before" in caplog.text)
            resumed = initial_state(config, torch.device("cpu"), resuming=True)
            resumed.load_state_dict(state.state_dict())  # whoever resumes here says no more
            state = resumed
    assert said == [False, True, False, False, True]
    assert state.recoveries == []


@pytest.mark.parametrize(("recipe", "best"), [("digits-plain", 0.6), ("digits-alp", 0.2)])
def test_what_does_not_attack_or_never_was_robust_has_not_fallen(
    recipe: str, best: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(recipe, recovery=())
    state = begun(config, tmp_path)
    state.best = best  # half of 0.2 is what one class alone gets right
    assert recover(state, 0.0, config, tmp_path, ALONE) is None
    assert not caplog.text


def test_a_checkpoint_holds_the_recoveries_and_one_of_before_none(tmp_path: Path) -> None:
    config = config_of()
    state = begun(config, tmp_path)
    recover(state, 0.1, config, tmp_path, ALONE)
    resumed = initial_state(config, torch.device("cpu"), resuming=True)
    resumed.load(checkpoint.save(tmp_path / "checkpoints", state.state_dict(), state.step, keep=2), torch.device("cpu"))
    assert resumed.recoveries == [Recovery(step=10, back_to_step=4, attack=describe(LADDER[0]))]
    assert objective_of(resumed, config) == objective_of(state, config)
    old = state.state_dict()
    del old["recoveries"], old["collapsed"]
    resumed.load_state_dict(old)
    assert (resumed.recoveries, resumed.collapsed) == ([], False)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("digits-plain", "validation.recovery is given but StandardTraining has no attack to take another for"),
        ("digits-onestep", "validation.recovery is given but OneStepAdversarialTraining has no attack to take another for"),
        ("digits-trades", "validation.recovery: attack must have no target, no loss and 1 restart"),
    ],
)
def test_attacks_that_the_defense_cannot_take_are_refused(recipe: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(recipe, (PGD(lp.Linf(0.2), step_size=0.1, steps=3, restarts=2),))


def test_elastic_workers_are_refused() -> None:
    with pytest.raises(InputError, match=r"validation\.recovery is given beside elastic\.workers"):
        config_of(elastic=ElasticConfig(workers=2))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("recipe", "given", "message"),
    [
        ("digits-alp", 3, "validation.recovery must be a list of attacks such as logitpair.attacks.PGD, not 3"),
        ("digits-trades", NFGSM(lp.Linf(0.2)), "validation.recovery: attack must be a logitpair.attacks.PGD, not a NFGSM"),
    ],
)
def test_what_is_no_attack_or_not_the_defense_s_kind_is_refused(recipe: str, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        config_of(recipe, (given,))
