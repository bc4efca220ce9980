"""A run's record in the form of RobustBench's ``model_info``, as far as a run can fill it in."""

import json

from logitpair.errors import InputError
from logitpair.report.records import Run
from logitpair.report.text.format import Ball, call, interval, percent
from logitpair.report.text.model_card import results_of
from logitpair.storage.results import Accuracy

DATA_SETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet": "imagenet"}


def model_info(run: Run, weights: str) -> str:
    """The record as JSON, of an audited run.

    ``reported`` is what the audit left, and the footnote says so. ``autoattack_acc`` is left to RobustBench's own ``benchmark``, which
    adds it to such a file, and the paper's title, authors, venue and address to whoever submits it.

    Args:
        run: the run, audited.
        weights: a SHA-256 of the network's parameters and buffers, as ``weights_of`` gives it.

    Raises:
        InputError: for a run that has no audit, results of other weights, and data or a norm that RobustBench has no table for.

    Source: the class ``ModelInfo`` of RobustBench (arXiv 2010.09670), version 1.1, and its files in ``model_info``.
    """
    audit = run.audit
    if audit is None:
        raise InputError(f"RUN: '{run.path}' has no audit; run `logitpair audit {run.path}` first")
    results_of(run, weights)
    ball, data = Ball.of(audit.threat), audit.data.name if audit.data else "no known data set"
    if data not in DATA_SETS or ball is None or ball.norm not in ("Linf", "L2"):
        raise InputError(f"--format robustbench: {data} under {call(audit.threat)} has no table there; accepted: {', '.join(DATA_SETS)}")
    model = run.settings.get("model") or {}
    elsewhere = (model.get("init_args") or {}).get("pretrained") or (run.settings.get("fine_tuning") or {}).get("weights")
    left = (
        f"{percent(audit.robust_accuracy.top1)} robust accuracy (95% interval {interval(audit.robust_accuracy)}, "
        f"{audit.robust_accuracy.total:,} images) is what an audit by logitpair left, not AutoAttack; its verdict: {audit.verdict}."
    )
    content = {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": bool(elsewhere),  # weights that others trained have seen their data
        "number_forward_passes": 1,
        "dataset": DATA_SETS[data],
        "venue": None,
        "architecture": call(model) if model else audit.model,
        "eps": ball.radius,
        "clean_acc": _hundredths(audit.clean),
        "reported": _hundredths(audit.robust_accuracy),
        "autoattack_acc": None,
        "footnote": left,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _hundredths(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.top1:.2f}"
