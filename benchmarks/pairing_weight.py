"""What the pairing adds to interval bound propagation: certified accuracy against its weight, over the seeds of a sweep.

    logitpair sweep digits-certified-alp --objective.weight 0,0.001,0.01,0.03,0.1,0.3 --seeds 3 --out runs/pairing
    python benchmarks/pairing_weight.py runs/pairing

and of networks for MNIST, trained for less time than their recipe says (the recorded ones one by one, by ``logitpair train`` with these
settings, and weight 0.1 under two seeds only):

    logitpair sweep mnist-certified-alp --scale cpu --model logitpair.models.StridedConvNet --objective.threat.eps 0.35 --batch_size 256 \
        --epochs 12 --objective.warmup 4 --objective.weight 0,0.01,0.1 --objective.attack null --objective.bound_share 1 --ema null \
        --optimizer.lr 5e-4 --schedule.warmup 1 --seeds 3 --data-dir DATA --out runs/pairing-mnist
    python benchmarks/pairing_weight.py runs/pairing-mnist --out results/benchmarks/pairing_weight_mnist.json

Weight 0 is IBP alone. Every network is certified on the images held out from its training and on its test images, at the radius of its
evaluation's attack.
"""

import argparse
import json
import statistics
from pathlib import Path

import logitpair as lp
from logitpair.models.inference import device_of
from logitpair.runs import run_directory
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import CERTIFICATE_METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="folder of a sweep over objective.weight")
    parser.add_argument("--method", choices=CERTIFICATE_METHODS, default="crown-ibp")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/pairing_weight.json"))
    arguments = parser.parse_args()
    run = next(arguments.sweep.glob("objective.weight=*/seed-*"), None)
    if run is None:
        parser.error(f"sweep: no objective.weight=W/seed-N in '{arguments.sweep}'; accepted: the --out of such a logitpair sweep")
    points = []
    for point in sorted(arguments.sweep.glob("objective.weight=*"), key=lambda path: float(path.name.partition("=")[2])):
        runs = [measured(run, arguments.method) for run in sorted(point.glob("seed-*"))]
        points.append({"weight": float(point.name.partition("=")[2]), "runs": runs})
        print(f"weight {points[-1]['weight']:g}: " + ", ".join(f"{key} {spread(runs, key)}" for key in runs[0] if key != "eps"))
    content, config = run_directory.load_config(run)
    model = lp.load(run)
    settings = {
        "recipe": content["recipe"],
        "model": type(model).__name__,
        "training_eps": config.objective.threat.eps,
        "epochs": config.epochs,
        "method": arguments.method,
        "hardware": environment.hardware(device_of(model)),
    }
    atomic_write(arguments.out, json.dumps({"settings": settings, "points": points}, indent=1) + "\n")


def measured(run: Path, method: str) -> dict[str, float]:
    """Clean and certified accuracy of one network, held out and on the test images."""
    _, config = run_directory.load_config(run)
    model, found = lp.load(run).eval(), {"eps": next(iter(config.evaluation.attacks.values())).threat.eps}
    for name, data in (("held_out", config.data.validation()), ("test", config.data.test())):
        certificate = lp.certify(model, data, threat=lp.Linf(found["eps"]), method=method)
        found |= {f"{name}_clean": certificate.record.clean.top1, f"{name}_certified": certificate.certified_accuracy}
    return found


def spread(runs: list[dict[str, float]], key: str) -> str:
    """Mean and range over the seeds, in percent."""
    values = [100 * run[key] for run in runs]
    return f"{statistics.fmean(values):.1f} ({min(values):.1f} - {max(values):.1f})"


if __name__ == "__main__":
    main()
