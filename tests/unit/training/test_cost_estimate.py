"""What a run will cost, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import logitpair as lp
from logitpair.cli.main import main
from logitpair.config.run_config import EvaluationSettings, FineTuning, RunConfig, Validation
from logitpair.errors import InputError
from logitpair.training.cost_estimate import GIB, GPU, LAUNCH, StepCost, run_cost, step_cost

THREAT = lp.Linf(0.1)
SMALL = GPU("small", half=100e9, single=10e9, memory=GIB)
STEP = StepCost(flops=1e6, launches=10, activations=1024.0, others=0.0, weights=1024**2, parameters=10)


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def config(objective: lp.objectives.Objective, **changes: object) -> RunConfig:
    none = lp.attacks.Unperturbed()
    settings = RunConfig(
        data=lp.data.Digits(),
        model=two_layers,
        objective=objective,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        validation=Validation(attack=none),
        evaluation=EvaluationSettings(attacks={"none": none}),
        epochs=2,
        batch_size=100,
        precision="float32",
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def images(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(number, 1, 8, 8), torch.arange(number)


def test_operations_and_bytes_of_plain_training_are_those_counted_by_hand() -> None:
    counted = step_cost(config(lp.objectives.StandardTraining(), ema=0.9), *images(4))
    first, second = 64 * 32, 32 * 10
    assert counted.flops == 2 * (2 * first + 3 * second)  # forward and weights; of the second layer its input's gradient too
    assert counted.parameters == first + 32 + second + 10
    assert counted.weights == pytest.approx(4 * 5 * counted.parameters, rel=0.01)  # weights, gradients, two moments, the average
    assert counted.activations >= 4 * (64 + 32)  # the image, and what the ReLU let through
    assert counted.activations <= 4 * (64 + 32 + 32 + 4 * 10)


@pytest.mark.parametrize("steps", [1, 7])
def test_every_step_of_the_attack_costs_a_forward_and_a_backward_pass(steps: int) -> None:
    attack = lp.attacks.PGD(THREAT, step_size=0.02, steps=steps)
    counted = step_cost(config(lp.objectives.AdversarialTraining(attack)), *images(4))
    forward = 2 * (64 * 32 + 32 * 10)
    training = 2 * 2 * (2 * 64 * 32 + 3 * 32 * 10)  # clean and adversarial
    assert counted.flops - training - steps * 2 * forward in (0, forward, 2 * forward)  # a look before or after it


def test_the_run_is_the_step_many_times() -> None:
    cost = run_cost(config(lp.objectives.StandardTraining()), STEP, 1050, SMALL, 2, share=0.5)
    assert (cost.steps, cost.flops) == (22, 2100 * 1e6)
    assert cost.images_per_second == 2 * 0.5 * 10e9 / 1e6
    assert cost.seconds == pytest.approx(2100 / 10_000)
    assert cost.memory == 1024**2 + 50 * 1024
    assert cost.largest_batch == 2 * int((0.9 * GIB - 1024**2) / 1024)
    assert not cost.launched


def test_micro_batches_take_less_memory() -> None:
    whole = run_cost(config(lp.objectives.StandardTraining()), STEP, 1000, SMALL, 1)
    parts = run_cost(config(lp.objectives.StandardTraining(), accumulate=4), STEP, 1000, SMALL, 1)
    assert whole.memory == 1024**2 + 100 * 1024
    assert parts.memory == 1024**2 + 25 * 1024
    assert parts.largest_batch == 4 * whole.largest_batch
    assert parts.flops == whole.flops


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(2).mT  # 64 places of one number
            return nn.functional.scaled_dot_product_attention(x, x, x)[:, :10, 0] + 0 * self.scale

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(10))

    counted = step_cost(
        config(lp.objectives.AdversarialTraining(lp.attacks.PGD(THREAT, step_size=0.1, steps=1)), model=Attention), *images(2)
    )
    assert counted.flops >= 2 * 2 * 64 * 64 * 1 * 2


def test_half_precision_is_computed_where_the_run_does() -> None:
    plain = config(lp.objectives.StandardTraining())
    automatic = replace(plain, precision="auto")
    half = run_cost(automatic, STEP, 1000, SMALL, 1, share=0.5)
    assert half.half
    assert half.images_per_second == 0.5 * 100e9 / 1e6
    assert half.memory == 1024**2 + 100 * 512
    assert not run_cost(automatic, STEP, 1000, replace(SMALL, bfloat16=False), 1).half
    assert run_cost(replace(plain, precision="float16"), STEP, 1000, replace(SMALL, bfloat16=False), 1).half


def test_a_measured_rate_takes_the_place_of_a_share() -> None:
    cost = run_cost(config(lp.objectives.StandardTraining()), STEP, 1000, SMALL, 4, rate=500.0)
    assert cost.images_per_second == pytest.approx(2000)
    assert cost.share == pytest.approx(500 * 1e6 / 10e9)


def test_small_networks_wait_for_the_host() -> None:
    many = replace(STEP, launches=10_000)
    cost = run_cost(config(lp.objectives.StandardTraining()), many, 1000, SMALL, 1)
    assert cost.launched
    assert cost.images_per_second == pytest.approx(100 / (10_000 * LAUNCH))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "--images"),
        ({"gpus": 0}, "--gpus"),
        ({"gpus": 101}, "--gpus: 101 is more than the batch of 100"),
        ({"share": 0.0}, "--share"),
        ({"share": 1.5}, "--share"),
        ({"rate": -1.0}, "--rate"),
    ],
)
def test_what_is_no_plan_is_refused(options: dict[str, float], said: str) -> None:
    given = {"images": 1000, "gpus": 1} | options
    with pytest.raises(InputError, match=said):
        run_cost(config(lp.objectives.StandardTraining()), STEP, given.pop("images"), SMALL, given.pop("gpus"), **given)  # type: ignore[arg-type]


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "digits-alp", "--gpu", "A100", "--gpus", "2"]) == 0
    printed = capsys.readouterr().out
    assert "2 x NVIDIA A100" in printed
    assert "GFLOP" in printed
    assert main(["plan", "mnist-alp", "--images", "55000", "--shape", "1x28x28", "--gpu", "p100"]) == 0
    assert "55,000 images" in capsys.readouterr().out


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpu", "h300"], "did you mean h"),
        (["--shape", "1x28x28"], "--images must be given"),
        (["--images", "10", "--shape", "1x\u00b2x28"], "--shape"),
        (["--share", "0.1", "--rate", "10"], "give one of them"),
        (["--images", "0", "--shape", "1x28x28"], "--images"),
        (["--images", "10", "--shape", "28x28"], "--shape: '28x28'"),
        (["--data-dir", "nowhere"], "--images and --shape"),
        (["--images", "10", "--shape", "3x32x32"], "model: a step on images"),
    ],
)
def test_the_command_refuses_in_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "folder-alp" if "nowhere" in options else "mnist-alp", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_weights_to_begin_with_need_not_be_there(tmp_path: Path) -> None:
    last = FineTuning(weights=tmp_path / "nowhere", trainable=("3",))
    counted = step_cost(config(lp.objectives.StandardTraining(), fine_tuning=last), *images(4))
    assert counted.parameters == 32 * 10 + 10
