"""Outputs of a frozen network, kept on disk: it runs once for each example and view.

A **store** is a directory named by the digest of its identity: all that decides an output (weights, tokenizer or
preprocessing, data, arithmetic). Whatever differs gives another name, so a store that does not match is never
found. In it, a **shard** a view and field: numbers of all examples end to end, written block by block, and
a file of CRC-32 values, one a block. A block counts only when its numbers have its CRC: after a kill, a crash or
a flipped bit it is computed again. Blocks are cut from one canonical order of the examples, so the stored
bits do not depend on which run filled them, in what order, or how often it was stopped.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.cache import NAME_LENGTH, checksum, checksums, digest, lock_shared, write_once
from ptm.base.regular import open_descriptor, open_regular, read_bytes

_ZEROS = 2**22  # bytes written at once where a file system cannot allocate
_DTYPES: dict[str, np.dtype] = {"fp32": np.dtype("<f4"), "fp16": np.dtype("<f2"), "int32": np.dtype("<i4")}


@dataclass(frozen=True, kw_only=True)
class Field:
    """An output that is stored of each example: ``shape`` numbers, or so many for each of its tokens."""

    name: str
    shape: tuple[int, ...]
    per_token: bool = False
    precision: str = "fp32"

    @property
    def dtype(self) -> np.dtype:
        return _DTYPES[self.precision]

    @property
    def width(self) -> int:
        return math.prod(self.shape)


class Store:
    """The outputs of one teacher on one split. Held open (shared lock), it is not pruned."""

    def __init__(
        self, root: Path, identity: Mapping[str, Any], blocks: Sequence[np.ndarray], about: Mapping[str, Any]
    ) -> None:
        """``blocks``: the ids of each block, every id once: the canonical order. Makes the directory.

        ``about`` is for people: the names of teacher and data, which do not decide what is computed.
        """
        self.path = root / digest(identity)[:NAME_LENGTH]
        self.blocks = tuple(blocks)
        with files.storage_errors(self.path):
            self._lock = lock_shared(self.path)
        try:
            write_once(self.path / "identity.json", dict(identity))
            write_once(self.path / "about.json", dict(about), exact=False)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock: the store may be removed."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def shard(self, view: str, field: Field, lengths: np.ndarray | None = None) -> Shard:
        """The numbers of one field under one view; ``lengths`` are needed for fields a token."""
        return Shard(self.path / f"{view}.{field.name}.{field.precision}", field, self.blocks, lengths)

    def read_evaluation(self) -> dict[str, Any] | None:
        """What was written by :meth:`write_evaluation`, None when there is nothing, or nothing readable."""
        try:
            content = files.parse_json(read_bytes(self.path / "facts.json"))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        write_once(self.path / "facts.json", dict(evaluation))


class Shard:
    """``PATH.bin``: the numbers, in canonical order. ``PATH.crc``: a CRC-32 a block, 0 for one not written."""

    def __init__(
        self, path: Path, field: Field, blocks: Sequence[np.ndarray], lengths: np.ndarray | None
    ) -> None:
        self.field = field
        self._blocks = blocks
        order = np.concatenate(blocks) if len(blocks) else np.empty(0, dtype=np.int64)
        self._rows = np.empty(len(order), dtype=np.int64)  # position of each id in the file
        self._rows[order] = np.arange(len(order))
        if field.per_token:
            assert lengths is not None
            self._starts = np.concatenate([[0], np.cumsum(lengths[order], dtype=np.int64)])
        else:
            self._starts = np.arange(len(order) + 1, dtype=np.int64)
        self._block_ends = np.cumsum([len(ids) for ids in blocks], dtype=np.int64)
        self._data, self._crc = path.with_name(path.name + ".bin"), path.with_name(path.name + ".crc")
        size = int(self._starts[-1]) * field.width * field.dtype.itemsize
        self._map: np.ndarray = np.empty((0, field.width), dtype=field.dtype)
        with files.storage_errors(path):
            self._new = _allocate(self._data, size)
            _allocate(self._crc, 4 * len(blocks))
            if size:
                # Only read through the map: without room, a page that is touched would end the process with SIGBUS.
                with open_regular(self._data) as file:
                    self._map = np.memmap(file, field.dtype, "r", shape=(int(self._starts[-1]), field.width))
        ends = self._starts[self._block_ends] * field.width * field.dtype.itemsize
        write_once(path.with_name(path.name + ".json"), {"ends": ends.tolist()})

    def missing(self) -> list[int]:
        """Numbers of the blocks that were not written, or whose numbers are not what was written.

        Raises StorageError.
        """
        with files.storage_errors(self._crc):
            sums = checksums(self._crc)
        return [i for i in range(len(self._blocks)) if sums[i] == 0 or sums[i] != self._checksum(i)]

    def write(self, block: int, rows: Sequence[np.ndarray]) -> None:
        """The numbers of a block's examples, in the order of its ids: [shape], or [tokens, *shape], each.

        The numbers are written before their CRC. Two runs that fill the same block write the same bytes.
        """
        first, last = self._bounds(block)
        numbers = np.concatenate([np.asarray(r).reshape(-1, self.field.width) for r in rows])
        assert numbers.shape[0] == last - first
        content = numbers.astype(self.field.dtype).tobytes()
        _write_at(self._data, content, first * self.field.width * self.field.dtype.itemsize)
        _write_at(self._crc, checksum(content).to_bytes(4, "little"), 4 * block)

    def clear(self) -> None:
        """Forget everything."""
        with files.storage_errors(self._crc), open_regular(self._crc, "r+b") as file:
            file.write(bytes(4 * len(self._blocks)))

    def release(self) -> None:
        """Give room back that was allocated for this object, if nobody has written anything there."""
        with suppress(OSError):
            if self._new and not checksums(self._crc).any():
                self._data.unlink()
                self._crc.unlink()

    def sync(self) -> None:
        """All that was written is on the disk: numbers before their CRC. Raises StorageError."""
        for path in (self._data, self._crc):
            with files.storage_errors(path), open_regular(path) as file:
                os.fsync(file.fileno())

    def read(self, ids: np.ndarray) -> np.ndarray:
        """fp32 [n, *shape]; for a field a token [n, longest, *shape], padded with zeros."""
        rows = self._rows[ids]
        if not self.field.per_token:
            values: np.ndarray = self._map[rows].astype(np.float32)
            return values.reshape(len(ids), *self.field.shape)
        sizes = self._starts[rows + 1] - self._starts[rows]
        padded = np.zeros((len(ids), int(sizes.max()), self.field.width), dtype=np.float32)
        for i, row in enumerate(rows):
            padded[i, : sizes[i]] = self._map[self._starts[row] : self._starts[row + 1]]
        return padded.reshape(*padded.shape[:2], *self.field.shape)

    def _bounds(self, block: int) -> tuple[int, int]:
        end = int(self._block_ends[block])
        return int(self._starts[end - len(self._blocks[block])]), int(self._starts[end])

    def _checksum(self, block: int) -> int:
        first, last = self._bounds(block)
        return checksum(self._map[first:last].tobytes())


def _allocate(path: Path, size: int) -> bool:
    """A file of ``size`` bytes that the disk has room for: what is there stays, what is new is zero. Whether there
    was nothing. Raises OSError, and then leaves the file as long as it was."""
    descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # another process must not map what is cut off again below
        present = os.fstat(descriptor).st_size
        if present > size:
            os.truncate(descriptor, size)
        try:
            _fill_with_zeros(descriptor, present, size)
        except OSError:
            os.truncate(descriptor, min(present, size))
            raise
    finally:
        os.close(descriptor)
    return present == 0


def _fill_with_zeros(descriptor: int, present: int, size: int) -> None:
    """Have blocks of the disk for bytes 0 … ``size``, of which the first ``present`` were written before."""
    if not size:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        for start in range(present, size, _ZEROS):  # the file system knows no such thing
            files.write_at(descriptor, bytes(min(_ZEROS, size - start)), start)


def _write_at(path: Path, content: bytes, offset: int) -> None:
    with files.storage_errors(path), open_regular(path, "r+b") as file:
        files.write_at(file.fileno(), content, offset)


def shrink_logits(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, classes] to the k highest and the rest: fp32 [n, k + 1], int32 [n, k].

    The last number is the logarithm of the mean of exp(logit) over the rest: spread evenly over them it keeps
    their probability together (at temperature 1).
    """
    index = np.argpartition(-logits, k, axis=-1)[:, :k].astype(np.int32)
    highest = np.take_along_axis(logits, index, axis=-1)
    rest = logits.astype(np.float64).copy()
    np.put_along_axis(rest, index, -np.inf, axis=-1)
    top = rest.max(axis=-1, keepdims=True)
    mean = top[:, 0] + np.log(np.exp(rest - top).sum(axis=-1) / (logits.shape[1] - k))
    return np.concatenate([highest, mean[:, None]], axis=-1).astype(np.float32), index


def grow_logits(numbers: np.ndarray, index: np.ndarray, classes: int) -> np.ndarray:
    """The inverse of :func:`shrink_logits`, up to the differences among the rest: fp32 [n, classes]."""
    logits = np.repeat(numbers[:, -1:], classes, axis=-1)
    np.put_along_axis(logits, index, numbers[:, :-1], axis=-1)
    return logits
