"""Data of which a part cannot be read: the rest is looked at as well before anybody is told, so that one message names
all that is to be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from ptm.errors import DataError, Gathered, Problem, shorten

Key = TypeVar("Key")
Part = TypeVar("Part")


class PartlyRead(DataError):
    """Rows, records or files that cannot be read. ``rest``: what their reader makes of the others, in which whoever
    knows how looks for more that is wrong. For anybody else it is a DataError as any other."""

    def __init__(self, problems: Sequence[Problem], rest: Any) -> None:
        super().__init__(problems)
        self.rest = rest


def refuse_but(problems: Sequence[Problem], rest: Sized, noun: str = "rows") -> None:
    """PartlyRead with ``rest`` if there are problems; DataError where nothing is left. Of many ``noun``, the first few
    are told."""
    if problems:
        first = shorten(problems, noun)
        raise PartlyRead(first, rest) if len(rest) else DataError(first)


@contextmanager
def as_rest(change: Callable[[Any], Any]) -> Iterator[None]:
    """What was read in part, as ``change`` makes it of what a reader gives."""
    try:
        yield
    except PartlyRead as error:
        raise PartlyRead(error.problems, change(error.rest)) from None


def read_parts(readers: Mapping[Key, Callable[[], Part]]) -> tuple[dict[Key, Part], tuple[Problem, ...]]:
    """What each of them gives, and what could not be read. Raises the problems of all where one has nothing to give."""
    gathered, parts = Gathered(), dict[Key, Part]()
    for key, read in readers.items():
        with gathered.of():
            try:
                parts[key] = read()
            except PartlyRead as error:
                parts[key] = error.rest
                raise
    if len(parts) < len(readers):
        gathered.refuse()
    return parts, gathered.problems
