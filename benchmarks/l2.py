"""What the audit leaves correct of public networks in the L2 norm, beside the L2 attacks of foolbox and adversarial-library.

    python benchmarks/l2.py NETWORKS cifar-cnn-a-adv --budget 100

NETWORKS is the folder that ``public_networks.py`` describes; the images are the 200 of each network's published L-infinity numbers. A
library that is not installed is left out. An image counts as broken by a peer if a fresh float32 forward misclassifies what it returns and
that lies in the ball and the box; attacks of least distance are run as they are, and count where they come close enough. Passes are counted
in the network itself, for the peers and for the audit alike, and are of all 200 images.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from public_networks import network
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks.base import QueryCounter
from logitpair.models import compute_logits
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

RADII = {"cifar-cnn-a-adv": 0.5, "cifar-cnn-a-mix": 0.5, "mnist-cnn-a-adv": 1.5, "mnist-trades": 1.5}
Peer = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def foolbox_attacks() -> dict[str, Peer]:
    """foolbox's strongest attacks in L2, and PGD as it usually is."""
    import foolbox

    def run(attack: object) -> Peer:
        def peer(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
            return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device), x, y, epsilons=eps)[1]

        return peer

    return {
        "foolbox L2PGD, 50 steps": run(foolbox.attacks.L2PGD()),
        "foolbox L2PGD, 100 steps, 3 restarts": run(foolbox.attacks.L2PGD(rel_stepsize=0.1, steps=100).repeat(3)),
        "foolbox DDN, 300 steps": run(foolbox.attacks.DDNAttack(steps=300)),
        "foolbox FMN, 300 steps": run(foolbox.attacks.L2FMNAttack(steps=300)),
    }


def library_attacks() -> dict[str, Peer]:
    """adversarial-library's, none with fewer steps than by default."""
    from adv_lib import attacks

    return {
        "adversarial-library DDN, 300 steps": lambda model, x, y, _: attacks.ddn(model, x, y, steps=300, levels=None),
        "adversarial-library FMN, 300 steps": lambda model, x, y, _: attacks.fmn(model, x, y, norm=2, steps=300),
        "adversarial-library PDPGD, 500 steps": lambda model, x, y, _: attacks.pdpgd(model, x, y, norm=2, num_steps=500),
        "adversarial-library ALMA, 1000 steps": lambda model, x, y, _: attacks.alma(model, x, y, num_steps=1000),
        "adversarial-library APGD, cross-entropy, 100 steps": lambda model, x, y, eps: attacks.apgd(
            model, x, y, eps, norm=2, n_iter=100, loss_function="ce"
        ),
        "adversarial-library APGD, targeted DLR, 100 steps": lambda model, x, y, eps: attacks.apgd_targeted(
            model, x, y, eps, norm=2, n_iter=100
        ),
    }


def correct_under(peer: Peer, model: nn.Module, x: Tensor, y: Tensor, threat: lp.L2) -> tuple[Tensor, dict[str, float]]:
    """Which images a peer leaves correct, and what it cost."""
    counted, began, cpu = QueryCounter(model).eval(), time.perf_counter(), time.process_time()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x_adv = peer(counted, x, y, threat.eps).detach()
    cost = {"gradients_per_image": counted.gradients / len(x), "forwards_per_image": counted.forwards / len(x)}
    with torch.no_grad():
        broken = (compute_logits(model, x_adv).argmax(1) != y) & threat.contains(x_adv, x)
        right = compute_logits(model, x).argmax(1) == y
    return right & ~broken, cost | {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the published networks")
    parser.add_argument("networks", nargs="*", default=list(RADII), help=f"of {', '.join(RADII)}; all by default")
    parser.add_argument("--budget", type=float, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", choices=("run", "keep"), default="run", help="keep: those of --out, if they are there, stay as they are")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/l2.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.networks:
        threat, model = lp.L2(RADII[name]), network(name, arguments.folder).to(device)
        arrays = np.load(arguments.folder / f"{name.partition('-')[0]}-200.npz")
        x, y = torch.from_numpy(arrays["x"]).to(device).float() / 255, torch.from_numpy(arrays["y"]).to(device).long()
        entry = found.get(name, {})
        cpu, began = time.process_time(), time.perf_counter()
        record = lp.audit(model, (x, y), threat=threat, budget=arguments.budget, seed=arguments.seed, progress=False).record
        entry |= {"eps": threat.eps, "clean": record.clean.top1, "hardware": environment.hardware(device)}
        entry["audit"] = {
            "robust": record.robust_accuracy.top1,
            "robust_8_bit": record.robust_accuracy_8_bit.top1,
            "gradients_per_image": record.gradient_evaluations_per_example,
            "forwards_per_image": record.forward_evaluations_per_example,
            "budget": arguments.budget,
            "seed": arguments.seed,
            "verdict": record.verdict,
            "further_breaks": record.further_breaks,
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - began,
            "failed": [finding.check for finding in record.findings if not finding.passed],
        }
        audit = entry["audit"]
        print(f"{name}: audit: {audit['robust']:.1%}, {audit['gradients_per_image']:.0f} gradients and "
              f"{audit['forwards_per_image']:.0f} forwards an image, {audit['verdict']}", flush=True)  # fmt: skip
        if arguments.peers == "run":
            peers = {**(foolbox_attacks() if find_spec("foolbox") else {}), **(library_attacks() if find_spec("adv_lib") else {})}
            left, entry["peers"] = torch.ones_like(y, dtype=torch.bool), {}
            for peer, attack in peers.items():
                correct, cost = correct_under(attack, model, x, y, threat)
                left &= correct
                entry["peers"][peer] = {"robust": correct.double().mean().item(), **cost}
                print(f"{name}: {peer}: {entry['peers'][peer]['robust']:.1%}, {cost['gradients_per_image']:.0f} gradients", flush=True)
            entry["peers_together"] = left.double().mean().item()
        found[name] = entry
        atomic_write(arguments.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
