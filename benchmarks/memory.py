"""Memory that one training step of a RevNet takes at growing depth, with recomputed and with stored activations.

    python benchmarks/memory.py --out results/benchmarks/memory.json

The network is RevNet-38 with its units repeated. Each measurement is a process of its own: a step on two images warms it up, then the
peak is set back, and one forward and backward pass of the whole batch is measured. On the CPU it is the peak of resident memory (Linux
tells it in /proc) above what was resident before, on CUDA that of PyTorch's allocator. Gradients of the parameters are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from logitpair.models import RevNet
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

WIDTHS = (32, 32, 64, 112)
MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[3, 6, 12], help="residual units of each of the three stages")
    parser.add_argument("--batch", type=int, default=128, help="images of 32x32 pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/memory.json"))
    parser.add_argument("--one", choices=("recomputed", "stored"), help=argparse.SUPPRESS)  # in the process that is measured
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.one:
        print(peak(arguments.units[0], arguments.batch, device, reversible=arguments.one == "recomputed"))
        return
    found = {
        "settings": {"units": arguments.units, "widths": WIDTHS, "batch": arguments.batch, "size": 32, "precision": "float32"},
        "measured": "resident" if device.type == "cpu" else "allocated",
        "mebibytes": {},
        "growth": {},
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
    for name in ("recomputed", "stored"):
        peaks = {str(units): in_a_process(name, units, arguments) for units in arguments.units}
        found["mebibytes"][name] = {units: round(value / MEBIBYTE, 1) for units, value in peaks.items()}
        found["growth"][name] = {units: round(value / peaks[str(arguments.units[0])], 3) for units, value in peaks.items()}
        print(f"{name}: {found['mebibytes'][name]} MiB, {found['growth'][name]} times the shallowest")
    atomic_write(arguments.out, json.dumps(found, indent=2) + "\n")


def in_a_process(name: str, units: int, arguments: argparse.Namespace) -> int:
    """The peak in bytes of one step, measured in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--units",
        str(units),
        "--batch",
        str(arguments.batch),
        "--device",
        arguments.device,
    ]
    at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}  # freed memory goes back to the system, else it counts
    return int(subprocess.run(command, env=os.environ | at_once, check=True, capture_output=True, text=True).stdout)  # noqa: S603 (this file)


def peak(units: int, batch: int, device: torch.device, *, reversible: bool) -> int:
    """Bytes that a training step takes at most, above what was taken before it."""
    torch.manual_seed(0)
    model = RevNet((units,) * 3, WIDTHS, reversible=reversible).to(device, memory_format=torch.channels_last)
    x, y = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
    step(model, x[:2], y[:2])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step(model, x, y)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = resident("VmRSS")
    step(model, x, y)
    return resident("VmHWM") - before


def step(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """A forward and a backward pass."""
    model.zero_grad(set_to_none=True)
    cross_entropy(model(x), y).backward()


def resident(name: str) -> int:
    """Bytes of resident memory: now (``VmRSS``) or at most (``VmHWM``)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
