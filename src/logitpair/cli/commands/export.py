"""``logitpair export``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_choice, check_file, random_images, refuse_given
from logitpair.errors import InputError

COMPARED = 8  # images


def add_arguments(parser: ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument(
        "--format",
        type=str,
        default="safetensors",
        help="safetensors, a folder of config.json and model.safetensors; torch-export, one file with the network's code; onnx, one file "
        "for other runtimes; or robustbench, the record of an audited run for its model_info",
    )
    add_options(parser, "out", help="where to; RUN/exported, RUN/exported.pt2, RUN/exported.onnx or RUN/model_info.json by default")


def add_network(parser: ArgumentParser) -> None:
    """The run whose network is written, and the images that it is compared on."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory that `logitpair train` wrote")
    add_options(parser, "checkpoint", help="last, or best by white-box accuracy on held-out training images (default: last)")
    add_options(parser, "data-dir", help="folder of the data set, whose test images it is compared on; instead of the run's")
    parser.add_argument("--shape", type=str | None, default=None, help="of an image, such as 3x32x32, where the data set is not at hand")


def run(arguments: Namespace) -> None:
    """Write the network, read it back, and compare; or the record of its results."""
    check_choice("format", arguments.format, ("safetensors", "torch-export", "onnx", "robustbench"))
    from logitpair.cli.terminal import console, print_next

    if arguments.format == "robustbench":
        console.print(f"Wrote {_record(arguments)}; null are what you know, and autoattack_acc, which RobustBench's benchmark() fills in")
        return
    out = write(arguments)
    console.print(f"Wrote {out}, whose logits on {COMPARED} images are those of the run")
    size = ("--size", "SIZE") if arguments.format == "torch-export" else ()  # the other two say it
    print_next("logitpair", "audit", "--model", out, *size, "--data-dir", "PHOTOS", "--eps", "EPS")


def write(arguments: Namespace) -> Path:
    """Write the network as the arguments say, and return where."""
    check_choice("checkpoint", arguments.checkpoint, ("last", "best"))
    import torch

    from logitpair.data import batches
    from logitpair.runs.export import export_run
    from logitpair.runs.run_directory import load_config

    if arguments.shape is None:
        _, config = load_config(arguments.run, data_dir=arguments.data_dir)
        try:
            x, _ = next(batches(config.data.test(), COMPARED, torch.device("cpu")))
        except InputError as error:
            raise InputError(f"{error}. Without the data set give --shape") from error
    else:
        x = random_images(arguments.shape, COMPARED)
    return export_run(arguments.run, arguments.format, x, out=arguments.out, which=arguments.checkpoint or "last")


def _record(arguments: Namespace) -> Path:
    refuse_given(arguments, ("data_dir", "shape"), "goes with a format of networks; robustbench is one of results")
    check_choice("checkpoint", arguments.checkpoint, ("last", "best"))
    from logitpair.report.records import load_run
    from logitpair.report.text.robustbench import model_info
    from logitpair.runs.run_directory import load
    from logitpair.storage.atomic_files import atomic_write
    from logitpair.storage.model_fingerprint import weights_of

    out: Path = arguments.out or arguments.run / "model_info.json"
    check_file("--out", out, "model_info.json")
    atomic_write(out, model_info(load_run(arguments.run), weights_of(load(arguments.run, which=arguments.checkpoint or "last"))))
    return out
