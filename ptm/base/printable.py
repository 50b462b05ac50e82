"""Text as it may be printed: nothing in it that a terminal obeys.

Labels, names of files and what a record says may come from a stranger. An escape in them could clear the screen, hide
a line or answer a question; a bidirectional control shows a name as another one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# Control characters but newline and tab; marks that change the direction or the place of what follows; halves of
# characters, which stand for bytes of a file name that are not UTF-8.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: object) -> str:
    """``text`` with each such character as an escape: ``\\x1b``, ``\\u202e``. Newlines and tabs stay."""
    return _OBEYED.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON as the standard has it: a number that is none is null. It says nothing to a terminal."""
    return printable_json(json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False))


def printable_json(text: str) -> str:
    """The same JSON with each such character as JSON's own escape: outside of texts it has none."""
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
