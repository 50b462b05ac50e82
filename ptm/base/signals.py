"""SIGTERM, Ctrl-C and a hang-up ask the run to stop between two steps; a second one stops it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class StopFlag:
    """Set by a signal, read by the loop."""

    def __init__(self) -> None:
        self.name = ""

    @property
    def requested(self) -> bool:
        return bool(self.name)


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
        if flag.requested:
            os._exit(128 + number)
        flag.name = signal.Signals(number).name
        # After a hang-up there may be nobody to tell.
        with suppress(OSError):
            os.write(2, f"{flag.name}: finishing this step, then saving (again to stop at once)\n".encode())

    before = {number: signal.signal(number, handle) for number in stop_signals()}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
