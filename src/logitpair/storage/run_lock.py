"""One training at a time in a run directory."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from logitpair.errors import InputError

fcntl = import_module("fcntl") if find_spec("fcntl") else None  # systems other than Unix have none
NAME = ".lock"


@contextmanager
def held(run: Path) -> Generator[None]:
    """Hold a run directory against other processes; the system lets go of it when this one ends, whatever ends it.

    Where the system or the file system knows no locks there is none.

    Raises:
        InputError: if another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / NAME).open("a") as file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, no process that loads images inherits it
        except (BlockingIOError, PermissionError) as error:
            raise InputError(f"--out: {run} is being trained by another process; wait for its end, or train into another folder") from error
        except OSError:
            pass
        yield
