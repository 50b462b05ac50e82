"""SIGTERM, Ctrl-C and a hang-up ask the run to stop between two steps; asked a second time it stops at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_ONCE_SECONDS = 1.0  # a signal that comes twice within this time came once, by two ways


class StopFlag:
    """Set by a signal, read by the loop."""

    def __init__(self) -> None:
        self.name = ""
        self.time = 0.0  # of the first signal, in monotonic seconds

    @property
    def requested(self) -> bool:
        return bool(self.name)

    def repeats(self, name: str) -> bool:
        """Whether a signal is the one that is already known: a shell and the kernel both tell of a hang-up, a job
        scheduler and a launcher both pass SIGTERM on."""
        soon = time.monotonic() < self.time + _ONCE_SECONDS
        return name == self.name and (name == "SIGHUP" or soon)


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask to stop. A hang-up is none of them where it is ignored, as under ``nohup``."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if ignored else (signal.SIGHUP,)))


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch the signals that ask to stop while inside; outside the main thread nothing is caught."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if flag.requested:
            if flag.repeats(name):
                return
            os._exit(128 + number)
        flag.name, flag.time = name, time.monotonic()
        # After a hang-up there may be nobody to tell.
        with suppress(OSError):
            os.write(2, f"{flag.name}: finishing this step, then saving (again to stop at once)\n".encode())

    before = {number: signal.signal(number, handle) for number in stop_signals()}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
