"""Regular expressions of a config (``data.label``, ``split_by``, ``stratify``): whether they are any, what they find.

They may come from a stranger, and an expression can take longer than anybody lives: ``(a+)+!`` on a long name.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ptm.errors import DataError

SECONDS = 2.0  # for a name; an ordinary expression takes microseconds


def complaint(expression: str) -> str | None:
    """Why it is no regular expression; None for one."""
    try:
        re.compile(expression)
    except re.error as error:
        return str(error)
    except (RecursionError, OverflowError, MemoryError):
        return "it is nested too deeply, or repeats too often"
    return None


def found(expression: str, text: str, key: str) -> str | None:
    """What an expression finds in a text: its first group, where it has one. None where it finds nothing.

    Raises DataError, which names ``key``, when it takes longer than SECONDS. In another thread than the first, which
    no signal reaches, there is no limit.
    """
    try:
        with _limited():
            match = re.search(expression, text)
    except TimeoutError:
        raise DataError(
            f"the expression {expression[:200]!r} takes longer than {SECONDS:.0f} s on {text[:200]!r}",
            where=key,
            expected="an expression without repetitions in repetitions, as in (a+)+",
            cure="write it so that there is one way to match: [a-z]+_ instead of ([a-z]+)*_",
        ) from None
    return None if match is None else match[1 if match.re.groups else 0]


@contextmanager
def _limited() -> Iterator[None]:
    """TimeoutError after SECONDS: the matcher looks for signals now and then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
