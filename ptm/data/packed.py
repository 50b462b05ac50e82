"""Files that are packed with gzip, read as what is in them; never more of it than the machine can hold."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ptm.errors import DataError

GZIP_SUFFIX = ".gz"
_SURE = 64 << 20  # bytes that may come out of any file
_RATIO = 100  # bytes that may come out of a packed one beyond that: texts have 3 to 20
_MOST = 4 << 30  # bytes that may come out in any case


def suffix_of(path: Path) -> str:
    """``.csv`` of ``a.CSV``, ``.csv.gz`` of ``a.csv.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [GZIP_SUFFIX]:
        return "".join(suffixes)
    return path.suffix.lower()


def is_packed(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() == GZIP_SUFFIX


def with_packed(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """These suffixes, and each with ``.gz`` behind it."""
    return (*suffixes, *(suffix + GZIP_SUFFIX for suffix in suffixes))


def unpacked(raw: bytes, path: Path) -> bytes:
    """What is in a file of gzip. Raises DataError where it is none, is cut off, or unpacks to too much."""
    with unpacking(path), _Unpacked(io.BytesIO(raw), path, len(raw)) as stream:
        return stream.read()


def unpacked_stream(stream: BinaryIO, path: Path) -> BinaryIO:
    """The same, as it is read; what is wrong with it is raised then, inside :func:`unpacking`."""
    return io.BufferedReader(_Unpacked(stream, path, path.stat().st_size))


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """What gzip raises, as DataError."""
    try:
        yield
    except EOFError:
        cure = "copy or download it again"
        raise DataError("the gzip file is cut off", where=path, expected="a whole one", cure=cure) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        cure = "take .gz off its name if it is not packed; else write or download it again"
        raise DataError(
            f"no gzip file: {error}", where=path, expected="what gzip writes", cure=cure
        ) from None


def refuse_large(path: Path, packed: int, count: int) -> None:
    """DataError where so many bytes come out of so few that they are hardly texts."""
    most = min(_MOST, max(_SURE, _RATIO * packed))
    if count > most:
        raise DataError(
            f"{packed:,} bytes unpack to more than {most:,}",
            where=path,
            expected=f"at most {_RATIO} times its size, as texts have, and {_MOST >> 30} GiB",
            cure="unpack it yourself, if it is what you want",
        )


class _Unpacked(io.RawIOBase):
    """The bytes in a file of gzip, counted."""

    def __init__(self, stream: BinaryIO, path: Path, packed: int) -> None:
        super().__init__()
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")
        self._path, self._packed, self._count = path, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self._count += count
        refuse_large(self._path, self._packed, self._count)
        return count
