"""Certified and audited accuracy against eps, of networks trained by several recipes: ``docs/images/bracket.svg``.

    python benchmarks/bracket.py runs/digits-plain runs/digits-mpgd runs/digits-alp runs/digits-certified-alp

Every run's network is certified by ``--method`` and audited with that certificate at every radius, on its test images. The numbers go to
``--out``, from which ``--draw`` alone draws again.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

import logitpair as lp
from logitpair.models.inference import device_of
from logitpair.runs import run_directory
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

RADII = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories")
    parser.add_argument("--method", default="alpha-crown")
    parser.add_argument("--budget", type=float, default=100, help="of the audit, gradients an image")
    parser.add_argument("--draw", action="store_true", help="draw what --out holds")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/bracket.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/images/bracket.svg"))
    arguments = parser.parse_args()
    for run in () if arguments.draw else arguments.runs:
        content, config = run_directory.load_config(run)
        model, data = lp.load(run).eval(), config.data.test()
        points = []
        for eps in RADII:
            certificate = lp.certify(model, data, threat=lp.Linf(eps), method=arguments.method)
            audit = lp.audit(model, data, threat=lp.Linf(eps), budget=arguments.budget, certificate=certificate)
            points.append({"eps": eps, "certified": certificate.certified_accuracy, "audited": audit.robust_accuracy})
            print(f"{content['recipe']} at {eps:g}: certified {points[-1]['certified']:.2%}, audited {points[-1]['audited']:.2%}")
        found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        found[content["recipe"]] = {"clean": audit.results["clean"]["top1"], "examples": audit.record.examples, "points": points}
        hardware = environment.hardware(device_of(model))
        found["settings"] = {"method": arguments.method, "budget": arguments.budget, "hardware": hardware}
        atomic_write(arguments.out, json.dumps(found, indent=1) + "\n")
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(arguments.out.read_text())).savefig(arguments.figure, bbox_inches="tight")


def draw(found: dict[str, dict]) -> Figure:
    """A panel a network: the audited accuracy above, the certified one below, and between them what is not decided."""
    names = [name for name in found if name != "settings"]
    figure = Figure(figsize=(3 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        of = found[name]
        eps = [0, *(point["eps"] for point in of["points"])]
        certified, audited = ([100 * of["clean"], *(100 * point[kind] for point in of["points"])] for kind in ("certified", "audited"))
        axes.fill_between(eps, certified, audited, color="0.85", label="not decided")
        axes.plot(eps, audited, marker="o", color="tab:red", label="audited")
        axes.plot(eps, certified, marker="o", color="tab:green", label="certified")
        axes.set(title=name, xlabel="eps", ylim=(0, 100), xlim=(0, eps[-1]))
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("accuracy %")
    figure.axes[0].legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main()
