"""Files that a data set names, or holds: it may come from a stranger, and a name in it may lead to anything."""

from __future__ import annotations

from pathlib import Path

from ptm.base.regular import endless
from ptm.errors import DataError


def is_file(path: Path) -> bool:
    """Whether a regular file stands there, links followed; no for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Likewise of a directory."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_file(path: Path, cure: str = "") -> bytes:
    """All of a file. Raises DataError for what is none: a named pipe would be waited for, a device has no end."""
    if kind := endless(path):
        raise DataError(f"is {kind}", where=path, expected="a file", cure=cure or "remove it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, cure=cure) from None
    except ValueError as error:  # a name that no file can have
        raise DataError(f"cannot be read: {error}", where=path, cure=cure) from None


def read_text_file(path: Path, cure: str = "") -> str:
    """The text of a file in UTF-8. Raises DataError."""
    try:
        return read_file(path, cure).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be read: {error}", where=path, cure=cure) from None
