"""All stores of a directory: what is stored, what of it is damaged, and making room.

Only a directory that has the form of name which :mod:`ptm.distill.store` gives, and whose identity has the digest
that its name is, is a store. Whatever else lies there is somebody's, and is never removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptm.base import files
from ptm.base.regular import kind_of, open_descriptor, open_regular, read_bytes
from ptm.distill.store import NAME_LENGTH, checksum, checksums, digest, size_limit
from ptm.errors import StorageError

_NAME = re.compile(rf"[0-9a-f]{{{NAME_LENGTH}}}")
_OWN = re.compile(r"lock|(identity|about|facts)\.json|[\w.-]+\.(bin|crc|json)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A store as ``ptm cache list`` shows it."""

    name: str
    path: Path
    bytes: int  # on the disk
    used: float  # seconds since the epoch
    teacher: str
    split: str
    blocks_filled: int
    blocks: int


def entries(root: Path) -> list[Entry]:
    """All stores, the one used last first. Raises StorageError where the directory cannot be read."""
    try:
        paths = [path for path in root.iterdir() if _looks_like_a_store(path)] if root.is_dir() else []
        return sorted(map(_entry, paths), key=lambda entry: -entry.used)
    except OSError as error:
        raise StorageError(
            f"the stored outputs of teachers cannot be read: {error.strerror}",
            where=error.filename or root,
            cure="change its permissions, or name another directory in $PTM_CACHE",
        ) from error


def _looks_like_a_store(path: Path) -> bool:
    """Whether it has a store's form of name, its lock, and an identity: that may be damaged, as others may be."""
    return (
        _NAME.fullmatch(path.name) is not None
        and kind_of(path) == "a directory"
        and os.path.lexists(path / "lock")
        and kind_of(path / "lock") is None
    )


def _is_store(path: Path) -> bool:
    """Whether the name of a directory is the digest of the identity in it, which nobody gets by chance."""
    try:
        return digest(json.loads(read_bytes(path / "identity.json")))[:NAME_LENGTH] == path.name
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _entry(path: Path) -> Entry:
    try:
        about = json.loads(read_bytes(path / "about.json"))
        about = about if isinstance(about, dict) else {}
    except (OSError, ValueError, RecursionError):
        about = {}
    sums = [
        checksums
        for file in sorted(path.glob("*.crc"))
        if (checksums := _readable_checksums(file)) is not None
    ]
    return Entry(
        name=path.name,
        path=path,
        bytes=sum(file.lstat().st_blocks * 512 for file in path.iterdir()),
        used=(path / "lock").lstat().st_mtime,
        teacher=str(about.get("teacher", "unknown")),
        split=str(about.get("split", "unknown")),
        blocks_filled=sum(int((s != 0).sum()) for s in sums),
        blocks=sum(len(s) for s in sums),
    )


def _readable_checksums(path: Path) -> np.ndarray | None:
    try:
        return checksums(path)
    except (OSError, ValueError):
        return None


def verify(path: Path) -> list[str]:
    """What is damaged in a store: a line a problem, [] when every block is as it was written."""
    problems = []
    if not _is_store(path):
        problems.append(
            "identity.json is not the one it was made with: nothing in here is used, and nothing is removed by ptm"
        )
    for crc_file in sorted(path.glob("*.crc")):
        problems += _problems(crc_file)
    return problems


def _problems(crc_file: Path) -> list[str]:
    name = crc_file.stem
    try:
        ends = [int(end) for end in json.loads(read_bytes(crc_file.with_suffix(".json")))["ends"]]
        with open_regular(crc_file.with_suffix(".bin")) as file:
            content = np.memmap(file, dtype=np.uint8, mode="r")
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return [f"{name}: its .bin or .json is missing or damaged"]
    sums = _readable_checksums(crc_file)
    if sums is None:
        return [f"{name}: its .crc is damaged"]
    if len(ends) != len(sums) or not ends or ends[-1] != len(content):
        return [f"{name}: another size than it was made with"]
    bounds = enumerate(zip([0, *ends[:-1]], ends, strict=True))
    return [
        f"{name}: block {block} has changed since it was written"
        for block, (first, last) in bounds
        if sums[block] and sums[block] != checksum(content[first:last].tobytes())
    ]


def prune(root: Path, limit: float, report: Callable[[str], None] = lambda line: None) -> int:
    """Remove stores that no run uses, those unused longest first, until ``limit`` bytes are left: the bytes freed.

    ``report`` gets a line for each store that was removed, is in use, or holds what ptm did not write.
    """
    stores = [entry for entry in entries(root) if _is_store(entry.path)]
    total, freed = sum(entry.bytes for entry in stores), 0
    for entry in reversed(stores):
        if total - freed <= limit:
            break
        try:
            descriptor = open_descriptor(entry.path / "lock", os.O_RDWR)
        except OSError as error:
            report(f"{entry.name} cannot be removed: {error.strerror}")
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            report(f"{entry.name} is in use")
            continue
        else:
            problem = _remove(entry.path)
            if problem is None:
                freed += entry.bytes
                report(f"removed {entry.name}: {entry.bytes / 1e6:.1f} MB, teacher {entry.teacher}")
            else:
                report(f"{entry.name} is left: {problem}")
        finally:
            os.close(descriptor)
    return freed


def _remove(path: Path) -> str | None:
    """Remove a store; what keeps it from being removed, if something does. ``lock`` goes last: a kill in here
    leaves what counts as a store still, or an empty lock and no identity."""
    foreign = [entry.name for entry in path.iterdir() if not _is_own(entry)]
    if foreign:
        return f"it holds what ptm did not write: {', '.join(sorted(foreign)[:3])}"
    try:
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name in ("identity.json", "lock")):
            entry.unlink(missing_ok=True)
        path.rmdir()
    except OSError as error:
        return error.strerror
    return None


def _is_own(path: Path) -> bool:
    return kind_of(path) is None and (_OWN.fullmatch(path.name) is not None or files.is_debris(path.name))


def room_for(root: Path, size: int, reserve: int = 0) -> bool:
    """Whether ``size`` more bytes may be stored, and leave ``reserve`` bytes of the disk; older stores make room for
    them if they must."""
    total = sum(entry.bytes for entry in entries(root))
    if total + size > size_limit():
        total -= prune(root, max(0.0, size_limit() - size))
    return total + size <= size_limit() and size < 0.9 * files.free_bytes(root) - reserve
