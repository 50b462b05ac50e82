"""Lines of the files that ``ptm predict`` is given, decoded one by one; what becomes of those that cannot be."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ptm.data.packed import is_packed, unpacked_stream, unpacking
from ptm.data.separated import MAX_FIELD_CHARS, told
from ptm.data.text_format import (
    UTF8,
    TextFormat,
    has_nul,
    is_empty,
    refuse_other_kinds,
    undecoded,
)
from ptm.errors import DataError, Gathered, Problem

# What Python's surrogateescape makes of bytes that are not UTF-8.
_UNDECODED = re.compile("[\udc80-\udcff]")


class LeftOut(Gathered):
    """Tells ``say`` of each row that cannot be used, instead of raising in the end."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    @contextmanager
    def of(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            for problem in error.problems:
                self.tell(problem)

    def tell(self, problem: Problem) -> None:
        self._say(f"left out: {problem.where}: {problem.what}")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream, unpacking(path):
            yield unpacked_stream(stream, path) if is_packed(path) else stream
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None


def text_lines(
    stream: BinaryIO,
    name: object,
    holds: str,
    written: TextFormat,
    left_out: LeftOut | None,
    ends: str = "",
) -> Iterator[str]:
    """Lines with their ends, decoded. ``holds``: what is expected; ``ends``: as ``newline`` of ``open``.

    DataError for what is not in its encoding, holds NUL characters, is without a word, or has lines of no end.
    """
    longest, codec = MAX_FIELD_CHARS, written.codec
    if isinstance(stream, io.BufferedReader):
        refuse_other_kinds(stream.peek(16)[:16], name, codec)
    errors = "surrogateescape" if codec == UTF8 else "strict"  # others do not take what it makes
    text = io.TextIOWrapper(stream, encoding=codec, errors=errors, newline=ends)
    number = 0
    try:
        blank: list[str] = []  # held back until it is sure that something follows
        begun = False
        for number, line in enumerate(iter(lambda: text.readline(longest + 1), ""), start=1):
            if len(line) > longest:
                what = f"a line of more than {longest:,} characters"
                raise DataError(what, where=f"{name}:{number}", expected="a text, a row or an object a line")
            clean = ""
            with told(left_out):
                clean = _checked(line, name, number)
            if left_out is not None and not clean:
                continue
            if not begun and not clean.strip():
                blank.append(clean)
                continue
            if not begun:
                begun = True
                yield from blank
                blank.clear()
            yield clean
        if not begun:
            raise is_empty(name, holds)
    except UnicodeDecodeError as error:
        raise undecoded(error.object[error.start], error.object, name, number + 1, codec) from None
    finally:
        if not stream.closed:
            text.detach()  # or it would close the standard input with it


def _checked(line: str, name: object, number: int) -> str:
    if number == 1:
        refuse_other_kinds(line[:16].encode(UTF8, "surrogateescape"), name)
        line = line.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if not line.isascii() and (wrong := _UNDECODED.search(line)):
        raw = line.encode(UTF8, "surrogateescape")
        raise undecoded(ord(wrong.group()) & 0xFF, raw, name, number)
    if "\0" in line:
        raise has_nul(name, number, line)
    return line
