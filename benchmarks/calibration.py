"""What the audit says of networks whose truth is known: masked on purpose, at several radii, and honest.

    python benchmarks/calibration.py
    python benchmarks/calibration.py --only k-winners plain --seeds 0 --radii 0.04 0.2

Networks of scikit-learn's digits, each trained here in seconds. The reference attack is PGD with 40 steps of a tenth of eps on the very
network, as whoever proposed the mask would claim it. Two counts must be 0:

- ``wrongly_trusted``: masked networks that are called trustworthy though the reference number does not hold.
- ``false_alarms``: honest networks called ``inconclusive``, or ``overestimated`` though the reference number holds. The second would be a
  fault of the audit's arithmetic: the images that it broke are verified, and count as known.

The reference number holds where it is less than 3 points above what is left by everything that is known: what the audit found and, of a
masked network, images found on the network without its mask (or, where the mask was trained, on a plain one), of an honest network PGD with
ten restarts of 50 steps. All of it is verified on the network itself. A mask may hide nothing at some radius: then it is rightly trusted.
Where the audit is ``inconclusive`` because its budget is spent, its advice is followed: it is repeated with ten times as much, and that
verdict counts. What is done is written at once, and the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))  # the masks are those of the tests

from masks import FUNCTIONS, TRAINED, fit, masked, of, plain, small

import logitpair as lp
from logitpair.attacks import PGD, DiversifiedPGD
from logitpair.auditing.verdict import MATERIAL
from logitpair.losses import misclassification_margin
from logitpair.models.inference import compute_logits, predict
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

RADII = (0.04, 0.08, 0.12, 0.16, 0.2)
TRAINING = PGD(lp.Linf(0.2), step_size=0.07, steps=5)
AGAIN = 10  # times the budget, for an audit that its budget left inconclusive
MANY = 200  # classes of the synthetic images
Images = tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*FUNCTIONS, *TRAINED, *HONEST]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NETWORK", help=f"of: {', '.join(names)}")
    parser.add_argument("--radii", type=float, nargs="+", default=list(RADII))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the training and of the audit")
    parser.add_argument("--examples", type=int, default=150, help="the first N test images, at most 300")
    parser.add_argument("--budget", type=float, default=1000, help="gradients an image may cost; Square is expensive on few")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/calibration.json"))
    arguments = parser.parse_args()
    if not all(0 < eps <= 1 for eps in arguments.radii):
        parser.error(f"--radii: {' '.join(map(str, arguments.radii))}; accepted: numbers above 0 and at most 1")
    settings = {"examples": arguments.examples, "budget": arguments.budget, "again_with": AGAIN * arguments.budget}
    try:
        found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    except ValueError:
        parser.error(f"--out: '{arguments.out}' is damaged; move it away, or name another file")
    if found.setdefault("settings", settings) != settings:
        parser.error(f"--out: '{arguments.out}' holds audits of other settings, {found['settings']}; give those, or name another file")
    found.setdefault("audits", {})
    found |= {"versions": environment.versions(), "hardware": environment.hardware(torch.device("cpu"))}
    warnings.filterwarnings("ignore", "model: returns probabilities")
    for name in arguments.only:
        for seed in arguments.seeds:
            for eps in arguments.radii:
                key = f"{name}, eps {eps:g}, seed {seed}"
                if key not in found["audits"]:
                    found["audits"][key] = calibrate(name, eps, seed, arguments.examples, arguments.budget)
                    found |= counts(found["audits"].values())
                    atomic_write(arguments.out, json.dumps(found, indent=1) + "\n")
                print(line(found["audits"][key]), flush=True)
    for count in ("masked", "trusted", "wrongly_trusted", "honest", "false_alarms"):
        print(f"{count:16} {found[count]}")
    print(table(found["audits"].values()))
    sys.exit(bool(found["wrongly_trusted"] or found["false_alarms"]))


def calibrate(name: str, eps: float, seed: int, examples: int, budget: float) -> dict:
    """One audit, and what is known of the network besides."""
    honest = name in HONEST
    model, (x, y) = HONEST[name](seed) if honest else (masked(name, seed), digits(lp.data.Digits().test()))
    x, y, threat = x[:examples], y[:examples], lp.Linf(eps)
    began = time.process_time()
    reference = PGD(threat, step_size=eps / 10, steps=40)
    at_first: dict[str, str] = {}
    for allowed in (budget, AGAIN * budget):
        torch.manual_seed(seed)  # of the masks that are random
        audit = lp.audit(model, (x, y), threat=threat, reference_attack=reference, budget=allowed, seed=seed, progress=False).results
        if not (audit["verdict"] == "inconclusive" and audit["stop_reason"] in audit["reason"]):
            break
        at_first = at_first or {"at_first": audit["reason"]}
    seconds = time.process_time() - began
    claimed, audited = audit["reference"]["top1"], audit["robust_accuracy"]["top1"]
    known = min(audited, left_correct(model, x, y, threat, None if honest else plain(seed)))
    return {
        "network": name,
        "eps": eps,
        "seed": seed,
        "budget": audit["budget"],
        **at_first,
        "honest": honest,
        "verdict": audit["verdict"],
        "reason": audit["reason"],
        "claimed": claimed,
        "audited": audited,
        "known": known,
        "holds": round(claimed - known, 9) < MATERIAL,
        "failed": [finding["check"] for finding in audit["findings"] if not finding["passed"]],
        "cpu_seconds": round(seconds, 2),
    }


def left_correct(model: nn.Module, x: Tensor, y: Tensor, threat: lp.Linf, without_mask: nn.Module | None) -> float:
    """The accuracy that many restarts of PGD leave the model, or images found on the network without its mask."""
    if without_mask is None:
        attack = PGD(threat, step_size=threat.eps / 10, steps=50, restarts=10, loss=misclassification_margin)
    else:
        attack = DiversifiedPGD(threat, steps=50, restarts=2).without_early_stop()
    x_adv = attack(without_mask or model, x, y, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = (predict(compute_logits(model, x)) == y) & (predict(compute_logits(model, x_adv)) == y)
    return right.float().mean().item()


def counts(audits: Iterable[dict]) -> dict[str, int]:
    """How many masked and honest networks there are, and how many of them were wrongly trusted or accused."""
    done = list(audits)
    trusted = [audit for audit in done if not audit["honest"] and audit["verdict"] == "trustworthy"]
    return {
        "masked": sum(not audit["honest"] for audit in done),
        "trusted": len(trusted),
        "wrongly_trusted": sum(wrong(audit) for audit in trusted),
        "honest": sum(audit["honest"] for audit in done),
        "false_alarms": sum(wrong(audit) for audit in done if audit["honest"]),
    }


def wrong(audit: dict) -> bool:
    """Whether the verdict is a mask wrongly trusted or a false alarm."""
    if not audit["honest"]:
        return audit["verdict"] == "trustworthy" and not audit["holds"]
    return audit["verdict"] == "inconclusive" or (audit["verdict"] == "overestimated" and audit["holds"])


def line(audit: dict) -> str:
    """A row of the table."""
    numbers = "  ".join(f"{name} {100 * audit[name]:5.1f}" for name in ("claimed", "audited", "known"))
    mark = f", a budget of {audit['budget']:g}" + " <- WRONG" * wrong(audit)
    where = f"{audit['network']:24} eps {audit['eps']:<5g} seed {audit['seed']}"
    return f"{where}  {audit['verdict']:13}  {numbers}  {audit['cpu_seconds']:5.1f} s  {', '.join(audit['failed'])}{mark}"


def table(audits: Iterable[dict]) -> str:
    """In Markdown a row a network and a column a radius: the first letter of each seed's verdict, in capitals where it is wrong."""
    done = sorted(audits, key=lambda audit: (audit["honest"], audit["seed"]))
    radii = sorted({audit["eps"] for audit in done})
    letters: dict[str, dict[float, str]] = {}
    for audit in done:
        letter = audit["verdict"][0].upper() if wrong(audit) else audit["verdict"][0]
        row = letters.setdefault(audit["network"], dict.fromkeys(radii, ""))
        row[audit["eps"]] += letter
    rows = [
        ["network", *(f"eps {eps:g}" for eps in radii)],
        ["---"] * (1 + len(radii)),
        *([name, *row.values()] for name, row in letters.items()),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def digits(images: lp.data.MemoryImages) -> Images:
    return images.images.float() / 255, images.labels


def trained(
    objective: lp.objectives.Objective, steps: int, model: Callable[[], nn.Module] = small
) -> Callable[[int], tuple[nn.Module, Images]]:
    """An honest network of the digits and its test images, by a seed."""

    @cache
    def of_seed(seed: int) -> tuple[nn.Module, Images]:
        return fit(model, of(objective), steps=steps, seed=seed), digits(lp.data.Digits().test())

    return of_seed


@cache
def two_classes(seed: int) -> tuple[nn.Module, Images]:
    """Odd digits and even ones."""
    parts = (digits(part) for part in (lp.data.Digits().train(), lp.data.Digits().test()))
    train, test = ((x, y % 2) for x, y in parts)
    return fit(
        lambda: lp.models.SmallConvNet(classes=2, width=8), of(lp.objectives.StandardTraining()), steps=200, seed=seed, data=train
    ), test


@cache
def many_classes(seed: int) -> tuple[nn.Module, Images]:
    """One random pattern a class, and noise on it."""
    seeded = torch.Generator().manual_seed(seed)
    patterns, labels = torch.rand(MANY, 1, 8, 8, generator=seeded), torch.randint(MANY, (4000,), generator=seeded)
    x = (patterns[labels] + 0.2 * torch.randn(4000, 1, 8, 8, generator=seeded)).clamp(0, 1)
    objective = of(lp.objectives.StandardTraining())
    model = fit(lambda: lp.models.SmallConvNet(classes=MANY, width=8), objective, steps=400, seed=seed, data=(x[300:], labels[300:]))
    return model, (x[:300], labels[:300])


HONEST: dict[str, Callable[[int], tuple[nn.Module, Images]]] = {
    "plain": trained(lp.objectives.StandardTraining(), 150),
    "M-PGD": trained(lp.objectives.AdversarialTraining(TRAINING), 300),
    "ALP": trained(lp.objectives.AdversarialLogitPairing(TRAINING), 300),
    "TRADES": trained(lp.objectives.TRADES(TRAINING), 300),
    "label smoothing": trained(lp.objectives.StandardTraining(label_smoothing=0.1), 200),
    "BatchNorm RevNet": trained(lp.objectives.StandardTraining(), 150, lambda: lp.models.RevNet9(channels=1, width=8)),
    "BatchNorm RevNet, M-PGD": trained(lp.objectives.AdversarialTraining(TRAINING), 200, lambda: lp.models.RevNet9(channels=1, width=8)),
    "2 classes": two_classes,
    "200 classes": many_classes,
}


if __name__ == "__main__":
    main()
