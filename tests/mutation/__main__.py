"""Plant faults one at a time and see whether the tests notice: ``python -m tests.mutation`` from the repository's root (``make mutants``).

Faults are those of ``faults.py`` and a seeded sample of what ``operators.py`` can do to the files of ``targets.py``. Each is planted in a
copy of the tree, never in the working tree. What was caught and what survived is written to RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.faults import FAULTS
from tests.mutation.operators import changes
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "docs", "pyproject.toml", "Makefile", "README.md")
CAUGHT, SURVIVED, HUNG = "caught", "survived", "caught (timeout)"
PASSED, FAILED, NO_TESTS = 0, 1, 5  # pytest's exit codes
HEAVY = (
    "torch",
    "numpy",
    "scipy.stats",
    "sklearn.datasets",
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis",
    "beartype",
    "jsonargparse",
    "yaml",
    "PIL.Image",
    "msgspec",
)


@dataclass
class Mutant:
    """A file with one fault in it, and what became of it."""

    file: str
    line: int
    what: str
    source: str
    outcome: str = ""
    seconds: float = 0.0


@dataclass
class Job:
    """A mutant, or the untouched tree, on its way through its runs of pytest in a copy of the tree."""

    mutant: Mutant | None
    tree: Path
    runs: list[list[str]]
    limit: float
    pid: int = 0
    began: float = field(default_factory=time.monotonic)


def generated(file: str, number: int, seed: int) -> list[Mutant]:
    """So many faults of the operators in a file, drawn by the seed."""
    source = (ROOT / "src" / "logitpair" / file).read_text()
    found = changes(source)
    chosen = sorted(random.Random(f"{seed}/{file}").sample(range(len(found)), min(number, len(found))))  # noqa: S311
    return [
        Mutant(file, found[i].line, f"{found[i].operator}: `{_short(found[i].old)}` -> `{_short(found[i].new)}`", found[i].applied(source))
        for i in chosen
    ]


def written(files: Sequence[str]) -> tuple[list[Mutant], list[str]]:
    """The faults of ``faults.py`` in these files, and a line for each whose text is not there exactly once."""
    mutants, missing = [], []
    for fault in FAULTS:
        if fault.file not in files:
            continue
        path = ROOT / "src" / "logitpair" / fault.file
        source = path.read_text() if path.exists() else ""
        if source.count(fault.old) != 1:
            missing.append(f"{fault.file}: {fault.why}: `{_short(fault.old)}` occurs {source.count(fault.old)} times")
            continue
        line = source[: source.index(fault.old)].count("\n") + 1
        mutants.append(
            Mutant(fault.file, line, f"{fault.why}: `{_short(fault.old)}` -> `{_short(fault.new)}`", source.replace(fault.old, fault.new))
        )
    return mutants, missing


def _short(text: str) -> str:
    """One line of a table."""
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= 80 else line[:77] + "..."


def plant(tree: Path, file: str, source: str) -> None:
    """Write a file of the copy; compiled ones, which go by size and second, are deleted."""
    path = tree / "src" / "logitpair" / file
    path.write_text(source)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def begin(job: Job) -> None:
    """Start the job's next run of pytest in a forked process, which need not import PyTorch again."""
    arguments = [*job.runs[0], "-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    job.pid = os.fork()
    if job.pid:
        return
    try:
        os.setsid()
        log = os.open(job.tree / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        os.chdir(job.tree)
        os.environ |= {"PYTHONPATH": str(job.tree / "src"), "OMP_NUM_THREADS": "1"}
        sys.path[:] = [str(job.tree / "src"), *(path for path in sys.path if path not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
            del sys.modules[name]
        import pytest

        code = int(pytest.main(arguments))
        sys.stdout.flush()
        os._exit(code)
    finally:
        os._exit(FAILED)


def proceed(job: Job, code: int | None) -> bool:
    """Take down how a run ended (None: too long); whether the job is over."""
    if code == NO_TESTS:
        raise SystemExit(f"no tests in {' '.join(job.runs[0])}; adapt tests/mutation/targets.py")
    if code == PASSED and len(job.runs) > 1:
        job.runs = job.runs[1:]
        begin(job)
        return False
    if job.mutant is None:
        if code != PASSED:
            raise SystemExit(f"{' '.join(job.runs[0])} fails without a fault:\n{(job.tree / 'output.txt').read_text()[-3000:]}")
    else:
        job.mutant.outcome = HUNG if code is None else SURVIVED if code == PASSED else CAUGHT
        job.mutant.seconds = time.monotonic() - job.began
        plant(job.tree, job.mutant.file, (ROOT / "src" / "logitpair" / job.mutant.file).read_text())
    return True


def ended(job: Job) -> tuple[bool, int | None]:
    """Whether its run is over, and with which code; None where it took too long and was killed."""
    pid, status = os.waitpid(job.pid, os.WNOHANG)
    if pid:
        return True, os.waitstatus_to_exitcode(status)
    if time.monotonic() - job.began < job.limit:
        return False, None
    os.killpg(job.pid, signal.SIGKILL)
    os.waitpid(job.pid, 0)
    return True, None


def work(mutants: list[Mutant], trees: list[Path], timeout: float) -> None:
    """Run every list of tests without a fault, which must pass, and then those of every mutant, as many at once as there are trees."""
    commands = {tuple(run): run for mutant in mutants for run in TARGETS[mutant.file][1]}
    waiting: list[Mutant | list[str]] = [*commands.values(), *mutants]
    seconds: dict[tuple[str, ...], float] = {}  # of each list of tests without a fault
    free, running = list(trees), list[Job]()

    def ready(entry: Mutant | list[str]) -> bool:
        return isinstance(entry, list) or all(tuple(run) in seconds for run in TARGETS[entry.file][1])

    try:
        while waiting or running:
            while waiting and free and ready(waiting[0]):
                entry, tree = waiting.pop(0), free.pop()
                if isinstance(entry, list):
                    job = Job(None, tree, [entry], 20 * timeout)
                else:
                    runs = TARGETS[entry.file][1]
                    job = Job(entry, tree, runs, max(timeout, 5 * sum(seconds[tuple(run)] for run in runs)))
                    plant(tree, entry.file, entry.source)
                begin(job)
                running.append(job)
            for job in list(running):
                over, code = ended(job)
                if over and proceed(job, code):
                    running.remove(job)
                    free.append(job.tree)
                    if job.mutant is None:
                        seconds[tuple(job.runs[0])] = time.monotonic() - job.began
                    else:
                        print(
                            f"{job.mutant.outcome:16} {job.mutant.seconds:5.0f} s  {job.mutant.file}:{job.mutant.line}  {job.mutant.what}",
                            flush=True,
                        )
            time.sleep(0.05)
    finally:  # also where somebody stops it
        for job in running:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # one that has just ended
                os.killpg(job.pid, signal.SIGKILL)
                os.waitpid(job.pid, 0)


def report(mutants: list[Mutant], missing: list[str], seed: int) -> str:
    """RESULTS.md."""
    survived = sum(mutant.outcome == SURVIVED for mutant in mutants)
    caught = len(mutants) - survived
    lines = [
        "# Planted faults",
        "",
        "Written by `make mutants` (`python -m tests.mutation`): faults planted in the core one at a time, and whether the tests of",
        f"`targets.py` noticed. {caught} of {len(mutants)} were caught ({caught / max(1, len(mutants)):.0%}), {survived} survived. The",
        f"sample's seed is {seed}. A fault that survives is a test that is missing, or a change that makes no difference.",
        "",
        "| file | faults | caught |",
        "|---|---|---|",
    ]
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        own = [mutant for mutant in mutants if mutant.file == file]
        lines.append(f"| `{file}` | {len(own)} | {sum(mutant.outcome != SURVIVED for mutant in own)} |")
    for title, chosen in (("Survived", SURVIVED), ("Caught", "")):
        rows = [mutant for mutant in mutants if (mutant.outcome == SURVIVED) == (chosen == SURVIVED)]
        lines += ["", f"## {title}", "", "| where | fault |", "|---|---|", *(f"| `{row.file}:{row.line}` | {row.what} |" for row in rows)]
    if missing:
        lines += ["", "## Not planted, since the code has moved on", "", *(f"- {line}" for line in missing)]
    return "\n".join(lines) + "\n"


def caught_before(path: Path) -> set[tuple[str, str]]:
    """File and fault of what an earlier RESULTS.md names as caught."""
    rows = re.findall(r"^\| `(.+?):\d+` \| (.+) \|$", path.read_text().partition("## Caught")[2], flags=re.MULTILINE)
    return {(file, what) for file, what in rows}


def main() -> int:
    """Plant, run, write; 1 where a fault of ``faults.py`` could not be planted."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many generated faults as targets.py says")
    parser.add_argument("--jobs", type=int, default=2, help="tests side by side")
    parser.add_argument("--timeout", type=float, default=120, help="seconds, at least, after which a mutant's tests count as hung")
    parser.add_argument("--again", action="store_true", help="plant only what --out does not name as caught, and keep the rest of it")
    parser.add_argument("--list", action="store_true", help="list the faults and run nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RESULTS.md"), help="where the results go")
    arguments = parser.parse_args()
    known = caught_before(arguments.out) if arguments.again else set()
    files = [file for file in TARGETS if arguments.only in file]
    mutants, missing = written(files)
    for file in files:
        mutants += generated(file, round(TARGETS[file][0] * arguments.scale), arguments.seed)
    mutants.sort(key=lambda mutant: (files.index(mutant.file), mutant.line))
    for mutant in mutants:
        if arguments.again and (mutant.file, mutant.what) in known:
            mutant.outcome = CAUGHT
    for line in missing:
        print("not planted:", line, file=sys.stderr)
    if arguments.list:
        print("\n".join(f"{mutant.file}:{mutant.line}  {mutant.what}" for mutant in mutants))
        print(len(mutants), "faults")
        return bool(missing)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    for name in HEAVY:
        __import__(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [Path(folder) / str(number) for number in range(arguments.jobs)]
        for tree in trees:
            for name in COPIED:
                source = ROOT / name
                copy = shutil.copytree if source.is_dir() else shutil.copy2
                tree.mkdir(exist_ok=True)
                copy(source, tree / name)
        work([mutant for mutant in mutants if not mutant.outcome], trees, arguments.timeout)
    arguments.out.write_text(report(mutants, missing, arguments.seed))
    print(f"wrote {arguments.out}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
