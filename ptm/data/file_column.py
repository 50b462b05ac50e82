"""A column of files: where they lie and the digest of each, in arrays. A million take 0.1 GB, and no object each."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from ptm.data.arrow import CHUNK, Column, Texts, text_part
from ptm.data.file_digests import DIGEST_BYTES, FACTS, digests_of, facts_of
from ptm.errors import DataError

_TARGA = ".tga"  # the one format that is told by the name of a file


class Files(Column):
    """``folder / names[i]`` each, as ``pathlib`` joins them: an item is a Path. ``digests``: SHA-256 of their bytes,
    uint8 [n, 32]; ``sizes``: bytes, int64 [n]. ``place``: what they belong to, a folder or a file that names them, by
    whose name their digests are remembered."""

    def __init__(
        self, place: Path, folder: Path, names: Texts, digests: np.ndarray, sizes: np.ndarray
    ) -> None:
        self.place, self.folder, self.names, self.digests, self.sizes = place, folder, names, digests, sizes

    @classmethod
    def read(cls, place: Path, folder: Path, names: Texts, facts: np.ndarray) -> Self:
        """``facts``: what the system says of each file, FACTS [n]. Raises DataError for one that cannot be read."""
        digests = digests_of(place, facts, lambda row: folder / names[row])
        return cls(place, folder, names, digests, facts["size"].astype(np.int64))

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.folder / name for name in self.names[index]]
        return self.folder / self.names[index]

    def select(self, rows: np.ndarray) -> Self:
        arrays = self.names.select(rows), self.digests[rows], self.sizes[rows]
        return type(self)(self.place, self.folder, *arrays)

    def joined(self, others: Sequence[Sequence[Any]]) -> Self | None:
        columns = [self, *(o for o in others if isinstance(o, type(self)) and o.folder == self.folder)]
        names = self.names.joined([column.names for column in columns[1:]])
        if len(columns) <= len(others) or names is None:
            return None
        arrays = ([column.digests for column in columns], [column.sizes for column in columns])
        return type(self)(self.place, self.folder, names, *map(np.concatenate, arrays))

    @cached_property
    def digest(self) -> str:
        """SHA-256 that says which images they hold, in which order: their bytes, and what of their names decides how
        they are read."""
        may_be = any(_TARGA.encode() in part.data.tobytes().lower() for part in self.names.parts)
        targa = [row for row, name in enumerate(self.names) if may_be and name.lower().endswith(_TARGA)]
        sha = hashlib.sha256(np.array(targa, dtype="<i8").tobytes() + b"\0")
        sha.update(np.ascontiguousarray(self.digests).data)
        return sha.hexdigest()

    def changed(self) -> bool:
        """Whether one of them is not what it was. Each is read again, unless it is remembered."""
        try:
            facts = [
                facts_among(path.stat() for path in self[start : start + CHUNK])
                for start in range(0, len(self), CHUNK)
            ]
            again = digests_of(self.place, np.concatenate(facts), lambda row: self[row])
        except (OSError, DataError):
            return True
        return not np.array_equal(again, self.digests)


def files_named(names: Sequence[Any], path: Path) -> Files | None:
    """The files that a column of the file at ``path`` names, relative to its folder. None where a value is no name of a
    file that is there."""
    folder, facts = path.parent, [np.empty(0, FACTS)]
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        for some in _pieces(names):
            states = [state for name in some if (state := _state(name, descriptor)) is not None]
            if len(states) < len(some):
                return None
            facts.append(facts_among(states))
    finally:
        os.close(descriptor)
    column = names if isinstance(names, Texts) else Texts([text_part(_pieces(names))])
    return Files.read(path, folder, column, np.concatenate(facts))


def _pieces(names: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))


def _state(name: Any, folder: int) -> os.stat_result | None:
    """None for what names no file, or one that is not there."""
    if not isinstance(name, str) or not name:
        return None
    try:
        state = os.stat(name, dir_fd=folder)
    except (OSError, ValueError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def facts_among(states: Iterable[os.stat_result]) -> np.ndarray:
    """FACTS [n]."""
    return np.fromiter(map(facts_of, states), dtype=FACTS)


def digest_below(files: Files, label: str = "") -> str:
    """SHA-256 over names below their folder, sizes and bytes of all files; ``label``: how labels are found in names,
    where they are."""
    sha = hashlib.sha256(label.encode())
    for start in range(0, len(files), CHUNK):
        some = slice(start, start + CHUNK)
        names = os.fsencode("\0".join(files.names[some])).split(b"\0")  # no name holds a NUL
        content = files.digests[some].tobytes()
        digests = [content[at : at + DIGEST_BYTES] for at in range(0, len(content), DIGEST_BYTES)]
        rows = zip(names, files.sizes[some].tolist(), digests, strict=True)
        sha.update(b"".join([b"%b\0%d\0%b" % row for row in rows]))
    return sha.hexdigest()
