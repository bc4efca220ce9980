"""What every attack keeps to. Classes are found by looking into ``logitpair.attacks``; a new one needs a line in EXAMPLES."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
from collections.abc import Callable

import foreign_attacks
import pytest
import torch
from devices import devices
from jsonargparse import ArgumentParser
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import Attack
from logitpair.rng import ExampleStreams
from logitpair.storage.class_path import describe

EPS = 0.1
BALL, ROUND, ROUND_BOX = lp.Linf(EPS), lp.L2(0.5), lp.L2(8.0)
APGD, PGD, Square, Diversified = lp.attacks.APGD, lp.attacks.PGD, lp.attacks.Square, lp.attacks.DiversifiedPGD
Iterated, Activation, SmoothedPGD = lp.attacks.IteratedLocalSearch, lp.attacks.ActivationSearch, lp.attacks.SmoothedPGD

EXAMPLES: dict[str, dict[str, Attack]] = {
    "ActivationSearch": {
        "default": Activation(BALL, turns=1, kicks=2, chains=2, programmes=2, free=6),
        "exhaustive": Activation(BALL, turns=1, kicks=1, chains=1, programmes=1, free=6).without_early_stop(),
        "eps_0": Activation(lp.Linf(0.0), turns=1, kicks=1, chains=1, programmes=1),
    },
    "DiversifiedPGD": {
        "default": Diversified(BALL, steps=4),
        "smoothed": Diversified(BALL, steps=4, smoothing=0.4),
        "restarts": Diversified(BALL, steps=3, diversify=1, restarts=3),
        "no_choice": Diversified(BALL, steps=3, diversify=0, candidates=1, loss=lp.losses.cross_entropy),
        "target": Diversified(BALL, steps=3, target_rank=2),
        "exhaustive": Diversified(BALL, steps=4, smoothing=0.4).without_early_stop(),
        "whole_box": Diversified(lp.Linf(1.0), steps=3),
        "eps_0": Diversified(lp.Linf(0.0), steps=2),
        "l2": Diversified(ROUND, steps=4, smoothing=0.4),
    },
    "IteratedLocalSearch": {
        "default": Iterated(BALL, chains=3, kicks=6, steps=2, first_steps=2),
        "one_chain": Iterated(BALL, chains=1, kicks=2, steps=2, first_steps=2),
        "no_kick": Iterated(BALL, chains=2, kicks=0, first_steps=2),
        "exhaustive": Iterated(BALL, chains=3, kicks=6, steps=2, first_steps=2).without_early_stop(),
        "whole_box": Iterated(lp.Linf(1.0), chains=2, kicks=2, steps=2, first_steps=2),
        "eps_0": Iterated(lp.Linf(0.0), chains=2, kicks=1, steps=2, first_steps=2),
        "l2": Iterated(ROUND, chains=3, kicks=6, steps=2, first_steps=2),
    },
    "External": {
        "default": lp.attacks.External(BALL, attack=foreign_attacks.signed_step),
        "outside": lp.attacks.External(BALL, attack=foreign_attacks.far_away),
        "eps_0": lp.attacks.External(lp.Linf(0.0), attack=foreign_attacks.signed_step),
    },
    "NFGSM": {
        "default": lp.attacks.NFGSM(BALL),
        "no_noise": lp.attacks.NFGSM(BALL, noise=0.0),
        "whole_box": lp.attacks.NFGSM(lp.Linf(1.0)),
        "eps_0": lp.attacks.NFGSM(lp.Linf(0.0)),
    },
    "PGD": {
        "default": PGD(BALL, step_size=0.04, steps=4),
        "restarts": PGD(BALL, step_size=0.04, steps=2, restarts=3),
        "bim": PGD(BALL, step_size=0.04, steps=4, random_start=False),
        "margin": PGD(BALL, step_size=0.04, steps=3, loss=lp.losses.misclassification_margin),
        "least_likely": PGD(BALL, step_size=0.04, steps=3, target=lp.attacks.LeastLikely()),
        "random_target": PGD(BALL, step_size=0.04, steps=3, target=lp.attacks.RandomTarget()),
        "exhaustive": PGD(BALL, step_size=0.04, steps=3).without_early_stop(),
        "exhaustive_restarts": PGD(BALL, step_size=0.04, steps=2, restarts=2).without_early_stop(),
        "whole_box": PGD(lp.Linf(1.0), step_size=0.3, steps=3),
        "eps_0": PGD(lp.Linf(0.0), step_size=0.1, steps=2),
        "l2": PGD(ROUND, step_size=0.2, steps=4),
        "l2_whole_box": PGD(ROUND_BOX, step_size=2.0, steps=3).without_early_stop(),
        "l2_r_step": lp.attacks.r_step(ROUND),
        "fgsm": lp.attacks.fgsm(BALL),
        "r_step": lp.attacks.r_step(BALL),
        **lp.attacks.paper_suite(eps=EPS, step_size=0.04, steps=3),
    },
    "APGD": {
        "default": APGD(BALL, steps=5),
        "restarts": APGD(BALL, steps=3, restarts=2),
        "cross_entropy": APGD(BALL, steps=4, loss=lp.losses.cross_entropy),
        "dlr": APGD(BALL, steps=5, loss=lp.losses.dlr),
        "target": APGD(BALL, steps=5, loss=lp.losses.targeted_dlr, target_rank=2),
        "last_target": APGD(BALL, steps=3, loss=lp.losses.targeted_margin, target_rank=9),
        "exhaustive": APGD(BALL, steps=12).without_early_stop(),
        "exhaustive_restarts": APGD(BALL, steps=2, restarts=2).without_early_stop(),
        "whole_box": APGD(lp.Linf(1.0), steps=3),
        "eps_0": APGD(lp.Linf(0.0), steps=2),
        "l2": APGD(ROUND, steps=5),
        "l2_whole_box": APGD(ROUND_BOX, steps=5, loss=lp.losses.cross_entropy).without_early_stop(),
    },
    "SmoothedPGD": {
        "default": SmoothedPGD(BALL, step_size=0.04, steps=3),
        "restarts": SmoothedPGD(BALL, step_size=0.04, steps=2, restarts=2),
        "target": SmoothedPGD(BALL, step_size=0.04, steps=2, target=lp.attacks.LeastLikely()),
        "exhaustive": SmoothedPGD(BALL, step_size=0.4, steps=1).without_early_stop(),
        "eps_0": SmoothedPGD(lp.Linf(0.0), step_size=0.1, steps=1, random_start=False),
        "l2": SmoothedPGD(ROUND, step_size=0.2, steps=3),
    },
    "Square": {
        "default": Square(BALL, queries=30),
        "cross_entropy": Square(BALL, queries=10, loss=lp.losses.cross_entropy),
        "exhaustive": Square(BALL, queries=30).without_early_stop(),
        "one_query": Square(BALL, queries=1),
        "whole_box": Square(lp.Linf(1.0), queries=5, p=1.0),
        "eps_0": Square(lp.Linf(0.0), queries=3),
        "l2": Square(ROUND, queries=30),
        "l2_whole_box": Square(ROUND_BOX, queries=5, p=1.0),
    },
    "Unperturbed": {"default": lp.attacks.Unperturbed()} if hasattr(lp.attacks, "Unperturbed") else {},
}
NOT_RANDOM = {
    *("PGD-bim", "PGD-eps_0", "PGD-fgsm", "PGD-step_ll", "PGD-iter_ll"),
    *("ActivationSearch-eps_0", "APGD-eps_0", "DiversifiedPGD-eps_0", "IteratedLocalSearch-eps_0", "Square-eps_0", "Unperturbed-default"),
    *("NFGSM-no_noise", "NFGSM-eps_0", "SmoothedPGD-eps_0", "External-default", "External-outside", "External-eps_0"),
}


def concrete(module: object, base: type) -> dict[str, type]:
    """The classes in ``module`` that implement ``base``."""
    found = {name: value for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)}
    return {name: value for name, value in found.items() if not inspect.isabstract(value)}


CASES = [
    pytest.param(attack, id=f"{name}-{variant}")
    for name in concrete(lp.attacks, Attack)
    for variant, attack in EXAMPLES.get(name, {}).items()
]
RANDOM_CASES = [case for case in CASES if case.id not in NOT_RANDOM]
every_attack = pytest.mark.parametrize("attack", CASES)
every_attack_that_runs_the_model = pytest.mark.parametrize("attack", [case for case in CASES if case.id != "Unperturbed-default"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(examples: int = 6, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images that touch both walls of the box, and labels among 10 classes."""
    source = seeded(3)
    x = (1.4 * torch.rand(examples, 1, 8, 8, generator=source, dtype=dtype) - 0.2).clamp_(0, 1)
    return x, torch.randint(10, (examples,), generator=source)


