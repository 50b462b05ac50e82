"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> bool:
    """Freed memory stays with the process, for the next step to use. Whether that can be had here.

    glibc gives large pieces back to the system, which has to find, clear and map them again: a step of training frees
    and needs the same tens of megabytes each time (benchmarks: ``docs/performance.md``). The process stays as large as
    it has been at most, so nothing that runs for days should do so. Only glibc has the switch; whoever has set
    ``MALLOC_…`` in the environment has decided already.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(set_option(_M_MMAP_MAX, 0) and set_option(_M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> None:
    """What was freed so far goes back to the system, once; what is freed later stays as before. Nothing happens where
    the C library has no ``malloc_trim``."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
