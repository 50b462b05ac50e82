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

    @property
    def cause(self) -> str:
        """The signal's name, where it came to this process."""
        return self.name or "a signal to another process"

    def note(self, number: int) -> bool:
        """Take a signal in. Returns whether it asks a second time.

        One that comes twice at once is one: a shell and the kernel both tell of a hang-up, a job scheduler and a
        launcher both pass SIGTERM on.
        """
        name, now = signal.Signals(number).name, time.monotonic()
        if not self.requested:
            self.name, self.time = name, now
            return False
        return name != self.name or (number != signal.SIGHUP and now > self.time + _ONCE_SECONDS)


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
        known = flag.requested
        if flag.note(number):
            os._exit(128 + number)
        if known:
            return
        # After a hang-up there may be nobody to tell.
        with suppress(OSError):
            os.write(2, f"{flag.name}: finishing this step, then saving (again to stop at once)\n".encode())

    before = {number: signal.signal(number, handle) for number in stop_signals()}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())  # as a launcher has them blocked until here
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminated(BaseException):
    """A signal that would have ended this process without a word; ``number``: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def end_in_order() -> Iterator[None]:
    """SIGTERM and a hang-up, where nobody catches or ignores them, raise Terminated in the main thread of this process;
    what was forked from it dies of them as before."""
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        if os.getpid() == own:
            raise Terminated(number)
        os.kill(os.getpid(), number)

    caught: list[int] = []
    if threading.current_thread() is threading.main_thread():
        caught = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
