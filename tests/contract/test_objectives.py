"""What every objective keeps to. Classes are found by looking into ``logitpair.objectives``; a new one needs a line in EXAMPLES."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from collections.abc import Callable

import pytest
import torch
from devices import devices
from jsonargparse import ArgumentParser
from objective_examples import ATTACK, EXAMPLES, SOURCE, documented_total
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.objectives import (
    AdversarialLogitPairing,
    AdversarialTraining,
    CleanLogitPairing,
    EnsembleAdversarialTraining,
    FeaturePairing,
    GaussianNoise,
    IntervalBoundPropagation,
    LogitSqueezing,
    LossTerms,
    Mixup,
    Objective,
    OneStepAdversarialTraining,
)
from logitpair.storage.class_path import describe


def concrete() -> dict[str, type]:
    found = {name: value for name, value in vars(lp.objectives).items() if inspect.isclass(value) and issubclass(value, Objective)}
    return {name: value for name, value in found.items() if not inspect.isabstract(value)}


def bounds_alone(objective: Objective) -> bool:
    """Whether nothing is drawn at random, as the adversary is a bound."""
    return isinstance(objective, IntervalBoundPropagation) and getattr(objective, "attack", None) is None


CASES = [pytest.param(objective, id=f"{name}-{variant}") for name in concrete() for variant, objective in EXAMPLES.get(name, {}).items()]
RANDOM_CASES = [case for case in CASES if not case.id.startswith("StandardTraining") and not bounds_alone(case.values[0])]
every_objective = pytest.mark.parametrize("objective", CASES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(examples: int = 6, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    source = seeded(3)
    return torch.rand(examples, 1, 8, 8, generator=source, dtype=dtype), torch.randint(10, (examples,), generator=source)


def batch_norm() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_every_exported_objective_has_an_example() -> None:
    missing = [name for name in concrete() if not EXAMPLES.get(name)]
    assert not missing, f"add {missing} to EXAMPLES"
    for name, examples in EXAMPLES.items():
        assert all(type(example).__name__ == name for example in examples.values())


@every_objective
def test_is_a_frozen_dataclass(objective: Objective) -> None:
    assert dataclasses.is_dataclass(objective)
    assert objective.__dataclass_params__.frozen


@every_objective
@devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("examples", [1, 6])
def test_total_is_the_documented_combination_of_finite_terms(
    objective: Objective, device: str, dtype: torch.dtype, examples: int, conv: nn.Module
) -> None:
    x, y = (part.to(device) for part in batch(examples, dtype))
    result = objective(conv.to(device, dtype), x, y, generator=seeded())
    assert isinstance(result, LossTerms)
    assert (result.total.shape, result.total.dtype, result.total.device) == ((), dtype, x.device)
    assert result.terms
    for name, term in result.terms.items():
        assert isinstance(name, str)
        assert term.shape == ()
        assert torch.isfinite(term)
    torch.testing.assert_close(result.total, documented_total(objective, result.terms, examples))


def expected(objective: Objective, logits: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, y, label_smoothing=objective.label_smoothing)


@every_objective
def test_logits_are_named_and_aligned_with_the_labels(objective: Objective, conv: nn.Module) -> None:
    x, y = batch()
    result = objective(conv, x, y, generator=seeded())
    assert result.logits or isinstance(objective, Mixup), "only a mixed image has no label of its own"
    for logits in result.logits.values():
        assert logits.shape == (6, 10)
    if "clean" in result.logits:
        torch.testing.assert_close(result.logits["clean"], conv(x))
    if "clean_loss" in result.terms and "clean" in result.logits:
        torch.testing.assert_close(result.terms["clean_loss"], expected(objective, result.logits["clean"], y))
    if "adversarial_loss" in result.terms:
        torch.testing.assert_close(result.terms["adversarial_loss"], expected(objective, result.logits["adversarial"], y))


@every_objective
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("build", [batch_norm, lambda: lp.models.SmallConvNet(width=4)], ids=["batch_norm", "conv"])
def test_gradient_reaches_every_parameter(objective: Objective, autocast: bool, build: Callable[[], nn.Module]) -> None:
    model = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        result = objective(model, *batch(), generator=seeded())
    assert all(parameter.grad is None for parameter in model.parameters()), "gradients before backward"
    result.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_objective
def test_same_seed_same_loss(objective: Objective, conv: nn.Module) -> None:
    x, y = batch()
    assert torch.equal(objective(conv, x, y, generator=seeded(1)).total, objective(conv, x, y, generator=seeded(1)).total)


@pytest.mark.parametrize("objective", RANDOM_CASES)
def test_other_seed_other_loss(objective: Objective, conv: nn.Module) -> None:
    x, y = batch()
    assert not torch.equal(objective(conv, x, y, generator=seeded(1)).total, objective(conv, x, y, generator=seeded(2)).total)


@every_objective
def test_global_random_state_is_left_alone_when_a_generator_is_given(objective: Objective, conv: nn.Module) -> None:
    before = torch.get_rng_state()
    objective(conv, *batch(), generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@every_objective
@pytest.mark.parametrize("training", [True, False])
def test_model_keeps_its_mode_weights_and_frozen_parameters(objective: Objective, training: bool) -> None:
    model = batch_norm().train(training)
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[4].bias.grad = torch.ones(10)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    objective(model, *batch(), generator=seeded())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, *[True] * 5]
    assert torch.equal(model[4].bias.grad, torch.ones(10))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_objective
def test_batch_norm_statistics_move_once_and_only_in_train_mode(objective: Objective) -> None:
    model = batch_norm().train()
    objective(model, *batch(), generator=seeded())
    assert model[1].num_batches_tracked == 1, "one forward for all images, and none of the attack's"
    model.eval()
    objective(model, *batch(), generator=seeded())
    assert model[1].num_batches_tracked == 1


@every_objective
def test_at_changes_nothing_after_the_warm_up(objective: Objective) -> None:
    ended = {"regularization": 0.0} if isinstance(objective, IntervalBoundPropagation) else {}  # for the warm-up alone
    assert objective.at(100.0) == dataclasses.replace(objective, **ended)


@every_objective
def test_at_grows_the_attack_from_small_to_full(objective: Objective) -> None:
    if not getattr(objective, "warmup", 0):
        assert objective.at(0.0) == objective.at(100.0) or getattr(objective, "weight_warmup", 0)
        return
    grown = [objective.at(share * objective.warmup) for share in (0, 0.25, 0.5, 1)]
    radii = [(getattr(each, "attack", None) or each).threat.eps for each in grown]
    whole = (getattr(objective, "attack", None) or objective).threat.eps
    shares = (1 / 13, 5 / 13, 1) if isinstance(objective, IntervalBoundPropagation) else (1 / 4, 1 / 2, 1)  # bounds grow smoothly
    assert radii[1:] == pytest.approx([share * whole for share in shares])
    assert radii[0] <= radii[1], "the first step of training is attacked at full size"
    if not isinstance(objective, OneStepAdversarialTraining | IntervalBoundPropagation):  # their threat grows
        half = objective.at(0.5 * objective.warmup)
        assert half.attack.step_size == pytest.approx(objective.attack.step_size / 2)
        assert dataclasses.replace(half, attack=objective.attack) == objective


@pytest.mark.parametrize("objective", [case for case in CASES if getattr(case.values[0], "weight_warmup", 0)])
def test_at_grows_the_weight_from_nothing_to_full(objective: Objective) -> None:
    weights = [objective.at(share * objective.weight_warmup).weight for share in (0, 0.25, 0.5, 1, 2)]
    assert weights == pytest.approx([share * objective.weight for share in (0, 0.25, 0.5, 1, 1)])


# a network made in Python, such as the ensemble's, has no description; test_train.py reads sources from a recipe
@pytest.mark.parametrize("objective", [case for case in CASES if not isinstance(case.values[0], EnsembleAdversarialTraining)])
def test_its_description_builds_it_again(objective: Objective) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--objective", type=Objective)
    described = json.loads(json.dumps(describe(objective)))
    again = parser.instantiate_classes(parser.parse_object({"objective": described})).objective
    assert again == objective


@every_objective
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x, y: (x.index_fill(0, torch.tensor([1]), float("nan")), y), "x: .*NaN"),
        (lambda x, y: (2 * x, y), "x: "),
        (lambda x, y: ((255 * x).byte(), y), "x: .*uint8"),
        (lambda x, y: (x, y[:-1]), "y: "),
        (lambda x, y: (x, y.float()), "y: "),
    ],
    ids=["nan", "above_1", "uint8", "labels_missing", "label_dtype"],
)
def test_bad_images_and_labels_are_refused(objective: Objective, spoil: Callable, said: str, conv: nn.Module) -> None:
    with pytest.raises(InputError, match=said):
        objective(conv, *spoil(*batch()), generator=seeded())


@every_objective
@pytest.mark.parametrize("label", [10, -1, -100])
def test_labels_outside_the_classes_are_refused(objective: Objective, label: int, conv: nn.Module) -> None:
    x, y = batch()
    y[2] = label
    with pytest.raises(InputError, match=r"0\.\.9"):
        objective(conv, x, y, generator=seeded())


@every_objective
@pytest.mark.usefixtures("no_shape_checks")
def test_a_model_that_returns_no_logits_is_refused(objective: Objective) -> None:
    with pytest.raises(InputError, match="model: must return logits"):
        objective(nn.Identity(), *batch(), generator=seeded())


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: AdversarialTraining(ATTACK, clean_weight=1), "clean_weight"),
        (lambda: AdversarialTraining(ATTACK, clean_weight=-0.1), "clean_weight"),
        (lambda: AdversarialTraining(ATTACK, warmup=-1), "warmup"),
        (lambda: AdversarialLogitPairing(ATTACK, weight=-1), "weight"),
        (lambda: AdversarialLogitPairing(ATTACK, weight=float("nan")), "weight"),
        (lambda: AdversarialLogitPairing(ATTACK, clean_weight=1), "clean_weight"),
        (lambda: AdversarialLogitPairing(ATTACK, warmup=-1), "warmup"),
        (lambda: AdversarialLogitPairing(ATTACK, weight_warmup=-1), "weight_warmup"),
        (lambda: CleanLogitPairing(weight=-1), "weight"),
        (lambda: CleanLogitPairing(noise=-0.1), "noise"),
        (lambda: CleanLogitPairing(weight_warmup=-1), "weight_warmup"),
        (lambda: LogitSqueezing(weight=float("nan")), "weight"),
        (lambda: LogitSqueezing(noise=float("inf")), "noise"),
        (lambda: GaussianNoise(noise=-1), "noise"),
        (lambda: OneStepAdversarialTraining(lp.Linf(0.0)), "eps"),
        (lambda: OneStepAdversarialTraining(lp.Linf(0.1), weight=0), "weight"),
        (lambda: OneStepAdversarialTraining(lp.Linf(0.1), adversarial_share=0), "adversarial_share"),
        (lambda: OneStepAdversarialTraining(lp.Linf(0.1), adversarial_share=1.1), "adversarial_share"),
        (lambda: EnsembleAdversarialTraining(ATTACK, sources=()), "sources"),
        (lambda: EnsembleAdversarialTraining(ATTACK, sources=(SOURCE,), clean_weight=1), "clean_weight"),
        (lambda: FeaturePairing(ATTACK, layers=()), "layers"),
        (lambda: FeaturePairing(ATTACK, layers=("",), logit_weight=-1), "logit_weight"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], Objective], named: str) -> None:
    with pytest.raises(InputError, match=named):
        build()