def state(model: nn.Module) -> dict[str, object]:
    """All that an attack must leave alone."""
    return {
        "modes": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()],
        "weights": [parameter.tolist() for parameter in model.parameters()],
        "buffers": {name: buffer.tolist() for name, buffer in model.named_buffers()},
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    }


class CountingInPlace(nn.Module):
    """Its forward changes a buffer, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.linear(x.flatten(1))


class CountingByAssignment(CountingInPlace):
    """Its forward puts a new tensor in the buffer's place."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return self.linear(x.flatten(1))


class CountingBehindAutograd(CountingInPlace):
    """Its forward changes the buffer's data, which autograd's version counter does not notice."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen.data.add_(1)
        return self.linear(x.flatten(1))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {"batch_norm": batch_norm, "in_place": CountingInPlace}


class Failing(nn.Module):
    """Raises in its forward number ``at``, in the middle of the network."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.body, self.head = batch_norm()[:3], nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 10))
        self.at, self.calls = at, 0
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        x = self.body(x)
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("out of memory")
        return self.head(x)


def test_every_exported_attack_has_an_example() -> None:
    missing = [name for name in concrete(lp.attacks, Attack) if not EXAMPLES.get(name)]
    assert not missing, f"add {missing} to EXAMPLES"
    for name, examples in EXAMPLES.items():
        assert all(type(example).__name__ == name for example in examples.values())


