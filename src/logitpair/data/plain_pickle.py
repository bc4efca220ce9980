"""Pickles of arrays, strings, numbers, lists and dictionaries, read without running what a pickle may ask for."""

import io
import pickle
from typing import Any

import numpy as np

from logitpair.errors import InputError, first_line

OF_NUMPY = ("numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")


class _Noted:
    """What numpy would be called with to make an array or its type: noted down, and not called."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What is noted down in place of numpy's; any other name is refused, before its module is imported."""
        if f"{module}.{name}" not in OF_NUMPY:
            raise InputError(f"asks for {module}.{name}; accepted: arrays, strings, numbers, lists and dictionaries")
        return _Noted


def read_plain_pickle(raw: bytes) -> Any:
    """The content of a pickle, strings of Python 2 as bytes; an array is what ``byte_array`` takes.

    Raises:
        InputError: for a pickle that is damaged, or asks for anything that could run.
    """
    try:
        return _PlainUnpickler(io.BytesIO(raw), encoding="bytes").load()
    except InputError:
        raise
    except Exception as error:  # what pickle raises depends on where it is cut
        raise InputError(f"is truncated or no pickle ({first_line(error)})") from error


def byte_array(noted: Any) -> np.ndarray | None:
    """The uint8 array that was pickled, in C order; None for anything else."""
    state = noted.state if isinstance(noted, _Noted) else ()
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, fortran, raw = state
    code = dtype.arguments[:1] if isinstance(dtype, _Noted) else ()
    if code not in ((b"u1",), ("u1",)) or fortran or not isinstance(raw, bytes) or not isinstance(shape, tuple):
        return None
    whole = all(isinstance(size, int) and size >= 0 for size in shape)
    return np.frombuffer(raw, np.uint8).reshape(shape) if whole and np.prod(shape, dtype=object) == len(raw) else None
