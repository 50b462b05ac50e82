"""Labels in the names of files: what a regular expression, ``data.label``, finds in their paths below the source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ptm.config.expressions import found
from ptm.errors import DataError, Gathered


def labels_of_paths(files: Sequence[Path], source: Path, pattern: str, gathered: Gathered) -> dict[int, str]:
    """Row → what the expression finds in its path: its first group, where it has one. ``gathered`` is told of paths in
    which it finds nothing; DataError where it finds nothing in any."""
    labels: dict[int, str] = {}
    for row, path in enumerate(files):
        name = os.fsencode(path.relative_to(source)).decode("utf-8", "replace")
        label = found(pattern, name, "data.label")
        with gathered.of():
            if not label:
                cure = "change data.label: its first group, or all that it finds, is the label"
                raise DataError(
                    f"the expression {pattern!r} finds nothing in its name", where=path, cure=cure
                )
            labels[row] = label
    if not labels:
        gathered.refuse("files")
    return labels
