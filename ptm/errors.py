"""Everything that can go wrong through no fault of ptm's, each kind with its exit code.

A user sees one message per error: what is wrong, where, what was expected, what to do. Whatever is not
one of these is a bug of ours, and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

MOST_PROBLEMS = 5  # of one kind in a message; the rest are counted
MOST_NAMES = 20  # in a list within a message


@dataclass(frozen=True)
class Problem:
    """One thing wrong: ``where`` is ``file:line:col``, a path with a row, or a key; all but ``what`` may be empty."""

    what: str
    where: str = ""
    expected: str = ""
    cure: str = ""

    def __str__(self) -> str:
        # A line end in the name of a file begins no line: one such as ::error:: would be a command of a CI's.
        where = self.where.replace("\r", "\\r").replace("\n", "\\n")
        lines = [f"{where}: {self.what}" if where else self.what]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.cure:
            lines.append(f"  to fix: {self.cure}")
        return "\n".join(lines)


def shorten(problems: Iterable[Problem], noun: str = "rows") -> list[Problem]:
    """The first few problems, and how many more ``noun`` have one: a mistake is often in every row of a table."""
    remaining = iter(problems)
    first = list(islice(remaining, MOST_PROBLEMS))
    more = sum(1 for _ in remaining)
    return [*first, Problem(f"and {more} more {noun} like these")] if more else first


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of what an error says; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def listing(names: Iterable[object], most: int = MOST_NAMES, separator: str = ", ") -> str:
    """``a, b, c``, and ``…`` in the place of what is more than ``most``."""
    remaining = iter(names)
    first = [str(name) for name in islice(remaining, most)]
    return separator.join([*first, "…"] if next(remaining, None) is not None else first)


class PtmError(Exception):
    """Base of what a user can cause. Carries one or several problems; all are shown at once."""

    exit_code = 1

    def __init__(
        self,
        what: str | Problem | Sequence[Problem],
        *,
        where: object = "",
        expected: str = "",
        cure: str = "",
    ) -> None:
        if isinstance(what, str):
            self.problems: tuple[Problem, ...] = (Problem(what, str(where), expected, cure),)
        elif isinstance(what, Problem):
            self.problems = (what,)
        else:
            self.problems = tuple(what)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(PtmError):
    """The YAML, an option or the use of the command line is wrong."""

    exit_code = 2


class RunDirectoryError(ConfigError):
    """A run directory is taken, locked, missing or not what was asked for."""


class DataError(PtmError):
    """The data cannot be used: a missing column, a bad row, an unreadable image."""

    exit_code = 3


def refuse(problems: Iterable[Problem], noun: str = "rows") -> None:
    """DataError with the first few of these problems of data, if there are any."""
    if first := shorten(problems, noun):
        raise DataError(first)


class Gathered:
    """Problems of several checks, so that all are told at once.

    ``with gathered.of(): …`` keeps what a check inside refuses; ``gathered.refuse()`` raises it in the end.
    """

    def __init__(self) -> None:
        self._errors: list[PtmError] = []

    @contextmanager
    def of(self) -> Iterator[None]:
        try:
            yield
        except (ConfigError, DataError) as error:
            self._errors.append(error)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was refused so far, each once."""
        return tuple(dict.fromkeys(problem for error in self._errors for problem in error.problems))

    def refuse(self, noun: str = "") -> None:
        """Raises the first error, with the problems of all; of many ``noun``, the first few."""
        if self._errors:
            kind = ConfigError if isinstance(self._errors[0], ConfigError) else DataError
            raise kind(shorten(self.problems, noun) if noun else self.problems)


class ModelError(PtmError):
    """Weights, a checkpoint, a tokenizer or a teacher cannot be used."""

    exit_code = 3


class StorageError(PtmError):
    """A file of the run could not be written: no space, no permission, a broken disk."""

    exit_code = 3


class ExpectationMissed(PtmError):
    """The run is done, but a metric is not what ``expect:`` asks for."""

    exit_code = 4


class OutOfMemory(PtmError):
    """The model and the batch do not fit the device."""

    exit_code = 5


class ResourceLimit(PtmError):
    """The machine allows no more threads, processes or open files."""

    exit_code = 5


class MissingDownload(PtmError):
    """Something must be downloaded and cannot be: no network, no cache."""

    exit_code = 6


class HubRefused(PtmError):
    """A hub cannot be reached, or takes nothing from here."""

    exit_code = 6


class NotFinite(PtmError):
    """A loss, a gradient or a metric is NaN or infinite."""

    exit_code = 7


class PeerLost(PtmError):
    """A process of a run in several was killed or did not answer; ``--resume`` goes on from what was saved."""

    exit_code = 137


class Interrupted(PtmError):
    """A signal stopped the run; what was done is saved and ``--resume`` goes on from it."""

    exit_code = 75
