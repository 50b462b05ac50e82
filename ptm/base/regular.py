"""Opening regular files and nothing else: no symbolic link is followed, no named pipe waited for, no device read.

What stands in a run directory may come from a stranger. A link in it could lead a write to a file of the user's,
a named pipe would keep a reader waiting for ever, and a device has no end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a directory"),
)
_HARD_LINK = "a file that has another name, too (a hard link)"


class NotRegular(OSError):
    """What stands at a path is not what was ``expected``; ``strerror`` says what it is."""

    def __init__(self, kind: str, expected: str = "a regular file") -> None:
        super().__init__(errno.EINVAL, f"is {kind}, not {expected}")
        self.expected = expected


def kind_of(path: Path) -> str | None:
    """What stands at ``path`` if it is no regular file: ``a symbolic link``, …; None for a file and for nothing.

    Raises OSError where that cannot be seen.
    """
    try:
        return _kind(path.lstat().st_mode)
    except FileNotFoundError:
        return None


def kind_to_write(path: Path) -> str | None:
    """As :func:`kind_of`, for a file that is changed in its place: not one that has another name as well, by which it
    may be somebody's data, or a copy of the run."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return _kind(status.st_mode) or (_HARD_LINK if status.st_nlink > 1 else None)


def endless(path: Path) -> str | None:
    """What stands at ``path``, links followed, if a reader of it may wait for ever: ``a named pipe``, ``a device``, …;
    None for files, directories and nothing.

    A pipe that a shell hands over (``<(…)``, ``/dev/stdin``) has no name, and somebody at its other end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return None
    nameless = stat.S_ISFIFO(mode) and not os.path.lexists(os.path.realpath(path))
    return None if nameless or stat.S_ISDIR(mode) else _kind(mode)


def hindrance(path: Path) -> str | None:
    """What keeps the file at ``path``, links followed, from being read, in words; None where it opens."""
    if kind := endless(path):
        return f"is {kind}, not a file"
    try:
        with path.open("rb"):
            return None
    except IsADirectoryError:
        return "this is a folder, not a file"
    except (FileNotFoundError, ValueError):  # a name with a NUL in it, too
        if path.is_symlink():
            return f"is a link to {os.path.realpath(path)}, which is not there"
        return "there is no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _kind(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS if test(mode)), "something else")


def open_regular(path: Path, mode: str = "rb", **how: Any) -> IO[Any]:
    """``open()`` for a regular file. Raises NotRegular for anything else, for a file with two names that is to be
    written, and what ``open()`` raises.

    Directories above it may be links; :func:`strays` sees those inside of a directory.
    """
    kind = kind_of(path) if set(mode).isdisjoint("wa+") else kind_to_write(path)
    if kind is not None:
        raise NotRegular(kind)
    # open() itself, not Path.open(): only that one takes an opener.
    file: IO[Any] = open(path, mode, opener=_opener, **how)  # noqa: SIM115
    kind = _kind(os.fstat(file.fileno()).st_mode)
    if kind is not None:  # put there since it was looked at
        file.close()
        raise NotRegular(kind)
    return file


def open_descriptor(path: Path, flags: int) -> int:
    """``os.open()`` for a regular file, which is made if ``flags`` say so. Raises as :func:`open_regular`."""
    kind = kind_to_write(path) if flags & (os.O_WRONLY | os.O_RDWR) else kind_of(path)
    if kind is not None:
        raise NotRegular(kind)
    descriptor = _opener(path, flags)
    kind = _kind(os.fstat(descriptor).st_mode)
    if kind is not None:
        os.close(descriptor)
        raise NotRegular(kind)
    return descriptor


def _opener(path: str | Path, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe would wait for its other end. It changes nothing for a regular file.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The content of a regular file. Raises OSError, NotRegular among them; ValueError for more than ``most`` bytes,
    where that is given."""
    with open_regular(path) as file:
        content: bytes = file.read() if most < 0 else file.read(most + 1)
    if 0 <= most < len(content):
        raise ValueError(f"{path.name} is larger than {most:,} bytes")
    return content


def read_text(path: Path) -> str:
    """The content of a regular file in UTF-8. Raises OSError, NotRegular among them, and UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8")


def strays(directory: Path) -> Iterator[tuple[Path, str]]:
    """Everything in and below a directory that is neither a regular file nor a directory, and what it is.

    The directory itself counts as well; nothing is followed. Raises OSError where it cannot be listed.
    """
    kind = kind_of(directory)
    if kind not in (None, "a directory"):
        yield directory, kind
    elif kind is not None:
        for entry in sorted(directory.iterdir()):
            yield from strays(entry)
