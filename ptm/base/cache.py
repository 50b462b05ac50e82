"""Directories that keep what was computed once, outputs, tokens, rows: what is there or damaged, making room.

Each is named by the digest of its **identity**: all that decides what is in it. Whatever differs gives another name, so
what does not match is never found. Numbers stand in ``NAME.bin``, a CRC-32 of each of their blocks in ``NAME.crc``: a
block counts only when its numbers have its CRC. Held open (shared lock), a directory is not removed.

Only a directory that has this form of name, and whose identity has the digest that its name is, is one of ptm's.
Whatever else lies there is somebody's, and is never removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.regular import NotRegular, kind_of, open_descriptor, open_regular, read_bytes
from ptm.errors import Problem, StorageError

FORMAT = 1
NAME_LENGTH = 32  # hexadecimal digits of the identity's digest
DATA = "data"  # the folder of what is no teacher's
DEFAULT_LIMIT = 20e9  # bytes of all stores together, unless $PTM_CACHE_LIMIT_GB is set
# What is no teacher's, by the key of about.json that says so, and in words.
_DATA = {
    "tokens": "tokens for {}",
    "rows": "rows of {}",
    "pixels": "images of {} pixels",
    "files": "digests of {}",
    "images": "images that were {}",
}
_NAME = re.compile(rf"[0-9a-f]{{{NAME_LENGTH}}}")
_OWN = re.compile(r"lock|(identity|about|facts)\.json")
_NUMBERS = re.compile(r"[\w.-]+\.(bin|crc|json)")
_OF_SHARD = re.compile(r"[\w.-]+\.(fp32|fp16|int32)\.(bin|crc)")  # made before their .json
_MOST_ENDS = 16_000_000  # bytes of a .json with ends of blocks


def root_directory(choice: str) -> Path:
    """Where the stores are: ``distill.store``, else ``$PTM_CACHE``, else ``ptm/teachers`` in ``$XDG_CACHE_HOME``, which
    is ``~/.cache`` where it is not set or no absolute path (XDG Base Directory Specification)."""
    if choice not in ("auto", "off"):
        return Path(choice)
    directory = os.environ.get("PTM_CACHE")
    if directory:
        return Path(directory)
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if caches.is_absolute():
        return caches / "ptm" / "teachers"
    try:
        return Path.home() / ".cache" / "ptm" / "teachers"
    except RuntimeError:
        raise StorageError(
            "there is no home directory for the outputs of teachers", cure="name a directory in $PTM_CACHE"
        ) from None


def size_limit() -> float:
    """Bytes that all stores may take together."""
    with suppress(KeyError, ValueError):
        limit = float(os.environ["PTM_CACHE_LIMIT_GB"])
        if limit >= 0:  # not what is no number
            return limit * 1e9
    return DEFAULT_LIMIT


def digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of what decides the outputs, whatever the order of its keys."""
    text = json.dumps({**identity, "format": FORMAT}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def checksums(path: Path) -> np.ndarray:
    """The content of a ``.crc``: uint32 [blocks]."""
    return np.frombuffer(read_bytes(path), dtype="<u4")


def checksum(content: bytes | memoryview) -> int:
    """CRC-32 of the bytes, never 0, which means: not written."""
    return zlib.crc32(content) or 1


def lock_shared(directory: Path) -> int:
    """Make a store's directory if need be and lock it against removal: the descriptor of the lock."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        kind = kind_of(directory)
        if kind not in (None, "a directory"):
            raise NotRegular(kind, "a directory")
        descriptor = open_descriptor(directory / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:  # while this waited for the lock, the store may have been removed
            current = (directory / "lock").stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            current = False
        if current:
            os.utime(directory / "lock")  # the time of the last use
            return descriptor
        os.close(descriptor)


def write_once(path: Path, content: dict[str, Any], *, exact: bool = True) -> None:
    """JSON that is the same whoever writes it, so that two runs may do so at once. What is damaged is written anew;
    unless ``exact``, whatever object is there already stays."""
    text = files.json_bytes(content)
    with files.storage_errors(path):
        present = _read_object(path)
        if present == json.loads(text) or (present is not None and not exact):
            return
    aside = files.beside(path)
    with files.storage_errors(path), open_regular(aside, "xb") as file:
        file.write(text)  # not synced: half a file is no worse than none
        file.flush()
        os.replace(aside, path)


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none, or something else. Raises NotRegular."""
    try:
        content = json.loads(read_bytes(path))
    except NotRegular:
        raise
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A store as ``ptm cache list`` shows it."""

    name: str
    path: Path
    bytes: int  # on the disk
    used: float  # seconds since the epoch
    teacher: str  # "" of what is no teacher's
    tokens: str  # the model whose tokens they are; "" of anything else
    rows: str  # the file whose rows they are; "" of anything else
    pixels: str  # the size of the images whose pixels they are; "" of anything else
    files: str  # the files whose digests they are; "" of anything else
    images: str  # what is known of images: "decoded whole", "opened"; "" of anything else
    split: str
    blocks_filled: int
    blocks: int

    @property
    def what(self) -> str:
        """What it holds, in words."""
        values = {name: getattr(self, name) for name in _DATA}
        return next((_DATA[name].format(value) for name, value in values.items() if value), self.teacher)


def entries(root: Path) -> list[Entry]:
    """All stores, the one used last first. Raises StorageError where the directory cannot be read."""
    try:
        folders = [
            folder for folder in (root, root / DATA) if kind_of(folder) == "a directory" or folder == root
        ]
        paths = [
            path
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if _looks_like_a_store(path)
        ]
        found = [entry for path in paths if (entry := _entry(path)) is not None]
        return sorted(found, key=lambda entry: -entry.used)
    except OSError as error:
        raise StorageError(
            f"what is stored cannot be read: {error.strerror}",
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


def _entry(path: Path) -> Entry | None:
    """None for a store that another process removed meanwhile."""
    try:
        return _described(path)
    except FileNotFoundError:
        return None


def _described(path: Path) -> Entry:
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
        teacher="" if _DATA.keys() & about.keys() else str(about.get("teacher", "unknown")),
        **{name: str(about.get(name, "")) for name in _DATA},
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


def prune(
    root: Path,
    limit: float,
    report: Callable[[str], None] = lambda line: None,
    left: Callable[[Problem], None] = lambda problem: None,
) -> int:
    """Remove stores that no run uses, those unused longest first, until ``limit`` bytes are left: the bytes freed.

    ``report`` gets a line for each store that was removed, is in use, or cannot be removed; ``left`` what cannot be,
    and why, where more than ``limit`` bytes stay for it."""
    _clear_debris(root / DATA)
    stores = [entry for entry in entries(root) if _is_store(entry.path)]
    total, freed = sum(entry.bytes for entry in stores), 0
    problems = []
    for entry in reversed(stores):
        if total - freed <= limit:
            break
        try:
            descriptor = open_descriptor(entry.path / "lock", os.O_RDWR)
        except OSError as error:
            report(f"{entry.name} cannot be removed: {error.strerror}")
            problems.append(_not_removed(entry.path, f"its lock: {error.strerror}"))
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
                what = f"teacher {entry.teacher}" if entry.teacher else entry.what
                report(f"removed {entry.name}: {entry.bytes / 1e6:.1f} MB, {what}")
            else:
                report(f"{entry.name} is left: {problem}")
                problems.append(_not_removed(entry.path, problem))
        finally:
            os.close(descriptor)
    if total - freed > limit:
        for kept in problems:
            left(kept)
    return freed


def _not_removed(path: Path, why: str) -> Problem:
    return Problem(
        f"cannot be removed: {why}",
        where=str(path),
        cure="change the permissions of the folder, or move away what is not ptm's, and prune again",
    )


def _remove(path: Path, *, being_made: bool = False) -> str | None:
    """Remove a store; what keeps it from being removed, if something does. ``lock`` goes last: a kill in here
    leaves what counts as a store still, or an empty lock and no identity."""
    foreign = holds_foreign(path, being_made=being_made)
    if foreign:
        return foreign
    try:
        for entry in sorted(path.iterdir(), key=_removed_last):
            entry.unlink(missing_ok=True)
        path.rmdir()
    except OSError as error:
        return error.strerror
    return None


def _removed_last(path: Path) -> tuple[bool, bool]:
    """Order of removing: by the .json of numbers a kill leaves known whose the others are."""
    return path.name in ("identity.json", "lock"), path.suffix == ".json"


def holds_foreign(path: Path, *, being_made: bool = False) -> str | None:
    """That a store holds what ptm did not write, where it does. One that was ``being_made`` may lack what belongs to a
    file of numbers."""
    foreign = [entry.name for entry in path.iterdir() if not _is_own(entry, being_made=being_made)]
    return f"it holds what ptm did not write: {', '.join(sorted(foreign)[:3])}" if foreign else None


def _clear_debris(folder: Path) -> None:
    """Remove what a kill left of stores that were being made: nobody holds their lock, and all in them is ptm's."""
    if kind_of(folder) != "a directory":
        return
    for path in folder.iterdir():
        if not files.is_debris(path.name) or kind_of(path) != "a directory":
            continue
        with suppress(OSError):
            descriptor = open_descriptor(path / "lock", os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path, being_made=True)
            finally:
                os.close(descriptor)


def _is_own(path: Path, *, being_made: bool) -> bool:
    if kind_of(path) is not None:
        return False
    if _OWN.fullmatch(path.name) or _OF_SHARD.fullmatch(path.name) or files.is_debris(path.name):
        return True
    return _NUMBERS.fullmatch(path.name) is not None and (being_made or _is_of_numbers(path))


def _is_of_numbers(path: Path) -> bool:
    """Whether it stands with the two others that make up stored numbers, or all are gone but where its blocks end:
    another file by such a name is somebody's."""
    if all(path.with_suffix(suffix).is_file() for suffix in (".bin", ".crc", ".json")):
        return True
    try:
        content = json.loads(read_bytes(path.with_suffix(".json"), _MOST_ENDS))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() == {"ends"}


def room_for(root: Path, size: int, reserve: int = 0) -> bool:
    """Whether ``size`` more bytes may be stored, and leave ``reserve`` bytes of the disk; older stores make room for
    them if they must."""
    total = sum(entry.bytes for entry in entries(root))
    if total + size > size_limit():
        total -= prune(root, max(0.0, size_limit() - size))
    return total + size <= size_limit() and size < 0.9 * files.free_bytes(root) - reserve
