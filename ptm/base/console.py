"""What a command tells a person while it works: progress with the time left; whole lines off a terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol, TextIO

from ptm.base.printable import printable

_PLAIN_EVERY_SECONDS = 10.0  # off a terminal, a progress line at most so often


class Reporter(Protocol):
    """Tells a person what happens."""

    def say(self, line: str) -> None: ...

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, done: int, note: str) -> None: ...

    def end(self) -> None: ...


class Silent:
    """For processes other than the first, and for tests."""

    def say(self, line: str) -> None: ...

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def advance(self, done: int, note: str) -> None: ...

    def end(self) -> None: ...


class PlainReporter:
    """Whole lines, no carriage return: for files, pipes and CI. One of progress every so many ``seconds`` at most."""

    def __init__(self, stream: TextIO | None = None, seconds: float = _PLAIN_EVERY_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._every = seconds
        self._what, self._total, self._first = "", 0, 0
        self._begun = self._last = 0.0

    def say(self, line: str) -> None:
        print(printable(line), file=self._stream, flush=True)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._first = what, total, done
        self._begun = self._last = time.monotonic()

    def advance(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        left = (now - self._begun) / max(1, done - self._first) * (self._total - done)
        self.say(f"{self._what} {done}/{self._total}  {note}  {duration(left)} left")

    def end(self) -> None: ...


class WarningReporter(Silent):
    """For ``--quiet``: warnings, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, line: str) -> None:
        if line.startswith("warning"):
            print(printable(line), file=self._stream, flush=True)


class RichReporter:
    """A progress bar with step, loss, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._progress: Any = None
        self._task: Any = None

    def say(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.end()
        self._progress = Progress(
            TextColumn(printable(what).replace("{", "{{").replace("}", "}}"), markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(what, total=total, completed=done, note="")
        self._progress.start()

    def advance(self, done: int, note: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=done, note=printable(note))

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def reporter_for(stream: TextIO, *, quiet: bool = False, verbose: bool = False) -> Reporter:
    """A bar on a terminal, lines elsewhere. ``quiet``: warnings alone; ``verbose``: a line of progress a step."""
    if quiet:
        return WarningReporter(stream)
    if verbose:
        return PlainReporter(stream, seconds=0.0)
    return RichReporter() if stream.isatty() else PlainReporter(stream)


def duration(seconds: float) -> str:
    """``75`` → ``1:15``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def parameters(count: int) -> str:
    """``4,887 parameters``, ``22.7 M parameters``."""
    return f"{count / 1e6:.1f} M parameters" if count >= 1e6 else f"{count:,} parameters"


def quiet_hub() -> None:
    """No telemetry and no progress bars of the hub's client, which reads this when it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
