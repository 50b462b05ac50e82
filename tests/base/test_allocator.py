"""What the C library does with memory that is freed."""

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import numpy as np
from ptm.base.allocator import keep_freed_memory

kept = sys.argv[1] == "kept" and keep_freed_memory()

def touch():
    pieces = [np.ones(6_000_000) for _ in range(4)]  # 48 MB each: above 32 MB glibc never learns to keep them
    return sum(float(piece[0]) for piece in pieces)

touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    touch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PAGES, how],
        capture_output=True,
        text=True,
        check=True,
        env=environment or None,
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's switch")
def test_13_02_memory_that_was_freed_is_used_again_without_the_system():
    kept, faults = run("kept")
    _, usual = run("usual")
    assert kept and faults < usual / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's switch")
def test_13_02_what_the_user_has_set_stays():
    assert run("kept", MALLOC_ARENA_MAX="2")[0] is False
