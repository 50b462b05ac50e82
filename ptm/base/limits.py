"""Limits of the machine on threads and processes: found out before a library in native code runs into them.

Such a library ends the process, or sends it a signal, where it cannot start its threads: OpenBLAS, OpenMP, and Rust's
thread pools in tokenizers.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ptm.errors import ModelError, OutOfMemory, PtmError, ResourceLimit

_OTHERS = 8  # threads of readers, allocators and Python itself, at most at a time
_LATER = 12  # threads that a training starts beside its pool, for tokens, gradients, the report; 11 were seen
_NO_THREAD = re.compile(
    r"can't start new thread|thread pool|Resource temporarily unavailable|os error 11\b", re.I
)
# What the loader of shared libraries says where their pages find no room (elf/dl-map-segments.h of glibc).
_NOT_MAPPED = re.compile(r"failed to map segment|cannot (?:allocate memory|map zero-fill pages)", re.I)
_LIMITS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def require_native_threads(environment: Mapping[str, str] = os.environ) -> None:
    """ResourceLimit where the pools of numpy, torch and tokenizers cannot start their threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    openmp = _count(environment, "OMP_NUM_THREADS", cores)
    pools = (
        _count(environment, "OPENBLAS_NUM_THREADS", openmp),
        openmp,
        _count(environment, "RAYON_NUM_THREADS", cores),
    )
    require_threads(sum(size - 1 for size in pools) + _OTHERS)


def require_pool(threads: int) -> None:
    """ResourceLimit where a pool of so many threads, and those that are started later, cannot run at once."""
    require_threads(threads - 1 + _LATER)


def require_threads(count: int) -> None:
    """ResourceLimit where so many more threads cannot run at once. They are started, and end at once."""
    gate = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=gate.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        raise _too_few(len(threads), count) from None
    finally:
        gate.set()
        for thread in threads:
            thread.join()


def native_fault(error: BaseException) -> PtmError | None:
    """What native code, or the system below it, gave up for, as a message of ptm; None for anything else."""
    text = str(error)
    panic = type(error).__name__ == "PanicException"  # of Rust, which Python knows no class of
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and _NOT_MAPPED.search(text)):
        return _too_little(text)
    refused = isinstance(error, OSError) and error.filename is None and error.errno in _LIMITS
    if refused or (panic and _NO_THREAD.search(text)):
        return _too_few(None, None, text)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return _too_few(None, None, text)
    if not panic:
        return None
    return ModelError(
        f"a library in native code gave up: {text.splitlines()[0] if text else 'no reason given'}",
        expected="files and values that it can use",
        cure="take another model or tokenizer; where these are sound, report it to the library",
    )


def _too_little(text: str) -> OutOfMemory:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit = "" if most == resource.RLIM_INFINITY else f"; ulimit -v is {most // 1024}"
    found = next((line for line in text.splitlines() if _NOT_MAPPED.search(line)), text)
    return OutOfMemory(
        f"out of memory: {found.strip() or 'no more is given to this process'}{limit}",
        expected="memory for torch, about 5 GB of addresses, and for the model and the data beside it",
        cure="raise the limit (ulimit -v, the container's), end other processes, or take less data",
    )


def _too_few(possible: int | None, needed: int | None, text: str = "") -> ResourceLimit:
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = "" if most == resource.RLIM_INFINITY else f" (ulimit -u is {most})"
    reason = text.splitlines()[0] if text else ""
    what = f"the machine allows no more threads, processes or files: {reason}".rstrip(": ")
    if needed is not None:
        what = f"the machine allows {possible} more threads, {needed} are needed"
    return ResourceLimit(
        f"{what}{limit}",
        expected="room for the threads of numpy, torch and tokenizers",
        cure="raise the limit (ulimit -u, pids.max of a container), end other processes, or use fewer threads: set "
        "OMP_NUM_THREADS=1 and RAYON_NUM_THREADS=1, and runtime.threads: 1",
    )


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, "").partition(",")[0].strip()
    return int(value) if value.isdecimal() and int(value) > 0 else default


def free_memory() -> float:
    """Bytes that this process may still take: of the machine, of its container, and of its own limit."""
    free = [float("inf")]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with suppress(OSError, ValueError):  # control groups, version 2; "max" is no number
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text())
        free.append(int((group / "memory.max").read_text()) - used)
    with suppress(OSError, ValueError):
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            free.append(limit - pages * resource.getpagesize())
    return max(0.0, float(min(free)))
