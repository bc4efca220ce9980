"""Memory that was freed stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

from logitpair.runtime.allocator import keep_freed_memory

SCRIPT = """
import resource, sys
from logitpair.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for step in range(30):
    tensors = [bytearray(b"x") * 24_000_000 for _ in range(4)]
    del tensors
    if step == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], env=inherited | environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


glibc = platform.libc_ver()[0] == "glibc"


def test_freed_memory_is_used_again_without_the_system() -> None:
    keep_freed_memory()  # without a word, whatever the C library
    if glibc:
        faults, usual = page_faults("kept"), page_faults("usual")
        assert usual > 500, "what is to be spared: 24 MB are 5,860 pages of 4 KiB, or 12 of 2 MiB"
        assert faults < usual / 10


@pytest.mark.parametrize("variable", [{"GLIBC_TUNABLES": "glibc.malloc.top_pad=0"}, {"MALLOC_ARENA_MAX": "2"}])
def test_the_environment_decides_where_it_says_how(variable: dict[str, str]) -> None:
    if glibc:
        assert page_faults("kept", **variable) > 500
