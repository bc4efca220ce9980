"""What was found out about files once, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from logitpair.storage.atomic_files import read_arrays, write_arrays


def remembered(kind: str, of: str, find: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """What ``find`` returns, or what it returned before for the same ``of``, in this process or in another.

    It is kept in ``$XDG_CACHE_HOME/logitpair``, by default ``~/.cache/logitpair``; where that cannot be written it is found anew.

    Args:
        kind: what is found out.
        of: all that the arrays depend on, such as the files' names, sizes and times of change.
        find: finds it out.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "logitpair"
    path = folder / f"{kind}-{hashlib.sha256(of.encode(errors='surrogateescape')).hexdigest()[:32]}.npz"
    with suppress(OSError):
        if (arrays := read_arrays(path)) is not None:
            return arrays
    found = find()
    with suppress(OSError):
        write_arrays(path, found if isinstance(found, dict) else dict(found))
    return found
