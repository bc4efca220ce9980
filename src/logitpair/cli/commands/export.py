"""``logitpair export``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_choice, random_images
from logitpair.errors import InputError

COMPARED = 8  # images


def add_arguments(parser: ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument(
        "--format",
        type=str,
        default="safetensors",
        help="safetensors, a folder of config.json and model.safetensors; torch-export, one file with the network's code; or onnx, one "
        "file for other runtimes",
    )
    add_options(parser, "out", help="where to; RUN/exported, RUN/exported.pt2 or RUN/exported.onnx by default")


def add_network(parser: ArgumentParser) -> None:
    """The run whose network is written, and the images that it is compared on."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory that `logitpair train` wrote")
    add_options(parser, "checkpoint", help="last, or best by white-box accuracy on held-out training images (default: last)")
    add_options(parser, "data-dir", help="folder of the data set, whose test images it is compared on; instead of the run's")
    parser.add_argument("--shape", type=str | None, default=None, help="of an image, such as 3x32x32, where the data set is not at hand")


def run(arguments: Namespace) -> None:
    """Write the network, read it back, and compare."""
    check_choice("format", arguments.format, ("safetensors", "torch-export", "onnx"))
    out = write(arguments)
    from logitpair.cli.terminal import console, print_next

    console.print(f"Wrote {out}, whose logits on {COMPARED} images are those of the run")
    print_next("logitpair", "audit", "--model", out, "--data-dir", "PHOTOS")


def write(arguments: Namespace) -> Path:
    """Write the network as the arguments say, and return where."""
    check_choice("checkpoint", arguments.checkpoint, ("last", "best"))
    import torch

    from logitpair.data import batches
    from logitpair.runs.export import export_run
    from logitpair.runs.run_directory import load_config

    if arguments.shape is None:
        try:
            x, _ = next(batches(load_config(arguments.run, data_dir=arguments.data_dir)[1].data.test(), COMPARED, torch.device("cpu")))
        except InputError as error:
            raise InputError(f"{error}. Without the data set give --shape") from error
    else:
        x = random_images(arguments.shape, COMPARED)
    return export_run(arguments.run, arguments.format, x, out=arguments.out, which=arguments.checkpoint or "last")
