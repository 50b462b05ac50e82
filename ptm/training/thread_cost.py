"""Whether more threads are faster than one, now, beside whatever else runs on this machine.

The threads of a product wait for each other at its end. Where another process has taken the core of one of them, all
wait until the scheduler gives it back, for milliseconds, in products that take less than one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_ROWS, _WIDTH = 256, 384  # about a millisecond on one core
_PRODUCTS = 12
_ROUNDS = 3
_SLOWER = 1.05
_MOST_SECONDS = 0.5  # after which no further round begins


@dataclass(frozen=True)
class ThreadCost:
    """Seconds of the same products with ``threads`` threads and with one, in turns."""

    threads: int
    seconds: float
    alone: float

    @property
    def slower(self) -> bool:
        return self.seconds > _SLOWER * self.alone

    def __str__(self) -> str:
        return (
            f"{self.threads} threads multiply {self.seconds / self.alone:.1f} times as slowly as one does: other "
            "processes take their cores, and they wait for each other; --set runtime.threads=1 is faster until these "
            "have ended"
        )


def measure_threads(threads: int) -> ThreadCost:
    """0.05 s on a quiet machine. The number of threads is as before afterwards."""
    started = time.perf_counter()
    left, right = torch.rand(_ROWS, _WIDTH), torch.rand(_WIDTH, _WIDTH)
    seconds = {threads: 0.0, 1: 0.0}
    for measured in (False, *[True] * _ROUNDS):
        if seconds[1] and time.perf_counter() - started > _MOST_SECONDS:
            break
        for number in seconds:
            with thread_count(number):
                begun = time.perf_counter()
                for _ in range(_PRODUCTS if measured else 1):
                    torch.mm(left, right)
                seconds[number] += (time.perf_counter() - begun) if measured else 0.0
    return ThreadCost(threads, seconds[threads], seconds[1])


@contextmanager
def thread_count(number: int) -> Iterator[None]:
    """So many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
