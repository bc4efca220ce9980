"""A folder that holds a network as hubs keep one: ``config.json`` beside its weights. Reading it runs nothing of its author's."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import nn

import logitpair
from logitpair.errors import InputError, first_line, raised
from logitpair.models.normalized import Normalized
from logitpair.models.pretrained import require_timm
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.weights import load_weights, read_weights

CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")  # the second by older tools, read as weights alone
OURS = "logitpair.models."
HUB = "hf:"


class Architecture(NamedTuple):
    """A network of ``logitpair.models`` without its weights: the import path of its class, and the arguments of that."""

    class_path: str
    init_args: Mapping[str, Any]


def write_package(folder: Path, architecture: Architecture, model: nn.Module, shape: tuple[int, ...], crop_pct: float = 1.0) -> None:
    """Write the two files into a folder, which is made; ``shape`` is that of an image, ``crop_pct`` how much of a photo is in it.

    Raises:
        InputError: for a network whose class is none of ``logitpair.models``, by which no folder is read.
    """
    if not architecture.class_path.startswith(OURS):
        why = f"{architecture.class_path} is none of {OURS}*, and a folder is read by those alone"
        raise InputError(f"--format safetensors: {why}; accepted: torch-export, onnx")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = {"library_name": "logitpair", "logitpair_version": logitpair.__version__, **architecture._asdict()}
    content["pretrained_cfg"] = {"input_size": list(shape), "crop_pct": crop_pct, "interpolation": "bilinear"}  # as timm notes it
    atomic_write(folder / WEIGHTS[0], safetensors.torch.save(tensors, metadata={"format": "pt"}))
    atomic_write(folder / CONFIG, json.dumps(content, indent=2) + "\n")


def package_folder(name: str, option: str = "--model") -> Path | None:
    """The folder that an option names by its path or as ``hf:OWNER/NAME[@REVISION]``, which is fetched; None for another kind of name.

    Raises:
        InputError: for what the hub does not have, or a hub out of reach.
    """
    if not name.startswith(HUB):
        return Path(name) if name and (Path(name) / CONFIG).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, revision = name.removeprefix(HUB).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(f"{option}: '{name}' is not accepted; accepted: {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION")
    try:
        folder = Path(hf_hub_download(repository, CONFIG, revision=revision or None)).parent
        try:
            hf_hub_download(repository, WEIGHTS[0], revision=revision or None)
        except EntryNotFoundError:
            hf_hub_download(repository, WEIGHTS[1], revision=revision or None)
    except Exception as error:  # the library and those below it raise what they like
        instead = "where there is no network, give the folder of the two files"
        raise InputError(f"{option}: cannot fetch {CONFIG} and {WEIGHTS[0]} of '{name}' ({first_line(error)}); {instead}") from error
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``config.json``."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--model: '{folder / CONFIG}' is no JSON") from error
    return config if isinstance(config, dict) else {}


def published_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``config.json`` notes of how images are cut and normalised for its network."""
    published = config.get("pretrained_cfg")
    return published if isinstance(published, dict) else {}


def weights_file(folder: Path) -> Path:
    """The file of a folder's weights."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / WEIGHTS[0])


def read_package(folder: Path) -> nn.Module:
    """The network of such a folder: one that ``write_package`` wrote, or one of timm in the layout of its own hub.

    Raises:
        InputError: naming ``--model``, for files that are missing or damaged, other layouts, and weights that do not fit.
    """
    config = read_config(folder)
    network, weighted = _of_timm(config) if isinstance(config.get("architecture"), str) else _of_ours(config, folder)
    path = weights_file(folder)
    try:
        load_weights(weighted, read_weights(path), path)
    except InputError as error:
        raise InputError(f"--model: {error}") from error
    return network


def _of_ours(config: Mapping[str, Any], folder: Path) -> tuple[nn.Module, nn.Module]:
    path, arguments = config.get("class_path"), config.get("init_args")
    name = path.removeprefix(OURS) if isinstance(path, str) and path.startswith(OURS) else ""
    network = vars(logitpair.models).get(name)
    if not (isinstance(network, type) and issubclass(network, nn.Module)) or not isinstance(arguments, dict):
        accepted = f"a class_path of {OURS}* with init_args, or the architecture of timm's layout"
        raise InputError(f"--model: '{folder / CONFIG}' names no network that can be built; accepted: {accepted}")
    try:
        built = network(**{key: value for key, value in arguments.items() if key != "pretrained"})
    except Exception as error:  # arguments of another version, or of no kind that the class takes
        raise InputError(f"--model: {path} by '{folder / CONFIG}' {raised(error)}") from error
    return built, built


def _of_timm(config: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    name, published, arguments = config["architecture"], published_config(config), config.get("model_args") or {}
    classes = config.get("num_classes", published.get("num_classes"))
    if not isinstance(classes, int) or classes < 2:
        raise InputError(f"--model: {CONFIG} of {name} has no num_classes of at least 2")
    timm = require_timm(name, "--model")
    try:  # arguments of the factory's own are left out, which may read or fetch weights
        kept = {key: value for key, value in arguments.items() if key not in inspect.signature(timm.create_model).parameters}
        network = timm.create_model(name, **kept | {"num_classes": classes})
        noted = network.default_cfg | published
        return Normalized(network, noted["mean"], noted["std"]), network
    except Exception as error:  # arguments of another version, or of no kind that the network takes
        raise InputError(f"--model: timm's {name} by {CONFIG} {raised(error)}") from error
