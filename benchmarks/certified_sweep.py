"""Certified accuracy against one setting of a sweep, over its seeds: what the pairing adds to interval bounds, or a threshold to a network.

    logitpair sweep digits-certified-alp --objective.weight 0,0.001,0.01,0.03,0.1,0.3 --seeds 3 --out runs/pairing
    python benchmarks/certified_sweep.py runs/pairing --out results/benchmarks/certified_pairing.json

and of networks for MNIST, trained for less time than their recipe says (the recorded ones of the weight one by one, by ``logitpair train``
with these settings, and weight 0.1 under two seeds only):

    logitpair sweep mnist-certified-alp --scale cpu \
        --model '{class_path: logitpair.models.StridedConvNet, init_args: {filters: [32, 64], threshold: null}}' \
        --objective.threat.eps 0.35 --batch_size 256 --epochs 12 --objective.warmup 4 --objective.weight 0,0.01,0.1 \
        --objective.attack null --objective.bound_share 1 --ema null --optimizer.lr 5e-4 --schedule.warmup 1 --seeds 3 \
        --data-dir DATA --out runs/pairing-mnist
    python benchmarks/certified_sweep.py runs/pairing-mnist --out results/benchmarks/certified_pairing_mnist.json

    logitpair sweep mnist-certified-alp --scale cpu --model.threshold null,0.34 --epochs 5 --objective.warmup 1.5 --seeds 2 --jobs 2 \
        --precision float32 --data-dir DATA --out runs/threshold
    python benchmarks/certified_sweep.py runs/threshold --out results/benchmarks/certified_threshold.json

Weight 0 is IBP alone. Every network is certified on the images held out from its training and on its test images, at the radius of its
evaluation's attack.
"""

import argparse
import json
import statistics
from pathlib import Path

import logitpair as lp
from logitpair.errors import InputError
from logitpair.models.inference import device_of
from logitpair.runs import run_directory
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import CERTIFICATE_METHODS
from logitpair.sweeps import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="folder of a sweep over one setting")
    parser.add_argument("--method", choices=CERTIFICATE_METHODS, default="crown-ibp")
    parser.add_argument("--out", type=Path, required=True, help="the file of results, such as results/benchmarks/certified_pairing.json")
    arguments = parser.parse_args()
    try:
        sweep = record.read(arguments.sweep)
    except InputError as error:
        parser.error(f"sweep: {error}")
    if len(sweep.axes) != 1:
        parser.error(f"sweep: is over {len(sweep.axes)} settings; accepted: over one")
    if left := [run.path for run in sweep.runs if run.status != "finished"]:
        parser.error(f"sweep: {len(left)} of its runs are not finished, such as {left[0]}; the same `logitpair sweep` goes on")
    (axis,) = sweep.axes
    points = []
    for value in axis.values:
        folders = [arguments.sweep / run.path for run in sweep.runs if run.settings[axis.setting] == value]
        points.append({"value": value, "runs": [measured(folder, arguments.method) for folder in folders]})
        print(
            f"{axis.setting} {value}: "
            + ", ".join(f"{key} {spread(points[-1]['runs'], key)}" for key in points[-1]["runs"][0] if key != "eps")
        )
    run = arguments.sweep / sweep.runs[0].path
    content, config = run_directory.load_config(run)
    settings = {
        "recipe": content["recipe"],
        "setting": axis.setting,
        "model": content["run"]["model"],  # of the first run, as the rest
        "training_eps": config.objective.threat.eps,
        "epochs": config.epochs,
        "method": arguments.method,
        "hardware": environment.hardware(device_of(lp.load(run))),
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
