"""``metrics.jsonl``: a line a logged step and an evaluation, for programs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptm.base.files import storage_errors
from ptm.base.regular import open_regular


class MetricsLog:
    """``metrics.jsonl``: appended as it goes. None of its numbers is filtered: NaN stands there as ``"nan"``."""

    def __init__(
        self, path: Path | None, also: Callable[[Mapping[str, Any]], None] = lambda record: None
    ) -> None:
        """``also`` gets each record once it is written: for trackers."""
        self._path = path  # None in all processes but the first
        self._also = also

    def write(self, record: Mapping[str, Any]) -> None:
        if self._path is not None:
            line = json.dumps(_jsonable(record), ensure_ascii=False, allow_nan=False) + "\n"
            with (
                storage_errors(self._path),
                open_regular(self._path, "a", encoding="utf-8", errors="backslashreplace") as file,
            ):
                file.write(line)
            self._also(record)

    def sync(self) -> int:
        """Everything written is on the disk; the length in bytes."""
        if self._path is None or not self._path.exists():
            return 0
        with storage_errors(self._path), open_regular(self._path) as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Forget what was written after a checkpoint."""
        if self._path is not None and self._path.exists():
            with storage_errors(self._path), open_regular(self._path, "r+b") as file:
                os.truncate(file.fileno(), min(length, os.fstat(file.fileno()).st_size))


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(inner) for inner in value]
    return value
