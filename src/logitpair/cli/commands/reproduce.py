"""``logitpair reproduce``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, add_running, check_folder, check_options
from logitpair.config import recipes
from logitpair.errors import InputError

TARGETS = ("figure1",)
WEIGHT = {"objective.weight": ("0.05", "0.1", "0.2", "0.5", "1", "2")}
# weight 0 is the noise alone, whose runs are the same whichever recipe trains them
SWEEPS = {"mnist-clp": WEIGHT, "mnist-squeezing": WEIGHT, "mnist-noise": {}}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("target", type=str, help=f"what to reproduce: {', '.join(TARGETS)}")
    add_options(parser, "data-dir", "scale")
    add_options(parser, "out", help="folder of the runs, the figure and its table; reproduce/TARGET by default")
    add_options(parser, "seed", help="the first seed")
    add_running(parser, seeds=3)


def run(arguments: Namespace) -> None:
    """Sweep what is not finished, and draw all of it."""
    if arguments.target not in TARGETS:
        raise InputError(f"reproduce: '{arguments.target}' is not available; accepted: {', '.join(TARGETS)}")
    check_options(arguments)
    check_folder(arguments.out)
    from logitpair.cli.commands.sweep import print_sweep, sweep_by
    from logitpair.cli.terminal import console
    from logitpair.report.figures.paper_figure1 import PAPER, TITLE, table
    from logitpair.report.pages.sweep_page import write_sweeps
    from logitpair.report.records import load_sweep
    from logitpair.storage.atomic_files import atomic_write

    for name in SWEEPS:
        recipes.load(name).at_scale(arguments.scale)  # refused before anything is trained
    out = arguments.out or Path("reproduce") / arguments.target
    swept = {out / name: sweep_by(arguments, name, out / name, axes, {}, arguments.seed) for name, axes in SWEEPS.items()}
    text = table([load_sweep(folder) for folder in swept])
    atomic_write(out / "figure1.md", text)
    for path in (out / "figure1.md", *write_sweeps(list(swept), out / "figure1.html", PAPER, TITLE)):
        console.print(f"Wrote {path}")
    console.print(text)
    for folder, results in swept.items():
        print_sweep(results, folder)
