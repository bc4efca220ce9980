"""Checkpoints: written whole or not at all, read without running code, rotated."""

import errno
import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from logitpair.errors import InputError, is_out_of_memory
from logitpair.storage.atomic_files import atomic_write

FORMAT = 1
WITHOUT_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)  # where a file has one name


def path_of(run: Path, which: str = "last") -> Path:
    """A run's checkpoint, ``last`` or ``best``; where ``last.pt`` is gone the newest of those beside it, with a warning."""
    path = run / "checkpoints" / f"{which}.pt"
    numbered = sorted(path.parent.glob("step-*.pt")) if which == "last" and not path.exists() else []
    if numbered:
        warnings.warn(f"'{path}' is missing; the newest checkpoint beside it, {numbered[-1].name}, takes its place", stacklevel=1)
    return numbered[-1] if numbered else path


def save(folder: Path, state: dict[str, Any], step: int, keep: int, best: bool = False) -> Path:
    """Write ``folder/step-N.pt``, point ``last.pt`` (and ``best.pt``) at it, and delete all but the ``keep`` latest.

    ``state`` holds tensors and plain values only, so that it loads with ``weights_only=True``. If writing fails, earlier checkpoints are
    untouched.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "step": step, **state}, buffer)
    path = folder / f"step-{step:09d}.pt"
    atomic_write(path, buffer.getbuffer())
    if best:
        _link(path, folder / "best.pt")
    _link(path, folder / "last.pt")  # at the end: a run resumes from it, and then does again what may be missing
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink(missing_ok=True)  # another process of an elastic team may delete the same
    return path


def _link(path: Path, name: Path) -> None:
    """Make ``name`` another name of the file ``path``, atomically; being a hard link, it survives the rotation.

    It is a copy where the file system knows no hard links, as those of memory sticks and of some networks.
    """
    with tempfile.TemporaryDirectory(dir=name.parent, prefix=f".{name.name}.") as folder:
        try:
            os.link(path, Path(folder) / name.name)
            os.replace(Path(folder) / name.name, name)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            atomic_write(name, path.read_bytes())


def before(path: Path) -> str:
    """What to say of a damaged ``last.pt``, or of what takes its place, beside which there are others; nothing of any other file."""
    is_next = path.name == "last.pt" or (path.match("step-*.pt") and not (path.parent / "last.pt").exists())
    numbered = sorted(path.parent.glob("step-*.pt")) if is_next else []
    others = [other for other in numbered if not other.samefile(path)]
    same = [f"{other.name}, which is the same file" for other in numbered if other.samefile(path) and other != path]
    deleted = " and ".join(["it", *same])
    return f" (delete {deleted}, and the newest checkpoint beside it, {others[-1].name}, takes its place)" if others else ""


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; refused if it is missing, truncated or none of logitpair."""
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"checkpoint: no file '{path}'") from error
    try:
        with file:
            state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        if is_out_of_memory(error):
            raise
        raise InputError(f"checkpoint: '{path}' is truncated or not a checkpoint of logitpair{before(path)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"checkpoint: '{path}' is not a checkpoint of logitpair (format {FORMAT})")
    return state
