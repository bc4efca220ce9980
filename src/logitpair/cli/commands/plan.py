"""``logitpair plan``"""

import torch
from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_recipe, random_images, recipe_first, suggestion
from logitpair.cli.terminal import console, print_rows
from logitpair.config import recipes
from logitpair.config.parsing import add_settings, build, naming_recipe
from logitpair.config.run_config import RunConfig
from logitpair.data import batches
from logitpair.errors import InputError
from logitpair.training.cost_estimate import GIB, GPUS, run_cost, step_cost

COUNTED = 2  # images that the costs are counted on


def add_arguments(parser: ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("--gpu", type=str, default="h200", help=f"one of {', '.join(GPUS)}")
    parser.add_argument("--gpus", type=int, default=1, help="how many of them, each with a share of every batch")
    parser.add_argument("--share", type=float | None, default=None, help="of its peak that is reached; 0.2 in 16 bits, 0.5 in float32")
    parser.add_argument("--rate", type=float | None, default=None, help="training images a second that one was measured at")
    parser.add_argument("--images", type=int | None, default=None, help="training images, where the data set is not at hand")
    parser.add_argument("--shape", type=str | None, default=None, help="of an image, such as 3x299x299, where the data set is not at hand")
    add_settings(parser)


def expand(arguments: list[str]) -> list[str]:
    return recipe_first(arguments, "plan")


def run(arguments: Namespace) -> None:
    """Count one step, and print what the run costs."""
    gpu, gpus = GPUS.get(arguments.gpu.lower()), arguments.gpus
    if gpu is None:
        raise InputError(f"--gpu: no '{arguments.gpu}' is known; {suggestion(arguments.gpu.lower(), GPUS)}")
    if arguments.share is not None and arguments.rate is not None:
        raise InputError("--share: is what --rate measures; give one of them")
    with naming_recipe(arguments.recipe, recipes.load(arguments.recipe).at_scale(arguments.scale)):
        config = build(arguments, data_dir=arguments.data_dir).config
    x, y, images = _sample(config, arguments.images, arguments.shape)
    console.print(f"Counting one step on {COUNTED} images of {'x'.join(map(str, x.shape[1:]))} ...")
    step = step_cost(config, x, y)
    cost = run_cost(config, step, images, gpu, gpus, share=arguments.share, rate=arguments.rate)
    rows = {
        "GPUs": f"{gpus} x {gpu.name}",
        "parameters": f"{step.parameters:,}",
        "operations a training image, attack included": f"{step.flops / 1e9:,.2f} GFLOP",
        "training": f"{config.epochs:g} epochs of {images:,} images, {cost.steps:,} steps of {config.batch_size:,}",
        "operations of the run": f"{cost.flops / 1e15:,.2f} PFLOP",
        "images a second": f"{cost.images_per_second:,.0f}",
        "time": _duration(cost.seconds),
        "memory on each GPU": f"{cost.memory / GIB:.2f} GiB of {gpu.memory / GIB:.0f}",
        "largest batch that fits": f"{cost.largest_batch:,}",
    }
    print_rows(("what", "how much"), rows.items())
    peak = f"{cost.share:.1%} of the GPU's peak in {'16 bits' if cost.half else 'float32'}"
    if arguments.rate:
        console.print(f"The measured rate is {peak}.")
    elif cost.launched:
        console.print(f"Launching the kernels of so small a network takes longer than the work: {peak}. Larger batches cost nothing more.")
    else:
        console.print(f"{peak} is assumed, not measured: give --rate, the images a second of a short run of yours.")
    if not cost.largest_batch:
        console.print("It does not fit: not even one image does.")
    elif cost.largest_batch < config.batch_size:
        console.print(f"It does not fit: --batch_size {cost.largest_batch} would, or a larger --accumulate, or more GPUs.")


def _sample(config: RunConfig, images: int | None, shape: str | None) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Two images with labels, and how many there are to train on: of the data set, or random ones of ``shape``."""
    if shape is not None:
        if images is None:
            raise InputError("--shape: is for where the data set is not at hand; --images must be given with it")
        return random_images(shape, COUNTED), torch.arange(COUNTED), images
    try:
        dataset = config.data.train()
        x, y = next(batches(dataset, COUNTED, torch.device("cpu")))
    except InputError as error:
        raise InputError(f"{error}. Without the data set give --images and --shape") from error
    return x, y, len(dataset) if images is None else images  # type: ignore[arg-type]


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"
