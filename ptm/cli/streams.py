"""What ``ptm`` prints: UTF-8 in every locale, and a write that fails is one message or, for a closed pipe, an end."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from ptm.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderGone(Exception):
    """Nobody reads on (``| head -1``). No OSError: the command line's library would make that exit code 1."""


class _Printed(io.FileIO):
    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._told = name

    def write(self, piece: ReadableBuffer) -> int:
        try:
            return super().write(piece)
        except BrokenPipeError:
            self._give_up()
            raise ReaderGone from None
        except BlockingIOError:
            raise
        except OSError as error:
            self._give_up()
            cure = "free some space, or print elsewhere"
            raise StorageError(f"cannot be written: {error.strerror}", where=self._told, cure=cure) from None

    def _give_up(self) -> None:
        """What is still in buffers goes nowhere, so that the interpreter has nothing to say when it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def open_streams() -> None:
    """Put such streams in the place of ``sys.stdout`` and ``sys.stderr``; one that was closed stays so."""
    if sys.stdout is not None:
        sys.stdout = _stream(1, "standard output")
    if sys.stderr is not None:
        sys.stderr = _stream(2, "standard error")


def _stream(descriptor: int, name: str) -> io.TextIOWrapper:
    raw = _Printed(descriptor, name)
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
