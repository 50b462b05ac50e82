"""Which examples are equal, by what a model gets to see: a held-out share must not hold what is trained on."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptm.errors import Problem

# Roles that make up an input; all others are what is to be found out, or describe it.
_INPUTS = ("text", "text_pair", "words", "image")


def equal_groups(columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """For each row the number of the first one with an equal input, int64 [n]. ``columns``: by role.

    Texts are equal that differ in blanks, case and Unicode forms only; images whose files have the same bytes.
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, row) for row, key in enumerate(_keys(columns))], dtype=np.int64)


def shared_inputs(
    train: Mapping[str, Sequence[Any]], evaluation: Mapping[str, Sequence[Any]]
) -> tuple[int, int | None]:
    """How many evaluation examples have an equal one in train, and the row of the first. Image files are read only
    where there is one of the same size on the other side."""
    sizes = [{_size(value) for value in columns.get("image", ())} for columns in (train, evaluation)]
    common = (sizes[0] & sizes[1]) - {None}
    if sizes[0] and not common and None not in sizes[0]:
        return 0, None
    seen = set(_keys(train, common))
    rows = [row for row, key in enumerate(_keys(evaluation, common)) if key in seen]
    return len(rows), rows[0] if rows else None


def leak_warning(
    train: Mapping[str, Sequence[Any]], evaluation: Mapping[str, Sequence[Any]], where: Any
) -> list[Problem]:
    """For splits that are named, so that nothing moves: what stands in both is told."""
    count, first = shared_inputs(train, evaluation)
    if first is None:
        return []
    total = len(next(iter(evaluation.values())))
    cure = "remove them from one of the splits; what was trained on says nothing about new examples"
    return [Problem(f"{count} of {total} evaluation examples also stand in train", where(first), cure=cure)]


def _keys(columns: Mapping[str, Sequence[Any]], sizes: set[int | None] | None = None) -> list[bytes]:
    """A digest a row. ``sizes``: those of the image files whose bytes count; the others are told apart by place."""
    inputs = [columns[role] for role in _INPUTS if role in columns] or list(columns.values())
    return [
        hashlib.sha256(b"\0".join(_digest(value, sizes) for value in row)).digest()
        for row in zip(*inputs, strict=True)
    ]


def _digest(value: Any, sizes: set[int | None] | None) -> bytes:
    if isinstance(value, Path):
        if sizes is not None and _size(value) not in sizes:
            return bytes(str(value), "utf-8", "surrogatepass")
        try:
            with value.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError:  # whoever reads the image says so
            return bytes(str(value), "utf-8", "surrogatepass")
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return hashlib.sha256(value["bytes"]).digest()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return hashlib.sha256(repr(value.shape).encode() + value.tobytes()).digest()
    if isinstance(value, bytes):
        return hashlib.sha256(value).digest()
    text = (
        value
        if isinstance(value, str)
        else "\0".join(map(str, value))
        if isinstance(value, list)
        else repr(value)
    )
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()


def _size(value: Any) -> int | None:
    """Bytes of a file; None for what is none."""
    try:
        return value.stat().st_size if isinstance(value, Path) else None
    except OSError:
        return None
