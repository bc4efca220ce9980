"""How the C library hands out memory."""

import contextlib
import ctypes
import os

TRIM, MAPPED = -1, -3  # of mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
LARGEST = 32 * 2**20  # of MAPPED on 64 bits, in bytes; what is larger comes from the system where nothing free is large enough


def keep_freed_memory() -> None:
    """Let this process keep what it freed for the tensors that come next.

    glibc gives memory back to the system whenever much of it is free, as at the end of every step, and the next step gets it page by page.
    So the process stays as large as it ever was. Nothing happens where the environment says how (``GLIBC_TUNABLES``, ``MALLOC_...``), nor
    with another C library.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows has no such library, macOS and musl no such function
        set_option = ctypes.CDLL(None).mallopt
        set_option(MAPPED, LARGEST)
        set_option(TRIM, 2**31 - 1)
