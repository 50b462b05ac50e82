"""Rows of a large file that were read once are not read again: kept in the cache, and mapped into memory.

They are found by the SHA-256 of the file's bytes, never by its name or date, and by all else that decides them: the
kind of reader, its columns, how the file is said to be written, and ptm's own code. Tables with a column that is a list
of Python's are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import array_cache
from ptm.data.arrow import Coded, Part, Texts
from ptm.data.arrow_lists import Lists
from ptm.data.text_format import TextFormat
from ptm.errors import Problem

LEAST_BYTES = 2_000_000  # of a file, about 30,000 sentences: 0.1 s to read


@dataclass(frozen=True)
class Rows:
    """Of a file, without its name: ``between``, ``numbers`` as :class:`ptm.data.tables.Place` has them; where ``notes``
    name the file, it is that of whoever asks."""

    columns: Mapping[str, Sequence[Any]]
    between: str
    numbers: np.ndarray | None
    label_names: tuple[str, ...] | None
    notes: tuple[Problem, ...]


def identity_of(reader: str, digest: str, columns: Sequence[str], text_format: TextFormat) -> dict[str, Any]:
    """All that decides the rows of a file with this SHA-256."""
    return {
        "rows": reader,
        "file": digest,
        "columns": list(columns),
        "written": asdict(text_format) | {"columns": text_format.columns and list(text_format.columns)},
        "code": array_cache.code_digest(Path(__file__).parent),
    }


def load(identity: Mapping[str, Any], path: Path) -> Rows | None:
    """What was kept of the file that stands at ``path`` now; None where nothing was, or not as it was written."""
    content = array_cache.load(identity)
    if content is None:
        return None
    with suppress(ValueError, KeyError, TypeError, IndexError):  # whoever wrote into the cache
        return _from_arrays(content.arrays, content.values, path)
    return None


def kept(identity: Mapping[str, Any], path: Path, rows: Rows) -> Rows:
    """The same rows: from the cache where they could be kept, else as they are."""
    arrays: dict[str, np.ndarray] = {}
    kinds = [_to_arrays(column, f"c{n}", arrays) for n, column in enumerate(rows.columns.values())]
    if None in kinds:
        return rows
    if rows.numbers is not None:
        arrays["numbers"] = rows.numbers
    values = {
        "columns": dict(zip(rows.columns, kinds, strict=True)),
        "between": rows.between,
        "label_names": rows.label_names,
        "notes": [asdict(note) | {"where": note.where.removeprefix(str(path))} for note in rows.notes],
    }
    array_cache.save(identity, {"rows": path.name, "split": "all"}, array_cache.Content(arrays, values))
    return load(identity, path) or rows


def _to_arrays(column: Sequence[Any], name: str, arrays: dict[str, np.ndarray]) -> Any:
    """What it takes to make it again; None for what is not kept."""
    if isinstance(column, Lists) and column.rows is None:
        arrays[f"{name}.lists"] = column.starts
        items = _to_arrays(column.items, f"{name}.items", arrays)
        return None if items is None else {"items": items}
    if isinstance(column, Texts) and len(column.parts) == 1 and column.rows is None:
        (part,) = column.parts
        arrays |= {f"{name}.data": part.data, f"{name}.starts": part.starts, f"{name}.unseen": part.unseen}
        return part.digest
    if isinstance(column, Coded):
        values = json.dumps(column.values).encode()
        arrays |= {f"{name}.codes": column.codes, f"{name}.values": np.frombuffer(values, dtype=np.uint8)}
        return ""
    return None


def _column(arrays: Mapping[str, np.ndarray], name: str, kind: Any) -> Any:
    """The inverse."""
    if isinstance(kind, dict):
        return Lists(_column(arrays, f"{name}.items", kind["items"]), arrays[f"{name}.lists"])
    if kind:
        data, starts, unseen = (arrays[f"{name}.{part}"] for part in ("data", "starts", "unseen"))
        return Texts([Part(data, starts, unseen, str(kind))])
    return Coded(arrays[f"{name}.codes"], json.loads(arrays[f"{name}.values"].tobytes()))


def _from_arrays(arrays: Mapping[str, np.ndarray], values: Any, path: Path) -> Rows:
    kinds = enumerate(values["columns"].items())
    columns: dict[str, Sequence[Any]] = {name: _column(arrays, f"c{n}", kind) for n, (name, kind) in kinds}
    names, notes = values["label_names"], [Problem(**note) for note in values["notes"]]
    return Rows(
        columns,
        str(values["between"]),
        arrays.get("numbers"),
        None if names is None else tuple(map(str, names)),
        tuple(replace(note, where=f"{path}{note.where}") for note in notes),
    )
