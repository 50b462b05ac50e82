"""SHA-256 of files that were read before: remembered by what the system says of them, as git's index does it.

A file whose device, inode, size and times are those with which it was read is not read again. ``mtime`` can be set by
any program; ``ctime`` cannot: the system sets it with each change of content, name, owner or times. Times have a grain,
so a file that changed within two seconds of being read may change again and show the same ones ("racily clean"): such
files are not remembered. Where a file system gives other numbers than before, a network's say, files are read again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import array_cache
from ptm.base.seeds import finalised
from ptm.errors import DataError

# What the system says of a file, in the order of ``facts_of``; times in nanoseconds.
FACTS = np.dtype([("device", "<u8"), ("inode", "<u8"), ("size", "<i8"), ("mtime", "<i8"), ("ctime", "<i8")])
facts_of = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
DIGEST_BYTES = 32

_ROW = np.dtype([*((name, FACTS[name]) for name in FACTS.names or ()), ("digest", "u1", (DIGEST_BYTES,))])
_FORM = 1  # of what is kept: another number where rows or their order change
_ARRAY = "files"
_GRAIN = 2 * 10**9  # nanoseconds; FAT's times, the coarsest there are, have this grain
# Of files that are read for the first time: what it takes to read fewer is less than to keep it (10 ms).
_LEAST_FILES, _LEAST_BYTES = 256, 4_000_000
_SMALL = 1 << 20  # bytes of a file that is read at once


def digests_of(place: Path, facts: np.ndarray, path_of: Callable[[int], Path]) -> np.ndarray:
    """SHA-256 of the bytes of each file, uint8 [n, 32]. ``facts``: FACTS [n], as the system says them now; those of a
    file that is read become what it had then. ``place``: what they belong to, by whose name they are remembered.

    A million files take 0.4 s where all are remembered. Raises DataError for one that cannot be read.
    """
    known, digests = _remembered(place, facts)
    unknown = np.flatnonzero(~known)
    lasting: list[int] = []
    for row in unknown.tolist():
        digests[row], facts[row], lasts = _read(path_of(row))
        if lasts:
            lasting.append(row)
    if len(lasting) >= _LEAST_FILES or facts["size"][lasting].sum() >= _LEAST_BYTES:
        known[lasting] = True
        _remember(place, facts[known], digests[known])
    return digests


def digests_of_paths(files: Sequence[Path], place: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`digests_of`, and the sizes in bytes, int64 [n]. They are remembered by the name of ``place``, default
    the first of them, which tells the splits of a folder apart."""
    facts = np.empty(len(files), dtype=FACTS)
    for row, path in enumerate(files):
        try:
            facts[row] = facts_of(path.stat())
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    digests = (
        digests_of(place or files[0], facts, files.__getitem__)
        if files
        else np.empty((0, DIGEST_BYTES), np.uint8)
    )
    return digests, facts["size"]


def _read(path: Path) -> tuple[np.ndarray, tuple[int, ...], bool]:
    """The digest of a file, its facts, and whether they will tell of any change."""
    now = time.time_ns()
    try:
        with path.open("rb", buffering=0) as file:
            before: tuple[int, ...] = facts_of(os.fstat(file.fileno()))
            small = before[2] <= _SMALL
            sha = hashlib.sha256(file.readall()) if small else hashlib.file_digest(file, "sha256")
            after = facts_of(os.fstat(file.fileno()))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    lasts = before == after and max(before[3:]) < now - _GRAIN
    return np.frombuffer(sha.digest(), np.uint8), before, lasts


def _identity(place: Path) -> Mapping[str, Any]:
    name = os.fsencode(os.path.realpath(place)).decode("utf-8", "backslashreplace")
    return {"digests of files in": name, "form": _FORM}


def _off() -> bool:
    return os.environ.get("PTM_HASH_ALL", "").lower() in ("1", "true", "yes", "on")


def _remembered(place: Path, facts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of which files the digests are known, bool [n], and the digests, uint8 [n, 32]."""
    nothing = np.zeros(len(facts), dtype=bool), np.zeros((len(facts), DIGEST_BYTES), dtype=np.uint8)
    content = None if _off() or not len(facts) else array_cache.load(_identity(place))
    kept = None if content is None else content.arrays.get(_ARRAY)
    if kept is None or kept.dtype != np.uint8 or kept.shape[1:] != (_ROW.itemsize,) or not len(kept):
        return nothing
    rows = kept.reshape(-1).view(_ROW)
    at = np.searchsorted(_keys(rows), _keys(facts))
    found = rows[np.minimum(at, len(rows) - 1)]
    known = np.all([found[name] == facts[name] for name in FACTS.names or ()], axis=0)
    return known, np.where(known[:, None], found["digest"], np.uint8(0))


def _remember(place: Path, facts: np.ndarray, digests: np.ndarray) -> None:
    """In the place of what was kept. Where that is not possible, files are read again next time."""
    if _off():
        return
    rows = np.empty(len(facts), dtype=_ROW)
    for name in FACTS.names or ():
        rows[name] = facts[name]
    rows["digest"] = digests
    rows = rows[np.argsort(_keys(facts), kind="stable")]
    # One array, so that nobody who reads while this is replaced gets facts of one time and digests of another.
    content = array_cache.Content({_ARRAY: rows.view(np.uint8).reshape(-1, _ROW.itemsize)}, {})
    about = {"files": f"{len(rows):,} files in {place.name or place}", "split": "all"}
    array_cache.save(_identity(place), about, content, replace=True)


def _keys(facts: np.ndarray) -> np.ndarray:
    """What files are looked up by, uint64 [n]; all facts are compared after that."""
    columns = [facts[name].astype(np.uint64) for name in FACTS.names or ()]
    return reduce(lambda state, column: finalised(state ^ column), columns, np.zeros(len(facts), np.uint64))
