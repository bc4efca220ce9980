"""What the audit leaves correct of public networks whose accuracy under the strongest attacks is published, and at what cost.

    python benchmarks/public_networks.py NETWORKS mnist-trades --data-dir data --budget 100

NETWORKS is a folder of published weights as ``safetensors`` and of the images of the published numbers as ``npz`` (``x`` uint8, ``y``):
the small CNNs of alpha-beta-CROWN and the TRADES network for MNIST, which is judged on MNIST's 10,000 test images. ``hard.json`` names
MNIST test images of which a solver proved that they are breakable, and that gradient attacks fail on (Zhang et al. 2022, ICML). An audit
that was interrupted goes on; what is done is written at once. Breaks are images in the ball and the box that a fresh float32 forward
misclassifies.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import logitpair as lp
from logitpair.models import Normalized
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

CIFAR_MEAN, CIFAR_STD = ([value / 255 for value in values] for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))
PUBLISHED = {  # eps, images, and accuracies published for the same images
    "mnist-trades": (0.3, None, {"AutoAttack": 0.9281, "A3": 0.9271, "Square": 0.9258, "EWR-PGD": 0.9247, "ITA": 0.9246}),
    "mnist-cnn-a-adv": (0.3, "mnist-200.npz", {"PGD": 0.765}),
    "mnist-cnn-a-adv-hard": (0.3, "hard.json", {"mixed-integer programme": 0.0}),
    "cifar-cnn-a-adv": (2 / 255, "cifar-200.npz", {"PGD": 0.50}),
    "cifar-cnn-a-mix": (2 / 255, "cifar-200.npz", {"PGD": 0.53}),
}


def cnn_a(channels: int, flat: int) -> nn.Sequential:
    """Two strided convolutions and two linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(flat, 100), nn.ReLU(), nn.Linear(100, 10)),
    )


def trades() -> nn.Sequential:
    """Four convolutions with pooling after every second, and three linear layers; dropout does nothing in eval mode."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1024, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)),
    )


def network(name: str, folder: Path) -> nn.Module:
    """A public network in eval mode."""
    weights = load_file(folder / f"{name.removesuffix('-hard')}.safetensors")
    if name == "mnist-trades":
        model, layers = trades(), ("conv1", "conv2", "conv3", "conv4", "fc1", "fc2", "fc3")
        kinds = {layer: f"{'feature_extractor' if layer.startswith('conv') else 'classifier'}.{layer}" for layer in layers}
        own = [index for index, module in enumerate(model) if isinstance(module, nn.Conv2d | nn.Linear)]
        weights = {
            f"{i}.{part}": weights[f"{kinds[layer]}.{part}"] for i, layer in zip(own, layers, strict=True) for part in ("weight", "bias")
        }
    else:
        model = cnn_a(3, 2048) if name.startswith("cifar") else cnn_a(1, 1568)
    model.load_state_dict(weights)
    return (Normalized(model, CIFAR_MEAN, CIFAR_STD) if name.startswith("cifar") else model).eval()


def images(name: str, folder: Path, data_dir: Path) -> lp.data.Data:
    """The images of the published numbers."""
    _, file, _ = PUBLISHED[name]
    if file is None:
        return lp.data.MNIST(root=data_dir).test()
    if file.endswith(".json"):
        return lp.data.select(
            lp.data.MNIST(root=data_dir).test(), json.loads((folder / file).read_text())["mnist-cnn-a-adv"]["provably_breakable"]
        )
    arrays = np.load(folder / file)
    return torch.from_numpy(arrays["x"]).float() / 255, torch.from_numpy(arrays["y"]).long()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the published networks")
    parser.add_argument("networks", nargs="*", default=list(PUBLISHED), help=f"of {', '.join(PUBLISHED)}; all by default")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder that holds MNIST")
    parser.add_argument("--budget", type=float, default=100)
    parser.add_argument("--examples", type=int, default=None, help="the first N images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/public_networks.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    try:  # before an hour's audit
        found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    except ValueError:
        parser.error(f"--out: '{arguments.out}' is damaged; move it away, or name another file")
    for name in arguments.networks:
        eps, _, published = PUBLISHED[name]
        data = lp.data.first(images(name, arguments.folder, arguments.data_dir), arguments.examples or 10_000)
        key = f"{name}, {lp.data.count(data)} images, budget {arguments.budget:g}, seed {arguments.seed}"
        cpu, wall = time.process_time(), time.perf_counter()
        audit = lp.audit(
            network(name, arguments.folder).to(device),
            data,
            threat=lp.Linf(eps),
            budget=arguments.budget,
            seed=arguments.seed,
            folder=arguments.out.with_suffix("") / key.replace(", ", "-").replace(" ", "_"),
        )
        results = audit.results
        found[key] = {
            "published": published,
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
            **{field: results[field] for field in ("verdict", "reason", "reference", "robust_accuracy", "rounds", "checks", "converged")},
            **{
                field: results[field] for field in ("further_breaks", "gradient_evaluations_per_example", "forward_evaluations_per_example")
            },
            "failed": [finding["check"] for finding in results["findings"] if not finding["passed"]],
            "hardware": environment.hardware(device),
        }
        atomic_write(arguments.out, json.dumps(found, indent=1) + "\n")
        print(f"{key}: {results['robust_accuracy']['top1']:.2%} (published {published}), {results['verdict']}: {results['reason']}")


if __name__ == "__main__":
    main()
