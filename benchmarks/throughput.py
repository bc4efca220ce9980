"""Training throughput of the paper's ImageNet networks on one GPU, attack included, and the share of the GPU's peak that it reaches.

    python benchmarks/throughput.py --out results/benchmarks/throughput.json
    python benchmarks/throughput.py --compile true --out results/benchmarks/throughput-compiled.json

Whole steps are timed as training takes them (``training.train_step.train_step``: attack, loss, backward pass, optimizer, average), in the
recipe's precision, on random images, without loading any. The batch begins at the paper's 32 a GPU and doubles until the memory is
full. ``matmul`` is the fastest product of two square matrices in the same arithmetic in the same run; ``share`` is what the step's matrix
products and convolutions, as ``training.cost_estimate.step_cost`` counts them, reach of it. Other options are settings of the recipes.

Without a GPU ``--device cpu --scale smoke`` tries the code itself, and its numbers go into a file named by ``--out`` alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from logitpair.config import parsing, recipes
from logitpair.config.run_config import RunConfig
from logitpair.runtime import environment, precision
from logitpair.runtime.distributed import World
from logitpair.storage.atomic_files import atomic_write
from logitpair.training.activation_checkpointing import checkpoint_activations
from logitpair.training.cost_estimate import step_cost
from logitpair.training.local_batches import LocalBatch
from logitpair.training.process_team import ProcessTeam
from logitpair.training.train_state import TrainState, initial_state
from logitpair.training.train_step import train_step

RECIPES = ("imagenet-alp-inception_v3", "imagenet-alp-resnet101")
RECORDED = Path("results/benchmarks/throughput.json")
WARM_UP = 3  # steps before the clock starts: cuDNN chooses its algorithms, the compiler compiles
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Speed:
    """What was measured of one batch size.

    Args:
        batch: images a step.
        seconds: of a step.
        peak: bytes that PyTorch's allocator held at most; None on a CPU.
    """

    batch: int
    seconds: float
    peak: int | None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="each of pictures")
    parser.add_argument("--scale", help="of the recipes")
    parser.add_argument("--batch", type=int, default=32, help="images a step, the first time")
    parser.add_argument("--most", type=int, help="go no further than this batch; until the memory is full on a GPU, --batch on a CPU")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--matrix", type=int, default=8192, help="rows and columns of the matrices whose product is the peak")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try this file")
    parser.add_argument("--out", type=Path, default=RECORDED)
    arguments, overrides = parser.parse_known_args(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device: no GPU is here; `--device cpu --scale smoke --out FILE` tries the code")
    if device.type != "cuda" and arguments.out == RECORDED:
        parser.error(f"--out: {RECORDED} is for numbers of a GPU; name another file")
    most = arguments.most or (None if device.type == "cuda" else arguments.batch)
    configs = {name: parsing.resolve(recipes.load(name).at_scale(arguments.scale), overrides).config for name in arguments.recipes}
    found: dict[str, Any] = {
        "settings": {
            "scale": arguments.scale or "paper",
            "overrides": overrides,
            "steps": arguments.steps,
            "matrix": arguments.matrix,
            "images": "random",
        },
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
        "matmul": {},
        "recipes": {},
    }
    for name, config in configs.items():
        dtype = precision.resolve(config.precision, device)
        kind = str(dtype).removeprefix("torch.")
        if kind not in found["matmul"]:
            found["matmul"][kind] = {"flops_a_second": matmul_peak(arguments.matrix, dtype, device)}
            print(f"matrix products in {kind}: {found['matmul'][kind]['flops_a_second'] / 1e12:.3f} TFLOP a second")
        peak = found["matmul"][kind]["flops_a_second"]
        flops = step_cost(config, *random_batch(config, 2, torch.device("cpu"))).flops
        measured = partial(measure, config, steps=arguments.steps, device=device)
        speeds = [report(speed, flops, peak) for speed in until_full(measured, arguments.batch, most)]
        found["recipes"][name] = {
            "precision": kind,
            "compile": config.compile,
            "activation_checkpointing": config.activation_checkpointing,
            "shape": list(shape_of(config)),
            "flops_an_image": flops,
            "until_full": most is None,
            "speeds": speeds,
        }
        for speed in speeds:
            memory = "" if speed["peak_gibibytes"] is None else f", {speed['peak_gibibytes']} GiB"
            print(f"{name}, {speed['batch']} images: {speed['images_per_second']} a second, {speed['share']:.2%} of the peak{memory}")
        atomic_write(arguments.out, json.dumps(found, indent=2) + "\n")  # what is measured stays if the next recipe fails


def report(speed: Speed, flops: float, peak: float) -> dict[str, Any]:
    """One measurement as it is written: ``flops`` are those of an image, ``peak`` those that matrix products reach in a second."""
    rate = speed.batch / speed.seconds
    return {
        "batch": speed.batch,
        "images_per_second": round(rate, 2),
        "seconds_a_step": round(speed.seconds, 4),
        "share": round(rate * flops / peak, 5),
        "peak_gibibytes": None if speed.peak is None else round(speed.peak / GIBIBYTE, 2),
    }


def until_full(measured: Callable[[int], Speed], batch: int, most: int | None) -> Iterator[Speed]:
    """The speeds at ``batch``, twice that and so on, as long as the memory holds it and it is not above ``most``."""
    while most is None or batch <= most:
        gc.collect()
        torch.cuda.empty_cache()
        try:
            speed = measured(batch)
        except torch.OutOfMemoryError:
            return
        yield speed
        batch *= 2


def measure(config: RunConfig, batch: int, *, steps: int, device: torch.device) -> Speed:
    """Steps of the recipe in the middle of its training, when warm-ups are over."""
    config = replace(config, batch_size=batch)
    state = initial_state(config, device, resuming=False)
    x, y = random_batch(config, batch, device)
    config.objective.prepare(state.model, x[:2])
    if config.activation_checkpointing:
        checkpoint_activations(state.model)
    network: Any = torch.compile(state.model) if config.compile else state.model
    local_batch = LocalBatch(x, y, torch.arange(batch), batch)
    for _ in range(WARM_UP):
        step(config, state, network, local_batch)
    wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    for _ in range(steps):
        step(config, state, network, local_batch)
    wait(device)
    seconds = (time.perf_counter() - began) / steps
    return Speed(batch, seconds, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None)


def step(config: RunConfig, state: TrainState, network: torch.nn.Module, batch: LocalBatch) -> None:
    """One step of training, as ``logitpair.training.train`` takes it."""
    team = ProcessTeam(World(rank=0, size=1, device=batch.x.device), state)
    train_step(config, state, network, batch, config.epochs / 2, team, Path("run"))


def matmul_peak(size: int, dtype: torch.dtype, device: torch.device, times: int = 20, rounds: int = 5) -> float:
    """Floating-point operations a second of ``size x size`` matrix products: the fastest of some rounds."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(rounds + 1):  # the first warms up
        wait(device)
        began = time.perf_counter()
        for _ in range(times):
            a @ b
        wait(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 * times / min(seconds[1:])


def shape_of(config: RunConfig) -> tuple[int, int, int]:
    """Channels, height and width of the recipe's pictures."""
    size = getattr(config.data, "size", 64)  # Tiny ImageNet has one size
    return 3, size, size


def random_batch(config: RunConfig, images: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of noise with labels of the first classes, the same every time."""
    x = torch.rand(images, *shape_of(config), generator=torch.Generator().manual_seed(0))
    return x.to(device), (torch.arange(images) % 10).to(device)


def wait(device: torch.device) -> None:
    """Return when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
