"""JSON without what the standard library takes in silence: of a key that stands twice it keeps the last value."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any


def loads(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """What a text says. Raises ValueError for what is not JSON, objects in which a key stands twice, what is nested too
    deeply, and whole numbers of more digits than Python reads. ``parse_constant``: what to make of NaN and Infinity.

    Costs 2 µs an object more than ``json.loads``.
    """
    try:
        return json.loads(text, parse_constant=parse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        if "set_int_max_str_digits" not in str(error):
            raise
        raise ValueError(f"a number of more than {sys.get_int_max_str_digits()} digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} stands there twice")
    return content
