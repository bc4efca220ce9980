"""PGD as several libraries run it on one batch, and the network alone: what ``attack_speed`` times."""

import contextlib
import copy
import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from logitpair.attacks import PGD
from logitpair.runtime import precision
from logitpair.threat import Linf

EPS, STEP_SIZE = 0.3, 0.01
ALONE, ALONE_FAST = "network alone", "network alone, channels_last"
Run = Callable[[], object]


@dataclass(frozen=True)
class Batch:
    """What is attacked."""

    model: nn.Module  # in eval mode, in PyTorch's default memory format
    x: Tensor
    y: Tensor
    steps: int


def installed() -> dict[str, Any]:
    """The modules of ``PEERS`` that can be imported, each by its library's name."""
    found = dict[str, Any]()
    for name, (module, _) in PEERS.items():
        with contextlib.suppress(Exception):  # a library that does not fit the others raises whatever it comes to first
            found[name] = importlib.import_module(module)
    return found


def contenders(batch: Batch, libraries: Mapping[str, Any]) -> dict[str, Run]:
    """What attacks the whole batch once a call, by name: the network alone, ours and the ``libraries``, as ``installed`` gives them.

    All take every step from a random start, in float32. The network alone does as many forward passes and gradients by PyTorch's own
    operations and nothing else, the least that a peer does; on a CPU ours may do less (``attacks.cpu_kernels``). Peers run as their users
    run them, in PyTorch's default memory format; ours also in channels_last, which the networks of runs are in, and there in bfloat16 too
    where that is quicker, as in training.
    """
    model, x, y = batch.model, batch.x, batch.y
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    attack = PGD(Linf(EPS), step_size=STEP_SIZE, steps=batch.steps, early_stop=False)
    generator = torch.Generator(x.device).manual_seed(0)

    def ours(model: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
        with precision.autocast(dtype, x.device):
            return attack(model, x, y, generator=generator)

    runs: dict[str, Run] = {
        ALONE: lambda: _alone(model, batch),
        ALONE_FAST: lambda: _alone(fast, batch),
        "logitpair": lambda: ours(model),
        "logitpair, channels_last": lambda: ours(fast),
    }
    if (quickest := precision.resolve("auto", x.device)) == torch.bfloat16:
        runs["logitpair, channels_last, bfloat16"] = lambda: ours(fast, quickest)
    return runs | {name: _peer(PEERS[name][1], library, batch) for name, library in libraries.items()}


def _peer(make: Callable[[Any, Batch], Run], library: Any, batch: Batch) -> Run:
    """Another library's attack, which is made at its first call: a version that cannot make it fails there as one that cannot run it."""
    made = functools.cache(lambda: make(library, batch))
    return lambda: made()()


def _alone(model: nn.Module, batch: Batch) -> None:
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    for _step in range(batch.steps):
        leaf = batch.x.detach().requires_grad_()
        torch.autograd.grad(model(leaf).logsumexp(1).sum(), leaf)
    for parameter in frozen:
        parameter.requires_grad_(True)


def _foolbox(foolbox: Any, batch: Batch) -> Run:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=batch.steps, random_start=True)
    model = foolbox.PyTorchModel(batch.model, bounds=(0, 1), device=batch.x.device)
    return lambda: attack(model, batch.x, batch.y, epsilons=EPS)[1]


def _torchattacks(torchattacks: Any, batch: Batch) -> Run:
    attack = torchattacks.PGD(batch.model, eps=EPS, alpha=STEP_SIZE, steps=batch.steps, random_start=True)
    return lambda: attack(batch.x, batch.y)


def _art(evasion: Any, batch: Batch) -> Run:
    estimators = importlib.import_module("art.estimators.classification")
    labels = batch.y.cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimators.PyTorchClassifier(
            batch.model,
            nn.CrossEntropyLoss(),
            batch.x.shape[1:],
            int(labels.max()) + 1,
            clip_values=(0, 1),
            device_type="gpu" if batch.x.is_cuda else "cpu",
        )
    attack = evasion.ProjectedGradientDescentPyTorch(
        model, eps=EPS, eps_step=STEP_SIZE, max_iter=batch.steps, num_random_init=1, batch_size=len(labels), verbose=False
    )
    images = batch.x.cpu().numpy()
    return lambda: torch.from_numpy(attack.generate(images, labels)).to(batch.x)


def _adversarial_library(attacks: Any, batch: Batch) -> Run:
    return lambda: attacks.pgd_linf(batch.model, batch.x, batch.y, EPS, steps=batch.steps, relative_step_size=STEP_SIZE / EPS)


def _secml_torch(evasion: Any, batch: Batch) -> Run:
    """By its own loop; that of its default backend is foolbox's."""
    model = importlib.import_module("secmlt.models.pytorch.base_pytorch_nn").BasePyTorchClassifier(batch.model)
    attack = evasion.PGD("linf", EPS, num_steps=batch.steps, step_size=STEP_SIZE, random_start=True, backend="native")
    images = DataLoader(TensorDataset(batch.x, batch.y), batch_size=len(batch.x))
    return lambda: next(iter(attack(model, images)))[0]


PEERS: dict[str, tuple[str, Callable[[Any, Batch], Run]]] = {
    "foolbox": ("foolbox", _foolbox),
    "torchattacks": ("torchattacks", _torchattacks),
    "adversarial-robustness-toolbox": ("art.attacks.evasion", _art),
    "adv-lib": ("adv_lib.attacks", _adversarial_library),
    "secml-torch": ("secmlt.adv.evasion.pgd", _secml_torch),
}
"""Libraries by the names that they are installed by: the module that is used, and what makes its attack."""
