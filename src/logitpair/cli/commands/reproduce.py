"""``logitpair reproduce``"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, add_running, check_folder, check_options, check_writable, device_of, suggestion
from logitpair.config import recipes
from logitpair.errors import InputError
from logitpair.reproduction.paper import TARGETS
from logitpair.storage import run_lock

if TYPE_CHECKING:
    from logitpair.reproduction.plan import Plan, Step

logger = logging.getLogger("logitpair")
ALL = "all"
MOST = 1000  # seeds
KINDS = ("train", "evaluate", "audit")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("targets", nargs="+", type=str, metavar="TARGET", help=f"{', '.join(TARGETS)}, or {ALL} of them")
    add_options(
        parser, "data-dir", help="folder of the data set, or one that holds mnist, svhn, imagenet and tiny-imagenet-20 (default: data)"
    )
    add_options(parser, "scale", help="smoke, cpu or paper (default: paper, for GPUs)")
    add_options(parser, "out", type=Path, default=Path("reproduce"), help="folder of the runs, which targets share, and of the pages")
    parser.add_argument(
        "--records",
        type=Path | None,
        default=None,
        help="folder of what is recorded of runs, without weights: what it holds is not done again, and what is new is written there too "
        "(default: all is done, and written to OUT/results)",
    )
    add_running(parser, seeds="trainings of each network, with seeds from 0 on")
    parser.add_argument("--dry-run", action="store_true", help="print what is left to do, and how long it takes as far as that is known")


def run(arguments: Namespace) -> None:
    """Do what is not finished, record all of it, and write a page for each target."""
    scale, out = arguments.scale or "paper", arguments.out
    names = _targets(arguments.targets, scale)
    check_folder(out)
    check_folder(arguments.records, "--records")
    check_options(arguments)
    if arguments.seeds > MOST:
        raise InputError(f"--seeds: {arguments.seeds} trainings of each network; accepted: at most {MOST:,}")
    device = device_of(arguments.device)
    from logitpair.report.pages.reproduction_page import Section
    from logitpair.reproduction.carry_out import carry_out, prepare
    from logitpair.reproduction.plan import Plan

    plan = Plan(
        targets=names,
        scale=scale,
        seeds=arguments.seeds,
        out=out,
        records=arguments.records,
        data_dir=arguments.data_dir,
        device=device.type,
    )
    for name in names:
        Section.read(TARGETS[name], scale, plan.records_folder)  # what no page can be made of is said before hours of work
    if arguments.dry_run:
        _print_left(plan)
        return
    check_writable(out / scale)
    if plan.to_measure:
        check_writable(plan.records_folder, "--records" if arguments.records else "--out")
    with run_lock.held(out):
        prepare(plan, device)
        try:
            failed = carry_out(plan, jobs=arguments.jobs, device=device)
        except (InputError, KeyboardInterrupt):
            apart = [replace(plan, targets=[name]) for name in names]
            _write([each for each in apart if not each.left()])  # what is missing of others takes nothing from these
            raise
        _write([replace(plan, targets=[name]) for name in names])
    if failed:
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise ArithmeticError(f"{len(failed)} of {len(plan.steps())} steps failed: {why}")


def _write(plans: Sequence[Plan]) -> None:
    """Record what each plan has measured, and write the page of its one target."""
    from logitpair.cli.terminal import console
    from logitpair.report.pages.reproduction_page import write_target
    from logitpair.reproduction.plan import RECORD_OF
    from logitpair.reproduction.record_files import keep, keep_sweep

    for plan in plans:
        partial = [(step.run, RECORD_OF[step.kind]) for step in plan.left().values()]
        for run in plan.to_measure:
            besides = [kind for each, kind in partial if each == run]
            keep(plan.folder(run), plan.records_folder / run.path(plan.scale), besides=besides)
        (name,) = plan.targets
        for recipe in TARGETS[name].swept_recipes:
            if swept := [run for run in plan.to_measure if run.recipe == recipe]:
                keep_sweep(swept, plan.scale, plan.out / "runs", plan.records_folder)
        for path in write_target(TARGETS[name], plan.scale, plan.records_folder, plan.out / plan.scale / f"{name}.html"):
            console.print(f"Wrote {path}")


def _targets(given: Sequence[str], scale: str) -> list[str]:
    """The targets by name; with ``all`` those whose recipes have the scale."""
    for name in given:
        if name not in (ALL, *TARGETS):
            raise InputError(f"reproduce: no '{name}'; {suggestion(name, [*TARGETS, ALL])}")
    if ALL not in given:
        return list(dict.fromkeys(given))
    has = {name: all(scale in ("paper", *recipes.load(row.recipe).scales) for row in target.rows) for name, target in TARGETS.items()}
    if not any(has.values()):
        raise InputError(f"--scale: no recipe has a scale '{scale}'; accepted: smoke, cpu, paper")
    if left_out := [name for name in TARGETS if not has[name]]:
        logger.info(f"all: without {', '.join(left_out)}, whose recipes have no scale '{scale}'")
    return [name for name in TARGETS if has[name]]


def _print_left(plan: Plan) -> None:
    """What there is to do for each run, and how long all of it takes."""
    from logitpair.cli.terminal import console, print_rows
    from logitpair.report.text.format import duration
    from logitpair.storage import checkpoint

    def words(step: Step) -> str:
        seconds = plan.seconds(step)
        took = "time unknown" if seconds is None else f"about {duration(seconds)}"
        begun = step.kind == "train" and checkpoint.path_of(plan.folder(step.run)).exists()
        return "finished" if step.done else f"goes on, {took} in all" if begun else took

    steps = plan.steps()
    rows: dict[str, dict[str, str]] = {}
    for run in plan.recorded:
        audit = "recorded" if plan.measurements[run].audited else "-"
        rows[str(run.path(plan.scale))] = {"train": "recorded", "evaluate": "recorded", "audit": audit}
    for step in steps:
        rows.setdefault(str(step.run.path(plan.scale)), dict.fromkeys(KINDS, "-"))[step.kind] = words(step)
    print_rows(("run", *KINDS), ([name, *cells.values()] for name, cells in rows.items()))
    if plan.records:
        there = "" if plan.records.exists() else ", which does not exist,"
        console.print(
            f"{len(plan.recorded)} of {len(plan.measurements)} runs are recorded in {plan.records}{there} and not measured again."
        )
    left = [plan.seconds(step) for step in steps if not step.done]
    known = [seconds for seconds in left if seconds is not None]
    console.print(f"{len(steps) - len(left)} of {len(steps)} steps are finished; left: {len(left)}.")
    if known:
        console.print(f"About {duration(sum(known))} for {len(known)}, one after the other, by what runs of the same recipes took.")
    if len(known) < len(left):
        console.print(f"The time of {len(left) - len(known)} is not known: no such run is in {plan.out} or {plan.records_folder}.")
