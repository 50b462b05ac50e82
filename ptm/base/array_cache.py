"""Arrays that were computed once, in ``data/`` of the cache, mapped into memory when they are needed again.

A directory of :mod:`ptm.base.cache`, made aside, synced and renamed: it is whole or not there. Each array is a
``NAME.bin`` with its CRC-32 values; ``layout.bin`` says in JSON what the arrays are. All of it is compared with its CRC
when it is loaded: what is spoilt counts as not there, and is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.cache import (
    DATA,
    NAME_LENGTH,
    checksum,
    checksums,
    digest,
    holds_foreign,
    room_for,
    root_directory,
)
from ptm.base.regular import NotRegular, kind_of, open_descriptor, open_regular, read_bytes
from ptm.errors import StorageError

_BLOCK = 2**24  # bytes a CRC
_LAYOUT = "layout"
_MOST_LAYOUT = 1_000_000  # bytes


@dataclass(frozen=True)
class Content:
    """``values`` is what JSON takes; the arrays may be read only."""

    arrays: Mapping[str, np.ndarray]
    values: Any


@cache
def code_digest(*modules: Path) -> str:
    """SHA-256 of these files of Python, or of all directly in a folder: what made an array, as it is today."""
    sha = hashlib.sha256()
    for place in modules:
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            sha.update(path.read_bytes())
    return sha.hexdigest()


def load(identity: Mapping[str, Any]) -> Content | None:
    """What was kept under this identity; None where there is nothing, or nothing that is as it was written."""
    try:
        path = _place(identity)
    except (OSError, StorageError):
        return None
    return _content(path, identity)


def _content(path: Path, identity: Mapping[str, Any]) -> Content | None:
    try:
        lock = open_descriptor(path / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if json.loads(read_bytes(path / "identity.json")) != json.loads(json.dumps(identity)):
            return None
        layout = json.loads(_mapped(path, _LAYOUT, np.dtype("u1"), None).tobytes())
        arrays = {
            name: _mapped(path, name, np.dtype(dtype), tuple(shape))
            if math.prod(shape)
            else np.empty(shape, np.dtype(dtype))
            for name, (dtype, shape) in layout["arrays"].items()
        }
        values, holder = layout["values"], max(arrays.values(), key=lambda array: array.nbytes)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ):
        os.close(lock)
        return None
    with suppress(OSError):  # a folder that is read only
        os.utime(path / "lock")  # the time of the last use
    weakref.finalize(holder, os.close, lock)  # not removed as long as it is mapped
    return Content(arrays, values)


def save(
    identity: Mapping[str, Any], about: Mapping[str, Any], content: Content, *, replace: bool = False
) -> str | None:
    """Keep arrays, at least one of them not empty, under an identity; why that was not possible, if it was not.
    ``replace``: for what the identity does not decide alone, so that what is there may be out of date."""
    try:
        path = _place(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_writer(path.parent):
            if not replace and _content(path, identity) is not None:  # another process was faster
                return None
            return _save(path, identity, about, content)
    except StorageError as error:
        return f"{error.problems[0].where}: {error.problems[0].what}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Others that want to write there wait, so that nobody replaces what somebody else has just written and reads."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _save(path: Path, identity: Mapping[str, Any], about: Mapping[str, Any], content: Content) -> str | None:
    """As :func:`save`, where nothing lies that can be used. Raises OSError, StorageError."""
    size = sum(array.nbytes for array in content.arrays.values())
    if path.exists() and (foreign := holds_foreign(path)):
        return foreign
    if not room_for(path.parent.parent, size):
        return "there is no room for them: ptm cache list"
    with files.new_directory(path) as aside, open_regular(aside / "lock", "xb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # or it would count as left behind by a kill
        files.write_synced(aside / "identity.json", files.json_bytes(dict(identity)))
        files.write_synced(aside / "about.json", files.json_bytes(dict(about)))
        for name, array in content.arrays.items():
            if array.size:  # what is empty cannot be mapped; the layout says all of it
                _write(aside, name, np.ascontiguousarray(array))
        _write(aside, _LAYOUT, np.frombuffer(_layout(content), dtype=np.uint8))
    return None


def _place(identity: Mapping[str, Any]) -> Path:
    """Where it is, or would be. Raises NotRegular where something else is in the way: no link is followed."""
    folder = root_directory("auto") / DATA
    path = folder / digest(identity)[:NAME_LENGTH]
    for place in (folder, path):
        if (kind := kind_of(place)) not in (None, "a directory"):
            raise NotRegular(str(kind), "a directory")
        if kind is None and os.path.lexists(place):
            raise NotRegular("a file", "a directory")
    return path


def _layout(content: Content) -> bytes:
    arrays = {name: [array.dtype.str, list(array.shape)] for name, array in content.arrays.items()}
    return json.dumps({"arrays": arrays, "values": content.values}).encode()


def _write(directory: Path, name: str, array: np.ndarray) -> None:
    content = array.reshape(-1).view(np.uint8).data
    pieces = [content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK)]
    files.write_pieces(directory / f"{name}.bin", pieces, mode="xb")
    sums = np.array([checksum(piece) for piece in pieces], dtype="<u4")
    files.write_synced(directory / f"{name}.crc", sums.tobytes())
    ends = np.cumsum([len(piece) for piece in pieces])
    files.write_synced(directory / f"{name}.json", files.json_bytes({"ends": ends.tolist()}))


def _mapped(directory: Path, name: str, dtype: np.dtype, shape: tuple[int, ...] | None) -> np.ndarray:
    """An array, compared with its CRC. Raises OSError, and ValueError for what is not as it was written."""
    with open_regular(directory / f"{name}.bin") as file:
        content = np.memmap(file, np.uint8, "r")  # ValueError for an empty file
        size = len(content)
        file.seek(0)  # read, not through the map: what is touched there stays resident
        sums_there = [checksum(file.read(min(_BLOCK, size - start))) for start in range(0, size, _BLOCK)]
    if shape is None and size > _MOST_LAYOUT:
        raise ValueError(f"{name} is too large")
    sums = checksums(directory / f"{name}.crc")
    if len(sums) != len(sums_there):
        raise ValueError(f"{name} has another size")
    if sums.tolist() != sums_there:
        raise ValueError(f"{name} has changed since it was written")
    return content if shape is None else content.view(dtype).reshape(shape)
