"""One step of an attack, loss and its gradient for the images, by every form of the network's passes that was tried, beside eager PyTorch.

    python benchmarks/input_gradient.py --out results/benchmarks/input_gradient.json

LeNet on 256 images, timm's ResNet-18 on 64 of 64x64 and ``SmallResNetV2`` on 64 of 32x32, untrained, frozen, in eval mode. Each form is
tried once to warm up, with what it compiles, and then in turn with the others; ratios are of medians and to eager PyTorch in its default
memory format. ``kernels`` is what every attack runs in (``logitpair.attacks.cpu_kernels``).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import logitpair as lp
from logitpair.attacks.cpu_kernels import CPUKernels
from logitpair.runtime import environment
from logitpair.runtime.lazy_imports import import_timm
from logitpair.storage.atomic_files import atomic_write

FORMATS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="times that each form is measured")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--without-compile", action="store_true", help="leave out torch.compile, which takes half a minute a network")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/input_gradient.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    networks: dict[str, tuple[nn.Module, Tensor]] = {
        "LeNet, 256 x 28x28": (lp.models.LeNet(), torch.rand(256, 1, 28, 28)),
        "ResNet-18, 64 x 64x64": (import_timm().create_model("resnet18", num_classes=10), torch.rand(64, 3, 64, 64)),
        "SmallResNetV2, 64 x 32x32": (lp.models.SmallResNetV2(classes=20), torch.rand(64, 3, 32, 32)),
    }
    found = {name: measured(model.to(device), x.to(device), arguments) for name, (model, x) in networks.items()}
    record = {"repeats": arguments.repeats, "networks": found, "versions": environment.versions(), "hardware": environment.hardware(device)}
    atomic_write(arguments.out, json.dumps(record, indent=1) + "\n")


def measured(model: nn.Module, x: Tensor, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds of a step and of the first one, and what the gradient deviates by, of every form."""
    model.eval().requires_grad_(False)
    y = torch.arange(len(x), device=x.device) % 10
    forms: dict[str, Callable[[], Tensor]] = {}
    for (layout, memory_format), way in itertools.product(FORMATS.items(), ("eager", "kernels", "torch.compile")):
        network = copy.deepcopy(model).to(memory_format=memory_format)  # type: ignore[call-overload]
        if way != "torch.compile":
            forms[f"{way}, {layout}"] = step(network, x, y, CPUKernels if way == "kernels" else nullcontext)
        elif not arguments.without_compile:
            forms[f"{way}, {layout}"] = step(torch.compile(network), x, y, nullcontext)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in track(range(arguments.repeats + 1), description="rounds"):
        for form, take in forms.items():
            began = time.perf_counter()
            take()
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds[form].append(time.perf_counter() - began)
    reference = forms["eager, default"]()
    eager = statistics.median(seconds["eager, default"][1:])
    found: dict[str, dict[str, float]] = {}
    for form, (first, *others) in seconds.items():
        median, deviation = statistics.median(others), (forms[form]() - reference).abs().max() / reference.abs().max()
        found[form] = {"first": first, "least": min(others), "median": median, "most": max(others)}
        found[form] |= {"ratio": median / eager, "deviation": deviation.item()}
        print(f"{form:30} {1e3 * median:7.1f} ms ({1e3 * min(others):.1f} to {1e3 * max(others):.1f}), {median / eager:.2f} of eager")
    return found


def step(network: nn.Module, x: Tensor, y: Tensor, mode: Callable[[], AbstractContextManager[object]]) -> Callable[[], Tensor]:
    """The gradient of the loss for the images, by the network within a mode."""

    def take() -> Tensor:
        leaf = x.detach().requires_grad_()
        with mode():
            loss = cross_entropy(network(leaf), y, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]

    return take


if __name__ == "__main__":
    main()
