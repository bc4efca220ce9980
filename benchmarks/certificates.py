"""Certificates of published networks beside what their authors proved, and what certifying costs beside a forward pass.

    python benchmarks/certificates.py --networks NETWORKS --method alpha-crown
    python benchmarks/certificates.py --run runs/mnist-certified-alp --data-dir data --method crown

With ``--networks`` the convolutional networks of ``benchmarks/public_networks.py`` are certified on their 200 images and audited with the
certificate; with ``--run`` a run of this package is certified on all its test images. Seconds are of all threads together as long as one
thread is used; a forward pass is float32 over the same images. Every network's numbers join the file of ``--out``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import public_networks
import torch
from torch import nn

import logitpair as lp
from logitpair.data import Data, batches, count
from logitpair.models.inference import device_of, logits_in_eval
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import CERTIFICATE_METHODS

PROVEN = {"mnist-cnn-a-adv": 0.71, "cifar-cnn-a-adv": 0.44, "cifar-cnn-a-mix": 0.42}  # by branch and bound (beta-CROWN), about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, help="folder of the published networks")
    parser.add_argument("--run", type=Path, help="run directory of a network trained for a certificate")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder that holds the run's images")
    parser.add_argument("--eps", type=float, default=0.3, help="of --run")
    parser.add_argument("--method", choices=CERTIFICATE_METHODS, default="alpha-crown")
    parser.add_argument("--examples", type=int, default=10_000, help="the first N images")
    parser.add_argument("--budget", type=float, default=100, help="of the audit, gradients an image; 0 for none")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/certificates.json"))
    arguments = parser.parse_args()
    if arguments.networks is not None:
        for name, proven in PROVEN.items():
            images = public_networks.images(name, arguments.networks, arguments.data_dir)
            eps = public_networks.PUBLISHED[name][0]
            record(name, public_networks.network(name, arguments.networks), images, eps, arguments, {"published_proven": proven})
    if arguments.run is not None:
        model = lp.load(arguments.run).eval()
        record(arguments.run.name, model, lp.data.MNIST(root=arguments.data_dir).test(), arguments.eps, arguments, {})


def record(name: str, model: nn.Module, data: Data, eps: float, arguments: argparse.Namespace, known: dict[str, Any]) -> None:
    """Certify and audit one network, and add what was found to the file."""
    data, threat = lp.data.first(data, arguments.examples), lp.Linf(eps)
    key = f"{name}, {count(data)} images, {arguments.method}"
    certificate = lp.certify(model, data, threat=threat, method=arguments.method, folder=arguments.out.with_suffix("") / name)
    began = time.process_time()
    for x, _ in batches(data, 256, device_of(model)):
        logits_in_eval(model, x)
    forward = time.process_time() - began
    found = known | {
        "eps": eps,
        **{field: certificate.results[field] for field in ("clean", "certified", "broken", "methods")},
        "forward_seconds": round(forward, 3),
        "threads": torch.get_num_threads(),
        "hardware": environment.hardware(device_of(model)),
    }
    if arguments.budget:
        audit = lp.audit(model, data, threat=threat, budget=arguments.budget, certificate=certificate)
        found |= {field: audit.results[field] for field in ("robust_accuracy", "verdict", "reason", "gradient_evaluations_per_example")}
    everything = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    atomic_write(arguments.out, json.dumps(everything | {key: found}, indent=1) + "\n")
    audited = f", audited {found['robust_accuracy']['top1']:.2%}" if arguments.budget else ""
    print(f"{key}: certified {certificate.certified_accuracy:.2%}{audited} {known or ''}")


if __name__ == "__main__":
    main()
