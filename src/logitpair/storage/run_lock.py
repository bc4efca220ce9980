"""One training at a time in a run directory, one sweep or reproduction in a folder of runs."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from logitpair.errors import InputError
from logitpair.storage.atomic_files import READ_ONLY

fcntl = import_module("fcntl") if find_spec("fcntl") else None  # systems other than Unix have none
NAME = ".lock"


@contextmanager
def held(run: Path, *, shared: bool = False) -> Generator[None]:
    """Hold a folder against other processes; the system lets go of it when this one ends, whatever ends it.

    Those that hold it ``shared``, as the workers of one elastic training do, are held out by the others alone. Where the system or the
    file system knows no locks there is none, nor where nothing can be written, such as in a finished run that is kept read-only.

    Raises:
        InputError: if another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    try:
        file = (run / NAME).open("a+")  # a shared lock needs a file that is read, the other one that is written
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        yield
        return
    with file:
        try:
            if fcntl:
                kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                fcntl.lockf(file, kind | fcntl.LOCK_NB)  # unlike flock's, no process that loads images inherits it
        except (BlockingIOError, PermissionError) as error:
            raise InputError(f"--out: {run} is in use by another process; wait for its end, or give another folder") from error
        except OSError:
            pass
        yield
