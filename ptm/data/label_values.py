"""What a label is worth as a number."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,18}(\.0{0,18})?\s*")
_DECIMAL = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*")


def whole_number(value: Any) -> int | None:
    """The whole number that a value is: 3, 3.0, True, "3", "3.0"; None for all else."""
    if isinstance(value, (bool, int, np.integer, np.bool_)):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return None


def number_of(value: Any) -> float | None:
    """The finite number that a value is, whatever it is written as; None for all else."""
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            return None
        value = float(value)
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None
