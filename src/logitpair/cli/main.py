"""The command line: runs a command, and turns bad input into one line and an exit code."""

import contextlib
import io
import os
import re
import sys
import warnings

from logitpair.errors import InputError, first_line, is_out_of_memory, raised
from logitpair.runtime.allocator import keep_freed_memory

ASKS = re.compile(r"-h|--version|--([\w.]+\.)?(help|print_\w+)(=.*)?")  # arguments after which a command prints and ends


def main(argv: list[str] | None = None) -> int:
    """Run one command: 0 only for success, 2 for bad input, 3 for diverged training, 130 when interrupted; 4 to 6 are those of ``Gate``."""
    warnings.showwarning = _warn
    for message in (
        "Image size .* exceeds limit",  # Pillow's, which do not name the file
        "Corrupt EXIF data",
        "Grad strides do not match bucket view",  # PyTorch's, under torchrun: both layouts of a filter of one channel are the same numbers
    ):
        warnings.filterwarnings("ignore", message)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # redirected, its encoding may lack a character; that of standard error never fails
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are for us, not for users
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}:
        os.environ["OMP_WAIT_POLICY"] = "passive"  # before PyTorch is loaded: threads that spin keep those waited for from their cores
    keep_freed_memory()
    begun, arguments = False, sys.argv[1:] if argv is None else argv
    try:
        from logitpair.cli.parser import parse  # here, so that Ctrl-C while libraries are imported is one line too

        run, parsed = parse(arguments)
        from logitpair.cli.terminal import log_to_console

        log_to_console()
        begun = True
        return run(parsed) or 0
    except SystemExit as done:
        if not begun and (not arguments or any(map(ASKS.fullmatch, arguments))):
            return int(done.code or 0)
        # which would pass for success
        return _fail(done, f"error: code of a network, a data set or a library ended the program ({raised(done)})", 2)
    except InputError as error:
        return _fail(error, f"error: {' '.join(map(str.strip, str(error).splitlines()))}", 2)
    except Warning as error:  # as Python is told to make errors of warnings
        return _fail(error, f"error: {error}", 2)
    except OSError as error:
        return _fail(error, f"error: cannot read or write {error.filename or 'a file'}: {error.strerror or error}", 2)
    except ArithmeticError as error:
        return _fail(error, f"error: {error}", 3)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        lacking = first_line(error).partition(" GPU ")[0]
        return _fail(error, f"error: out of memory ({lacking}); fewer images at once take less: --batch-size, in training batch_size", 2)
    except KeyboardInterrupt as error:
        return _fail(error, str(error) or f"interrupted; {'files written before are whole' if begun else 'nothing was begun'}", 130)


def _warn(message: Warning | str, *where: object) -> None:
    _print(f"warning: {message}")


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get("LOGITPAIR_TRACEBACK", "0") not in ("", "0"):
        raise error
    _print(message)
    return code


def _print(message: str) -> None:
    with contextlib.suppress(OSError):  # a log on a full disk is no reason to end the work, nor to end it with another code
        print(f"logitpair: {message}", file=sys.stderr)
