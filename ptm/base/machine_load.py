"""What other processes do with this machine while something is measured."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_BUSY = (1, 2, 3, 6, 7, 8)  # of a line of /proc/stat: user, nice, system, irq, softirq, steal (proc(5))
_PARENT, _TIMES = 1, (11, 12)  # of /proc/PID/stat, behind the name


class LoadMeter:
    """How many cores others kept busy since this was made, of those that this process may run on; what a hypervisor
    took is among them."""

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def others(self) -> float | None:
        """None where the system does not tell."""
        seconds, busy = time.monotonic() - self._begun, _busy_seconds()
        if busy is None or self._busy is None or seconds <= 0:
            return None
        return max(0.0, (busy - self._busy - (_own_seconds() - self._own)) / seconds)


def load_average() -> float | None:
    """Of the last minute: processes that ran or waited to run; None where the system does not tell."""
    with suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float | None:
    """Of the cores that this process may run on, since the machine began: others disturb nothing."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = Path("/proc/stat").read_text(encoding="ascii", errors="replace").splitlines()
        cores = [words for words in map(str.split, lines) if words and words[0] in names]
        if len(cores) < len(names):
            cores = [lines[0].split()]  # all, in a container's own table, which has numbers of its own
        return sum(int(words[place]) for words in cores for place in _BUSY) / _ticks()
    return None


def _own_seconds() -> float:
    """Processor seconds of this process and of its children, those that still run too."""
    return sum(os.times()[:4]) + sum(_running_children().values())


def _running_children() -> dict[int, float]:
    """Process id → processor seconds."""
    times: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name stands in brackets, and may hold anything.
            words = entry.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            if int(words[_PARENT]) == os.getpid():
                times[int(entry.parent.name)] = sum(int(words[place]) for place in _TIMES) / _ticks()
    return times
