"""Arrays that grow at their end and hold little memory: a large one stands in a file without a name."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from ptm.base.cache import DATA, root_directory
from ptm.errors import StorageError

MOST_HELD = 2**24  # bytes of one array in memory


class Growing:
    """An array [n] of ``dtype``, a block after the other. Raises StorageError where a large one finds no room."""

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._blocks: list[np.ndarray] = []
        self._held = 0
        self._file: BinaryIO | None = None

    def extend(self, values: np.ndarray | Sequence[int]) -> None:
        block = np.ascontiguousarray(values, dtype=self._dtype)
        self._blocks.append(block)
        self._held += block.nbytes
        if self._held > MOST_HELD:
            self._write()

    def array(self) -> np.ndarray:
        """All of it, to be read only: mapped into memory where it is large. Nothing is added after that."""
        if self._file is None:
            return np.concatenate([np.empty(0, self._dtype), *self._blocks])
        self._write()
        with self._file:  # which the map needs no more
            return np.asarray(np.memmap(self._file, self._dtype, "r"))

    def _write(self) -> None:
        try:
            self._file = self._file or _nameless()
            for block in self._blocks:
                self._file.write(block.data)
        except OSError as error:
            if self._file is not None:
                self._file.close()
            raise StorageError(
                f"no room for what is made of large data: {error.strerror}",
                cure="make room, or name another directory in $PTM_CACHE",
            ) from None
        self._file.flush()
        self._blocks, self._held = [], 0


def _nameless() -> BinaryIO:
    """In the cache's folder, which is on a disk; where temporary files are, which may be memory, only if need be."""
    try:
        folder = root_directory("auto") / DATA
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except (OSError, StorageError):
        return tempfile.TemporaryFile()


def release(array: np.ndarray) -> None:
    """Of an array that is mapped from a file: what was read of it need not stay in memory. It can be read again."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
