"""The run directory: its settings, and the network that it holds."""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from logitpair.config import parsing, recipes
from logitpair.config.old_names import modernized
from logitpair.config.parsing import Settings, flatten
from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError
from logitpair.runtime import precision
from logitpair.storage import checkpoint, run_lock
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.remote import place
from logitpair.storage.run_folder import CONFIG, no_run
from logitpair.storage.weights import load_weights, read_weights

RESULT_NEUTRAL = (
    *("data.init_args.root", "evaluation", "workers", "checkpoint_every", "checkpoints_kept", "activation_checkpointing"),
    *("elastic.", "accumulate"),  # half the GPUs take twice the micro-batches, which count as processes, whose number may change as well
)
"""Settings that may change between the parts of one training: they touch the weights no more than the number of processes does.

``compile`` is none of them: it rounds otherwise in every step.
"""


PATHS = ("path", "weights", "run")  # settings of data, fine-tuning and sources that may be one, or a name that only libraries know

Neutral = Callable[[str, Any, Any], bool]
"""Whether a setting, by its name, may have had one value and now have another."""


def _none(*_: object) -> bool:
    return False


def prepare(run: Path, recipe: str, scale: str | None, settings: Settings, neutral: Neutral = _none) -> None:
    """Write ``config.yaml`` into a new run directory, or make sure that an existing one was begun with the same settings.

    Files and folders are written down as absolute paths, so that the run can go on and be evaluated from any folder.

    Raises:
        InputError: for a folder of something else, settings that differ and are not ``neutral``, and a run that another process trains.
    """
    path, settings = run / CONFIG, Settings(settings.config, _absolute(settings.values))
    foreign = run.exists() and any(not file.name.startswith(".") for file in run.iterdir())  # before others write their config.yaml
    if path.exists():
        refuse_other_settings(run, settings, neutral)
    elif foreign:
        raise InputError(f"--out: {run} is not empty and holds no run; give a new folder")
    content = recipes.to_yaml({"recipe": recipe, "run": settings.values, "scale": scale or "paper"})  # last, or a cut might not show
    with run_lock.held(run, shared=settings.config.elastic.workers is not None):  # several elastic workers write the same
        if not path.exists() or path.read_text(encoding="utf-8") != content:  # a finished run may be kept read-only
            atomic_write(path, content)


def refuse_other_settings(run: Path, settings: Settings, neutral: Neutral = _none) -> None:
    """Make sure that a run directory with a ``config.yaml``, if it was begun, was begun with the same settings.

    Raises:
        InputError: for the first setting that differs and is not ``neutral``.
    """
    before = _read(run / CONFIG)["run"]
    results = (run / "training.json", *run.glob("*/results.json"), *run.glob("evaluation/*/results.json"))
    if not any(path.exists() for path in (checkpoint.path_of(run), *results)):  # until then a mistaken setting may be mended
        return
    with _of_file(run / CONFIG):
        change = next((change for change in differing(before, settings) if not neutral(*change)), None)
    if change:
        key, old, now = change
        raise InputError(
            f"--out: {run} was begun with {key} = {old}, now it is {now}; resume with the same settings, or train into another folder"
        )


def as_trained(settings: Settings, device: torch.device) -> Settings:
    """The settings as training on a device writes them down: with the precision that ``auto`` means there."""
    return Settings(settings.config, settings.values | {"precision": precision.name_of(settings.config.precision, device)})


def differing(old: Mapping[str, Any], new: Settings, besides: tuple[str, ...] = ()) -> list[tuple[str, Any, Any]]:
    """Names, old and new values of the settings that differ between the ``run`` of a ``config.yaml`` and ``new``.

    Those of ``RESULT_NEUTRAL`` are left out, and so are those ``besides``.
    """
    if old == new.values:
        return []
    before, now = flatten(_absolute(parsing.resolve(old).values)), flatten(_absolute(new.values))  # with defaults added since
    keys = [key for key in sorted(before.keys() | now.keys()) if not key.startswith((*RESULT_NEUTRAL, *besides))]
    return [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def load_config(run: Path, *, data_dir: Path | None = None) -> tuple[dict[str, Any], RunConfig]:
    """The content of a run's ``config.yaml`` and the settings it describes, with the data in ``data_dir`` if given."""
    path = run / CONFIG
    if not path.is_file():
        raise no_run(run, f"holds no {CONFIG}")
    content = _read(path)
    network = content["run"]["model"].get("init_args") or {}
    if network.get("pretrained"):
        network["pretrained"] = False  # the run's own weights replace them
    with _of_file(path):
        return content, parsing.resolve(content["run"], data_dir=data_dir).config


def load(run: Path | str, *, which: Literal["last", "best"] = "last", device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run, in eval mode, ready for any library: images in [0, 1] to logits.

    The moving average of the weights is loaded where the run kept one.

    Args:
        run: a run directory.
        which: the last checkpoint, or the one with the best white-box accuracy on held-out training images.
        device: where to put the network.

    Raises:
        InputError: if the directory holds no run, or its checkpoint is missing, damaged or of another network.
    """
    return load_network(Path(run), load_config(Path(run))[1], which, device)


def load_network(run: Path, config: RunConfig, which: Literal["last", "best"], device: torch.device | str) -> nn.Module:
    """``load``, for a run whose settings are known."""
    path = checkpoint.path_of(run, which)
    model = config.network()
    load_weights(model, read_weights(path), path)
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@contextmanager
def _of_file(path: Path) -> Generator[None]:
    """A block in which the refusal of a setting, other than one of the command line, names the file that holds it."""
    try:
        yield
    except InputError as error:
        if str(error).startswith("--"):
            raise
        raise InputError(f"'{path}': {error}") from error


def _read(path: Path) -> dict[str, Any]:
    content = recipes.read_yaml(path)
    run = content.get("run") if isinstance(content, dict) else None
    if not isinstance(run, dict) or not all(isinstance(content.get(key), str) for key in ("recipe", "scale")):
        raise InputError(f"'{path}' is damaged or not the config of a run")
    required = [field.name for field in fields(RunConfig) if field.default is field.default_factory is MISSING]
    missing = [name for name in required if name not in run] or [name for name in ("data", "model") if not isinstance(run[name], dict)]
    if missing or not path.read_bytes().endswith(b"\n"):  # a file that was cut short may still be YAML
        why = f"has no {missing[0]!r}, or only a part of it" if missing else "ends within a line; if it is whole, add a line break"
        raise InputError(f"'{path}' is damaged: it {why}")
    return content | {"run": modernized(content["run"])}


def _absolute(tree: Any, key: str = "") -> Any:
    """Nested settings with absolute paths, and URLs as they are."""
    if isinstance(tree, dict):
        return {name: _absolute(part, name) for name, part in tree.items()}
    if isinstance(tree, list):
        return [_absolute(part) for part in tree]
    is_path = isinstance(tree, str) and tree and (key == "root" or (key in PATHS and Path(tree).exists()))
    where = place(tree) if is_path else tree
    return os.path.abspath(where) if isinstance(where, Path) else where
