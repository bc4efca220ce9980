"""What was computed from files once, kept in the user's cache folder."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from logitpair.storage.atomic_files import read_arrays, write_arrays


def cached_on_disk(kind: str, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What ``compute`` returns, or returned before for the same ``key``, which is all that it depends on."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "logitpair"
    path = folder / f"{kind}-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.npz"
    with suppress(OSError):
        if (arrays := read_arrays(path)) is not None:
            return arrays
    arrays = compute()
    with suppress(OSError):
        write_arrays(path, arrays)
    return arrays
