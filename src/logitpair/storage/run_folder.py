"""What is wrong with a path that should be a run directory. Imports no torch."""

from pathlib import Path

from logitpair.errors import InputError

CONFIG = "config.yaml"


def no_run(path: Path, lacks: str) -> InputError:
    """The error of a path that ``lacks`` something; it names the run around it, or those in it, where there are any."""
    around = next((folder for folder in path.parents if (folder / CONFIG).is_file()), None)
    inside = sorted(config.parent for config in path.glob(f"*/{CONFIG}"))
    if around:
        found = f"'{path}' is a part of a run; give the run, {around}"
    elif inside:
        found = f"'{path}' {lacks}, but there are runs in it; give those, such as {inside[0]}"
    elif path.is_dir():
        found = f"'{path}' {lacks}; give a folder that `logitpair train` wrote"
    else:
        found = f"no folder '{path}'; give one that `logitpair train` wrote"
    return InputError(f"RUN: {found}")
