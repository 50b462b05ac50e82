"""The standard input in the place of a file, ``-``: it can be read once, so what was read is kept."""

from __future__ import annotations

import functools
import sys

STANDARD_INPUT = "-"


@functools.cache
def standard_input() -> bytes:
    """All of it. Raises OSError."""
    return sys.stdin.buffer.read()