@every_attack
def test_is_a_frozen_dataclass(attack: Attack) -> None:
    assert dataclasses.is_dataclass(attack)
    assert attack.__dataclass_params__.frozen
    assert isinstance(attack.threat, lp.Threat)


@every_attack
@devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("examples", [0, 1, 6])
def test_stays_in_the_ball_and_the_box(attack: Attack, device: str, dtype: torch.dtype, examples: int, conv: nn.Module) -> None:
    x, y = (part.to(device) for part in batch(examples, dtype))
    x_before, y_before = x.clone(), y.clone()
    x_adv = attack(conv.to(device, dtype), x, y, generator=seeded())
    assert (x_adv.shape, x_adv.dtype, x_adv.device, x_adv.requires_grad) == (x.shape, dtype, x.device, False)
    assert attack.threat.contains(x_adv, x).all()
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)
    if examples:
        assert x_adv.data_ptr() != x.data_ptr(), "the result shares memory with the images"


@every_attack
@devices
def test_same_seed_same_result(attack: Attack, device: str, conv: nn.Module) -> None:
    x, y = (part.to(device) for part in batch())
    conv.to(device)
    assert torch.equal(attack(conv, x, y, generator=seeded(1)), attack(conv, x, y, generator=seeded(1)))


@pytest.mark.parametrize("attack", RANDOM_CASES)
def test_other_seed_other_result(attack: Attack, conv: nn.Module) -> None:
    x, y = batch(20)
    assert not torch.equal(attack(conv, x, y, generator=seeded(1)), attack(conv, x, y, generator=seeded(2)))


@every_attack
def test_global_random_state_is_left_alone_when_a_generator_is_given(attack: Attack, conv: nn.Module) -> None:
    x, y = batch()
    before = torch.get_rng_state()
    attack(conv, x, y, generator=seeded())
    attack(conv, x, y, generator=ExampleStreams(0, torch.arange(len(x))))
    assert torch.equal(torch.get_rng_state(), before)


@every_attack
def test_without_a_generator_the_global_one_counts(attack: Attack, conv: nn.Module) -> None:
    x, y = batch()
    with torch.random.fork_rng():
        torch.manual_seed(4)
        a = attack(conv, x, y)
        torch.manual_seed(4)
        assert torch.equal(attack(conv, x, y), a)


@every_attack
def test_an_example_meets_the_same_fate_in_any_batch(attack: Attack, conv: nn.Module) -> None:
    x, y = batch(12, torch.float64)
    conv.double()
    together = attack(conv, x, y, generator=ExampleStreams(5, torch.arange(12)))
    for part in (torch.tensor([7]), torch.tensor([11, 2, 3])):
        alone = attack(conv, x[part], y[part], generator=ExampleStreams(5, part))
        torch.testing.assert_close(alone, together[part], rtol=0, atol=1e-12)


@every_attack
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_the_model_is_left_untouched(attack: Attack, build: Callable[[], nn.Module], mode: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    model.train(mode != "eval")
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    if mode == "mixed":
        list(model.modules())[1].eval()
        model.training = False
        list(model.modules())[-1].training = True
    before = copy.deepcopy(state(model))
    buffers = dict(model.named_buffers())
    attack(model, *batch(), generator=seeded())
    assert state(model) == before
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers()), "a buffer was replaced by another tensor"


@pytest.mark.parametrize("build", [CountingByAssignment, CountingBehindAutograd])
def test_buffers_are_put_back_however_they_were_changed(build: Callable[[], nn.Module]) -> None:
    model = build()
    before, buffer = copy.deepcopy(state(model)), model.seen
    EXAMPLES["PGD"]["default"](model, *batch(), generator=seeded())
    assert state(model) == before
    assert model.seen is buffer, "the buffer was replaced by another tensor"


@every_attack
@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_model_is_left_untouched_by_an_exception(attack: Attack, at: int) -> None:
    model = Failing(at).train()
    model.body[1].eval()
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(state(model))
    try:
        attack(model, *batch(), generator=seeded())
    except RuntimeError as error:
        assert str(error) == "out of memory"  # noqa: PT017  (an attack that needs fewer forwards does not come here)
    else:
        assert model.calls < at
    assert state(model) == before


