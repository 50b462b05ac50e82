"""Writing files so that a reader finds the old content or the new, never a part: aside, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from safetensors import SafetensorError

from ptm.base.regular import NotRegular, kind_of, open_regular, read_bytes, strays
from ptm.errors import StorageError

_ASIDE = ".writing-"  # and a random number: a write that is under way, or did not finish
_OLD = ".replaced-"  # and a random number and a name: it was whole under that name, and was being replaced
_DEBRIS = re.compile(
    rf"{re.escape(_ASIDE)}[0-9a-f]{{16}}|{re.escape(_OLD)}[0-9a-f]{{16}}-(?P<name>(?!\.\.?$).+)", re.DOTALL
)

# What a reader takes of a saved model, wherever it lies in it, besides what is sealed: weights, settings (of a
# tokenizer, of its answers), vocabularies, code. Notes and pictures beside them are nobody's concern.
OF_A_MODEL = re.compile(
    r".*\.(safetensors|bin|pt|pth|json|jinja|py|model|spm|bpe|codes)|(vocab|merges|dict)[^/]*\.txt", re.DOTALL
)
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth|index\.json)|adapter_config\.json", re.DOTALL)

Piece = bytes | memoryview  # a part of a file's content


def beside(path: Path) -> Path:
    """A name beside ``path`` that nobody can know before, for a write that is under way."""
    return path.with_name(_ASIDE + secrets.token_hex(8))


def is_debris(name: str) -> bool:
    """Whether ptm gives such names to writes under way: what a kill may leave, and what it may remove."""
    return _DEBRIS.fullmatch(name) is not None


def require_replaceable(path: Path) -> None:
    """Raise StorageError when something other than a regular file stands at ``path``: it is never written through.

    A link is refused rather than replaced: whoever made it meant what it leads to.
    """
    kind = kind_of(path)
    if kind is not None:
        raise NotRegular(kind)


def write_file(path: Path, content: bytes) -> None:
    """``content`` at ``path``, durably. Raises StorageError; the earlier content then still stands."""
    aside = beside(path)
    with storage_errors(path):
        require_replaceable(path)
        try:
            write_pieces(aside, [content], mode="xb")
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, to fill line by line, which becomes ``path`` whole and durably, or not at all.

    Raises StorageError; whatever ends the filling early leaves the earlier content as it was.
    """
    aside = beside(path)
    with storage_errors(path):
        require_replaceable(path)
        try:
            with cast(
                TextIO, open_regular(aside, "x", encoding="utf-8", errors="backslashreplace", newline="")
            ) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_file(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Indented JSON with a final newline. Floats keep all their digits; NaN is refused."""
    return utf8(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(content: bytes | str) -> Any:
    """What :func:`json_bytes` writes. Raises ValueError, also for NaN and infinities, which are no JSON, and for what
    is too large for a number (``1e999``)."""

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    def finite(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text)

    return json.loads(content, parse_constant=refuse, parse_float=finite)


def utf8(text: str) -> bytes:
    """Text in UTF-8. What stands for a byte of a file name that is none is written as ``\\udcff``, as JSON has it."""
    return text.encode("utf-8", "backslashreplace")


def write_synced(path: Path, content: bytes) -> None:
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[Piece], *, mode: str = "wb") -> dict[str, Any]:
    """The pieces one after the other, on the disk when this returns; their ``bytes`` and ``sha256`` for :func:`seal`.

    What is written is hashed while it is at hand and while the disk is busy with it: that spares reading it again,
    and a disk that stored something else is found out. Raises OSError.
    """
    whole = list(pieces)
    with ThreadPoolExecutor(1) as beside, open_regular(path, mode, buffering=0) as file:
        digest = beside.submit(_digest, whole)
        for piece in whole:
            written = 0
            while written < len(piece):  # the system may take less than it is given
                taken = file.write(piece[written:])
                if not taken:
                    raise OSError(errno.EIO, "the disk takes nothing")
                written += taken
        os.fsync(file.fileno())
        return {"bytes": sum(map(len, whole)), "sha256": digest.result()}


def write_at(descriptor: int, content: Piece, offset: int) -> None:
    """All of ``content``, from byte ``offset`` on. Raises OSError."""
    written = 0
    while written < len(content):  # the system may take less than it is given
        taken = os.pwrite(descriptor, content[written:], offset + written)
        if not taken:
            raise OSError(errno.EIO, "the disk takes nothing")
        written += taken


def _digest(pieces: Iterable[Piece]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, which becomes ``target`` whole or not at all; an earlier ``target`` is replaced.

    All files in it are synced before it is renamed. A kill between the two renames is mended by
    :func:`clear_debris`.
    """
    aside, old = beside(target), target.with_name(f"{_OLD}{secrets.token_hex(8)}-{target.name}")
    with storage_errors(target):
        kind = kind_of(target)
        if kind not in (None, "a directory"):
            raise NotRegular(kind, expected="a directory")
        try:
            aside.mkdir(parents=True)
            yield aside
            # Some libraries write files that only their owner may read, whatever the umask: the folder shows it.
            mode = stat.S_IMODE(aside.stat().st_mode) & 0o666
            for path in (aside, *aside.rglob("*")):
                if path.is_file():
                    path.chmod(mode)
                    with open_regular(path) as file:
                        os.fsync(file.fileno())
                else:
                    sync_directory(path)
            if target.exists():
                os.rename(target, old)
            os.rename(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            if old.exists() and not target.exists():
                os.rename(old, target)
            raise
        sync_directory(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def clear_debris(directory: Path) -> None:
    """Undo or finish writes that a kill cut off. Call it only while holding the run's lock."""
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        debris = _DEBRIS.fullmatch(entry.name)
        if debris is None:
            continue
        name, kind = debris["name"], kind_of(entry)
        # ptm replaces files and directories: a link that got the name of either would lead out of the directory.
        ours = kind in (None, "a directory")
        if ours and name is not None and not os.path.lexists(entry.with_name(name)):
            os.rename(entry, entry.with_name(name))
        elif kind == "a directory":
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def seal(directory: Path, known: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Write ``manifest.json``: size and SHA-256 of every file in ``directory``.

    ``known`` has what :func:`write_pieces` returned, by name; other files are read.
    """
    known = known or {}
    files = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and path.name != "manifest.json":
            files[name] = known.get(name) or {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    write_synced(directory / "manifest.json", json_bytes({"files": files}))


def sealed_names(directory: Path) -> frozenset[str]:
    """Names of the files that the seal of a directory lists; none where there is no seal."""
    try:
        content = json.loads(read_bytes(directory / "manifest.json", MOST_SEAL))["files"]
        return frozenset(map(str, content))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


MOST_SEAL = 16_000_000  # bytes of a manifest.json that lists files: a hundred thousand of them


def broken_seal(directory: Path, taken: re.Pattern[str] = _WEIGHTS) -> str | None:
    """What is wrong with a sealed directory, naming the file; None when every byte is as it was written, and no file
    was added of the names that are ``taken`` by its reader."""
    try:
        for path, kind in strays(directory):
            return f"{path.relative_to(directory).as_posix()} is {kind}"
        recorded: Mapping[str, Any] = json.loads(read_bytes(directory / "manifest.json", MOST_SEAL))["files"]
        expected = {
            str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in recorded.items()
        }
    except FileNotFoundError:
        return "manifest.json is missing"
    except OSError as error:
        return f"manifest.json cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "manifest.json is damaged"
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if name in expected or name == "manifest.json" or hidden or not path.is_file():
            continue
        if taken.fullmatch(path.name):
            return f"{name} was not there when it was written"
    for name, (size, digest) in expected.items():
        path = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            return f"{name} leads out of the directory"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
        if file_digest(path) != digest:
            return f"{name} has changed since it was written (SHA-256)"
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# What helps when a write fails; where nothing else does, another place.
_CURES: Mapping[int, str] = {
    errno.ENOTDIR: "a part of the path is a file: choose another --output",
    errno.ENOENT: "the folder is not there and cannot be made: choose another --output",
    errno.EEXIST: "a file is in the way: choose another --output",
    errno.EACCES: "choose a place where you may write, or change the permissions",
    errno.EPERM: "choose a place where you may write, or change the permissions",
    errno.EROFS: "the disk is read-only: choose an --output on another",
    errno.ENAMETOOLONG: "choose a shorter --output",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """An error while writing becomes one message with the path and what to do about this kind of error."""
    try:
        yield
    except NotRegular as error:
        raise StorageError(
            f"cannot be written: {error.strerror}",
            where=path,
            expected=error.expected,
            cure="remove it, or name another place: ptm writes through no link and into no pipe or device",
        ) from error
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        expected, cure = "a place where files can be made", _CURES.get(number or 0, "")
        if not cure:
            # An error of safetensors has no number.
            full = number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
            space = f"free some space ({free_bytes(path) / 1e9:.1f} GB are left) or " if full else ""
            expected = "a disk that takes the file"
            cure = f"{space}choose another --output; what was saved before is intact"
        raise StorageError(
            f"cannot be written: {getattr(error, 'strerror', None) or error}",
            where=path,
            expected=expected,
            cure=cure,
        ) from error


def tree_bytes(path: Path) -> int:
    """Bytes that a file or a directory with all in it takes on the disk; 0 where there is none."""
    try:
        entries = [path, *path.rglob("*")]
        return sum(entry.lstat().st_blocks * 512 for entry in entries)
    except OSError:
        return 0


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that holds, or would hold, ``path``."""
    return shutil.disk_usage(_present(path)).free


def disk_of(path: Path) -> int:
    """The number of the disk that holds, or would hold, ``path``. Raises StorageError."""
    with storage_errors(path):
        return _present(path).stat().st_dev


def _present(path: Path) -> Path:
    """What of a path is there; a working directory that was removed is not."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
