"""A run directory, or another folder of results, at a URL and back: whole, or marked as not."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path, PurePath, PurePosixPath

from logitpair.errors import InputError
from logitpair.runtime.progress import tracked
from logitpair.storage import remote, run_lock

MARK = "INCOMPLETE"  # lies beside the files of a copy until it is whole
LAST = (".json", ".html")  # results, which must not be seen before what they are about


def upload(folder: Path, url: str) -> int:
    """Copy a folder's files, but for hidden ones, to a URL; what lies there under other names stays. Returns how many files there are.

    ``INCOMPLETE`` lies there meanwhile, and stays where the copy fails; the same call again copies all.

    Raises:
        InputError: for a folder without files or that a training holds, a URL within it, and whatever the file system at the URL raises.
    """
    names = [path.relative_to(folder) for path in _files(folder)]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not names:
        raise InputError(f"SOURCE: '{folder}' is no folder with files; accepted: a run directory")
    local = remote.place(url)
    if isinstance(local, Path) and local.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"DESTINATION: '{url}' is '{folder}' or lies in it; accepted: another place")
    names.sort(key=lambda name: (name.suffix in LAST, name))
    begun = False
    with run_lock.held(folder):
        try:
            with remote.reached(url, "DESTINATION") as (files, there):
                for place in {there, *(f"{there}/{name.parent.as_posix()}" for name in names)}:
                    files.makedirs(place, exist_ok=True)
                begun = True
                files.pipe_file(f"{there}/{MARK}", b"This copy has not ended. The same command again copies all.\n")
                for name in tracked(names, "copying"):
                    files.put_file(str(folder / name), f"{there}/{name.as_posix()}")
                files.invalidate_cache()
                for name in names:
                    _check_size(name, files.info(f"{there}/{name.as_posix()}")["size"], (folder / name).stat().st_size)
                files.rm_file(f"{there}/{MARK}")
        except InputError as error:
            whole = "; the copy there is not whole, and the same command again copies all" if begun else ""
            raise InputError(f"{error}{whole}") from error
    return len(names)


def _files(folder: Path) -> Generator[Path]:
    """Its files, also behind links, which ``rglob`` leaves out; a link to a folder that it lies in leads to nothing new."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        here = Path(parent).resolve()
        folders[:] = [name for name in folders if not here.is_relative_to(Path(parent, name).resolve())]
        yield from (path for name in files if (path := Path(parent, name)).is_file())


def download(url: str, folder: Path) -> int:
    """Copy the files at a URL into a new folder, which is there once all of them are. Returns how many files there are.

    Raises:
        InputError: for a URL without files or with ``INCOMPLETE``, a folder that is there, and whatever the file system raises.
    """
    if folder.exists():
        raise InputError(f"DESTINATION: '{folder}' exists; accepted: a new folder")
    parts = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(parts, ignore_errors=True)
    with remote.reached(url, "SOURCE") as (files, there):
        files.invalidate_cache()
        sizes = {path: entry["size"] for path, entry in files.find(there, detail=True).items()}
        names = {path: PurePosixPath(path.removeprefix(there).lstrip("/")) for path in sizes}
        if PurePosixPath(MARK) in names.values():
            raise InputError(f"SOURCE: the copy at '{url}' is not whole, since {MARK} lies there; copy the run there again")
        if not names or any(name.is_absolute() or ".." in name.parts or not name.parts for name in names.values()):
            raise InputError(f"SOURCE: '{url}' holds no copy of a run")
        for path, name in tracked(names.items(), "copying"):
            (parts / name).parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(parts / name))
            _check_size(name, (parts / name).stat().st_size, sizes[path])
    os.replace(parts, folder)
    return len(names)


def _check_size(name: PurePath, copied: int, original: int) -> None:
    if copied != original:
        raise InputError(f"DESTINATION: {name} has {copied:,} bytes in the copy and {original:,} in the original")