@every_attack
def test_the_model_is_run_in_eval_mode_with_frozen_parameters(attack: Attack) -> None:
    seen = []
    model = batch_norm().train()
    model.register_forward_pre_hook(
        lambda module, _: seen.append((any(part.training for part in module.modules()), any(p.requires_grad for p in module.parameters())))
    )
    attack(model, *batch(), generator=seeded())
    assert set(seen) <= {(False, False)}


@every_attack
def test_works_where_gradients_are_switched_off(attack: Attack, conv: nn.Module) -> None:
    x, y = batch()
    expected = attack(conv, x, y, generator=seeded())
    with torch.no_grad():
        assert torch.equal(attack(conv, x, y, generator=seeded()), expected)
        assert not torch.is_grad_enabled()


@every_attack
def test_works_under_bfloat16_autocast(attack: Attack, conv: nn.Module) -> None:
    x, y = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x_adv = attack(conv, x, y, generator=seeded())
    assert x_adv.dtype == torch.float32
    assert attack.threat.contains(x_adv, x).all()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in conv.parameters())


@every_attack
def test_gives_images_that_carry_no_graph_even_if_they_came_with_one(attack: Attack, conv: nn.Module) -> None:
    x, y = batch()
    x = (x.requires_grad_() * 1.0).clamp(0, 1)
    assert attack(conv, x, y, generator=seeded()).grad_fn is None


@every_attack
def test_survives_channels_last_and_slices(attack: Attack) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(10)).eval()
    x = torch.rand(8, 3, 8, 8, generator=seeded())
    y = torch.arange(8)
    model(x)
    expected = attack(model, x[::2], y[::2], generator=seeded())
    found = attack(model, x.to(memory_format=torch.channels_last)[::2], y[::2], generator=seeded())
    assert attack.threat.contains(found, x[::2]).all()
    assert found.shape == expected.shape


@every_attack
def test_nan_logits_do_no_harm(attack: Attack) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10] * float("nan")

    x, y = batch()
    x_adv = attack(Broken(), x, y, generator=seeded())
    assert attack.threat.contains(x_adv, x).all()


@every_attack
def test_scaled_and_exhaustive_give_attacks_of_the_same_kind(attack: Attack) -> None:
    assert type(attack.scaled(0.5)) is type(attack)
    assert attack.scaled(0.5).threat.eps == pytest.approx(attack.threat.eps / 2)
    assert attack.scaled(1.0) == attack
    assert attack.without_early_stop().without_early_stop() == attack.without_early_stop()


@every_attack
def test_its_description_builds_it_again(attack: Attack) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--attack", type=Attack)
    described = json.loads(json.dumps(describe(attack)))
    again = parser.instantiate_classes(parser.parse_object({"attack": described})).attack
    assert again == attack
    assert type(again) is type(attack)


@every_attack
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x, y: (x.index_fill(0, torch.tensor([1]), float("nan")), y), "x: .*NaN"),
        (lambda x, y: (x - 0.1, y), "x: "),
        (lambda x, y: (2 * x, y), "x: "),
        (lambda x, y: ((255 * x).byte(), y), "x: .*uint8"),
        (lambda x, y: (x[:, 0], y), "x: "),
        (lambda x, y: (x, y[:-1]), "y: "),
        (lambda x, y: (x, y[:, None]), "y: "),
        (lambda x, y: (x, y.float()), "y: "),
        (lambda x, y: (x, nn.functional.one_hot(y, 10)), "y: "),
    ],
    ids=["nan", "below_0", "above_1", "uint8", "no_channels", "labels_missing", "label_shape", "label_dtype", "one_hot"],
)
def test_bad_images_and_labels_are_refused(attack: Attack, spoil: Callable, said: str, conv: nn.Module) -> None:
    with pytest.raises(InputError, match=said):
        attack(conv, *spoil(*batch()), generator=seeded())


@every_attack_that_runs_the_model
@pytest.mark.parametrize("label", [10, -1, -100])
def test_labels_outside_the_classes_are_refused(attack: Attack, label: int, conv: nn.Module) -> None:
    x, y = batch()
    y[2] = label
    with pytest.raises(InputError, match=r"0\.\.9"):
        attack(conv, x, y, generator=seeded())


@every_attack_that_runs_the_model
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("output", [lambda x: x, lambda x: x.flatten(), lambda x: x.flatten(1)[1:], lambda x: (x.flatten(1),)])
def test_a_model_that_returns_no_logits_is_refused(attack: Attack, output: Callable) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> object:
            return output(x)

    with pytest.raises(InputError, match="model: must return logits"):
        attack(Wrong(), *batch(), generator=seeded())
