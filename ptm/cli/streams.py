"""What ``ptm`` prints: UTF-8 in every locale. A write to standard output that fails is one message or, for a closed
pipe, an end; one to standard error is dropped."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ptm.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderGone(Exception):
    """Nobody reads on (``| head -1``). No OSError: the command line's library would make that exit code 1."""


class _Printed(io.FileIO):
    """``quiet``: what cannot be written is dropped, for what is told while a training goes on."""

    def __init__(self, descriptor: int, name: str, *, quiet: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._name = name
        self._quiet = quiet
        self._terminal = self.isatty()

    def write(self, piece: ReadableBuffer) -> int | None:  # type: ignore[override]
        try:
            written: int | None = super().write(piece)
            while written is None and not self._quiet:  # the pipe is full, and does not wait by itself
                select.select([], [self.fileno()], [])
                written = super().write(piece)
        except OSError as error:
            self._give_up()
            if self._quiet:
                return len(memoryview(piece))
            if error.errno == errno.EPIPE or (error.errno == errno.EIO and self._terminal):
                raise ReaderGone from None
            cure = "free some space, or print elsewhere"
            raise StorageError(f"cannot be written: {error.strerror}", where=self._name, cure=cure) from None
        # None: a reader that does not read at the moment.
        return len(memoryview(piece)) if written is None and self._quiet else written

    def _give_up(self) -> None:
        """What is still in buffers goes nowhere, so that the interpreter has nothing to say when it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def open_streams() -> None:
    """Put such streams in the place of ``sys.stdout`` and ``sys.stderr``; one that was closed leads nowhere.

    Were its descriptor left free, the next file that is opened would get it, and whatever a library says on
    standard error would be written into a checkpoint.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free, which is this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = _stream(1, "standard output", quiet=False)
    sys.stderr = _stream(2, "standard error", quiet=True)


@contextmanager
def reader_may_go() -> Iterator[None]:
    """What is printed inside need not arrive: the work is done, and its result is in files."""
    with suppress(ReaderGone):
        yield
        sys.stdout.flush()


def _stream(descriptor: int, name: str, *, quiet: bool) -> io.TextIOWrapper:
    raw = _Printed(descriptor, name, quiet=quiet)
    # What is no UTF-8 in the name of a file is written as \udcc3, which is also how JSON writes it.
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == 2 or raw.isatty(),
    )


def require_utf8() -> None:
    """Start this process again, in Python's UTF-8 mode, where the locale would have it read names as something else.

    The encoding of arguments and of the names of files is fixed when an interpreter starts.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
