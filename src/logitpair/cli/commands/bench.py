"""``logitpair bench``"""

import json

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_choice, check_folder, check_options, device_of
from logitpair.errors import InputError

NETWORKS = ("lenet", "resnet18", "resnet50")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--network",
        type=str,
        default="all",
        help="lenet, resnet18 (64x64) or resnet50 (224x224, an hour on a CPU), untrained; all: the first two and, on a GPU, the third",
    )
    parser.add_argument("--steps", type=str, default="10,40", help="of PGD, with commas between them")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, each of which times everything once")
    add_options(parser, "batch-size", type=int | None, metavar="N", help="images attacked together (default: 256, and 64 of ResNets)")
    add_options(parser, "device")
    add_options(parser, "out", help="folder for bench.json, and the figure bench.png")


def run(arguments: Namespace) -> None:
    """Measure, print a table, and write what ``--out`` asks for."""
    check_options(arguments)
    check_choice("network", arguments.network, (*NETWORKS, "all"))
    check_folder(arguments.out)
    steps = arguments.steps.split(",")
    if not all(number.isdecimal() and int(number) for number in steps):
        raise InputError(f"--steps: '{arguments.steps}' is not accepted; accepted: whole numbers above 0 with commas, such as 10,40")
    from logitpair.benchmark import attack_speed
    from logitpair.cli.terminal import console, print_rows
    from logitpair.report.figures.speed_figure import speed_figure
    from logitpair.storage.atomic_files import atomic_write

    device = device_of(arguments.device)
    every = NETWORKS if device.type == "cuda" else NETWORKS[:2]
    chosen = every if arguments.network == "all" else (arguments.network,)
    measured = attack_speed.measure_attacks(
        [attack_speed.NETWORKS[name] for name in chosen],
        [int(number) for number in steps],
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
        device=device,
    )
    print_rows(attack_speed.COLUMNS, [row for case in measured.cases for row in case.rows()])
    hardware = measured.record["hardware"]
    threads = f", {hardware['threads']} threads" if "threads" in hardware else ""
    where = f"{hardware['name']} ({hardware['device']}{threads})"
    console.print(f"Seconds of an attack on {where}, in float32 where nothing else is said, without early stopping")
    if measured.absent:
        console.print(f"Not installed or not to be imported, and left out: {', '.join(measured.absent)}")
    for name, reason in measured.failed.items():
        console.print(f"{name} cannot attack here and is left out: {reason}")
    if arguments.out is not None:
        for name, content in (("bench.json", json.dumps(measured.record, indent=2) + "\n"), ("bench.png", speed_figure(measured.record))):
            atomic_write(arguments.out / name, content)
            console.print(f"Wrote {arguments.out / name}")
