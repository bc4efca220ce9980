"""The files that faults are planted in, how many each gets, and the tests that should notice, the fastest first.

Each list is one run of pytest, which ends at its first failure; a fault is caught by the first run that fails. Paths are those of
``src/logitpair`` and of the repository.
"""

from __future__ import annotations

ATTACKS = ["tests/unit/attacks", "tests/reference/test_linear.py", "tests/reference/test_suite.py"]
EVALUATION = ["tests/unit/evaluation"]
DEFENSES = [
    "tests/unit/objectives",
    "tests/reference/test_objective_values.py",
    "tests/reference/test_defenses.py",
    "tests/reference/test_pairing_defenses.py",
]


def contract(kind: str) -> list[str]:
    """The contract of one class of attacks or objectives."""
    file = "test_attacks.py" if kind in ("PGD", "APGD", "Square", "DiversifiedPGD") else "test_objectives.py"
    return [f"tests/contract/{file}", "-k", f"{kind}-"]


TARGETS: dict[str, tuple[int, list[list[str]]]] = {
    "threat.py": (9, [["tests/unit/test_threat.py"], ["tests/unit/evaluation/test_verify.py"], contract("PGD")]),
    "losses.py": (12, [["tests/unit/test_losses.py"], [*DEFENSES, "tests/reference/test_apgd.py"]]),
    "rng.py": (5, [["tests/unit/test_rng.py"]]),
    "optim.py": (9, [["tests/unit/test_optim.py"]]),
    "attacks/pgd.py": (10, [ATTACKS, contract("PGD")]),
    "attacks/base.py": (5, [ATTACKS, contract("PGD")]),
    "attacks/apgd.py": (10, [["tests/reference/test_apgd.py"], contract("APGD")]),
    "attacks/square.py": (7, [["tests/reference/test_square.py"], contract("Square")]),
    "attacks/diversified_pgd.py": (5, [["tests/reference/test_diversified_pgd.py"], contract("DiversifiedPGD")]),
    "attacks/targets.py": (3, [["tests/unit/attacks/test_targets.py"]]),
    "attacks/starts.py": (3, [ATTACKS, contract("DiversifiedPGD")]),
    "attacks/shorthand.py": (3, [["tests/unit/attacks/test_shorthand.py"]]),
    "models/inference.py": (3, [["tests/unit/models/test_inference.py"], ["tests/unit/models"], contract("PGD")]),
    "objectives/base.py": (4, [DEFENSES, ["tests/contract"]]),
    "objectives/warmup.py": (3, [DEFENSES, contract("AdversarialTraining")]),
    "objectives/adversarial_training.py": (3, [DEFENSES, contract("AdversarialTraining")]),
    "objectives/adversarial_logit_pairing.py": (3, [DEFENSES, contract("AdversarialLogitPairing")]),
    "objectives/clean_logit_pairing.py": (3, [DEFENSES, contract("CleanLogitPairing")]),
    "objectives/logit_squeezing.py": (2, [DEFENSES, contract("LogitSqueezing")]),
    "objectives/mixup.py": (3, [["tests/reference/test_mixup.py"], contract("Mixup")]),
    "objectives/trades.py": (3, [DEFENSES, contract("TRADES")]),
    "objectives/mart.py": (3, [DEFENSES, contract("MART")]),
    "evaluation/attack_run.py": (7, [EVALUATION]),
    "evaluation/aggregate.py": (7, [EVALUATION]),
    "evaluation/confidence.py": (3, [["tests/unit/evaluation/test_confidence.py"], EVALUATION]),
    "evaluation/resumable.py": (4, [EVALUATION]),
    "evaluation/verify.py": (4, [EVALUATION]),
    "auditing/scheduler.py": (9, [["tests/unit/auditing/test_scheduler.py"]]),
    "auditing/convergence.py": (5, [["tests/unit/auditing/test_convergence.py"]]),
    "auditing/verdict.py": (5, [["tests/unit/auditing/test_verdict.py"]]),
    "auditing/audit_ledger.py": (6, [["tests/unit/auditing/test_audit_ledger.py"], ["tests/unit/auditing/test_audit.py"]]),
    "training/train_step.py": (
        5,
        [["tests/unit/training"], ["tests/integration/test_train.py", "tests/integration/test_many_processes.py"]],
    ),
    "storage/checkpoint.py": (4, [["tests/unit/storage/test_checkpoint.py"]]),
}
