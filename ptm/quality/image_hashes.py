"""Images that are equal in their pixels, and images that are nearly so: re-encoded, resized, a little brighter.

The perceptual hash is pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"): the
signs of the low frequencies of a small grey copy. imagehash, the library for it, gives the same 64 bits an image, but
neither finds pairs among many nor confirms them; both is here, in numpy over all images at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.errors import DataError
from ptm.quality.candidates import Candidates, NearPairs
from ptm.vision.images import decode, mode_of

SIDE = 32  # of the grey copy, pixels
_FREQUENCIES = 8  # a direction, without the constant
_FAR = 8  # of 64 bits that differ between two images that are nearly equal, at most
_ALIKE = 0.99  # correlation of their grey copies, at least
_BITS, _TABLES = 16, 24  # bits of a key, and how many keys an image has
_NEIGHBOURS = 12  # images with the same key that one is held against
_MOST_PAIRS = 1_000_000  # that are compared: frames of a film make a hundred candidates each
_PAIRS = 50_000  # compared at a time
_CHUNK = 64  # images a task of the thread pool


@dataclass(frozen=True)
class Picture:
    """What is kept of an image: a hash of its pixels (or of where it stands, if it cannot be decoded), its width and
    height, its mode in the file, whether all of its pixels are equal, and a grey copy, uint8 [32, 32]."""

    content: int
    size: tuple[int, int]
    mode: str
    blank: bool
    grey: np.ndarray


def read_pictures(
    images: Sequence[Any], where: Callable[[int], str], threads: int, reading: ImageReading = AS_STORED
) -> list[Picture]:
    """Every image decoded once; none is kept."""

    def read(rows: range) -> list[Picture]:
        return [_picture(images[row], where(row), reading) for row in rows]

    chunks = [range(start, min(start + _CHUNK, len(images))) for start in range(0, len(images), _CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        return [picture for pictures in pool.map(read, chunks) for picture in pictures]


def _picture(item: Any, where: str, reading: ImageReading) -> Picture:
    try:
        image = decode(item, where, reading=reading)
    except DataError:  # told by whoever makes the inputs of it
        return Picture(hash(where), (0, 0), "", False, np.zeros((SIDE, SIDE), dtype=np.uint8))
    pixels = np.asarray(image)
    content = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=8).digest()
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    blank = bool((pixels == pixels[0, 0]).all())
    return Picture(hash(content), image.size, _mode(item, reading.page), blank, grey)


def _mode(item: Any, page: int | None) -> str:
    return "array" if isinstance(item, np.ndarray) else mode_of(item, page)


def perceptual_hashes(greys: np.ndarray) -> np.ndarray:
    """uint8 [n, 32, 32] to bits, bool [n, 64]: which low frequencies are above their median."""
    from scipy.fft import dctn

    low = np.empty((len(greys), _FREQUENCIES * _FREQUENCIES), dtype=np.float32)
    for start in range(0, len(greys), 1000):
        waves = dctn(greys[start : start + 1000].astype(np.float32), axes=(1, 2))
        low[start : start + 1000] = waves[:, 1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1].reshape(
            len(waves), -1
        )
    above: np.ndarray = low > np.median(low, axis=1, keepdims=True)
    return above


def near_images(pictures: Sequence[Picture], most: int = _MOST_PAIRS) -> NearPairs:
    """Images whose grey copies correlate; those that could not be decoded or that are of one colour, and those whose
    details are too fine for their copy, are left out.

    Candidates agree in 16 of the 64 bits, drawn 24 times: two images that differ in 6 bits are missed once in a
    hundred times, and no image is held against all others. ``most``: candidates that are compared.
    """
    rows = np.array([row for row, picture in enumerate(pictures) if picture.mode], dtype=np.int64)
    if not len(rows):
        return NearPairs([])
    greys = np.stack([pictures[row].grey for row in rows])
    half = SIDE // 2  # what resizing and re-encoding leave as it was
    coarse = greys.reshape(-1, half, 2, half, 2).mean(axis=(2, 4), dtype=np.float32).reshape(len(rows), -1)
    varied = np.ptp(coarse, axis=1) > 0  # else there is nothing to correlate
    rows, greys, coarse = rows[varied], greys[varied], coarse[varied]
    if len(rows) < 2:
        return NearPairs([])
    bits = perceptual_hashes(greys)
    packed = np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)[:, 0]
    draw = np.random.default_rng(20)
    candidates = Candidates()
    for _ in range(_TABLES):
        codes, scores = _neighbours(bits[:, draw.permutation(64)[:_BITS]], packed)
        candidates = candidates.with_others(codes, scores, most)
    first, second = np.divmod(candidates.codes, len(rows))
    similarity = _correlations(coarse, first, second)
    pairs = [
        (int(rows[first[k]]), int(rows[second[k]]), float(similarity[k]))
        for k in np.flatnonzero(similarity >= _ALIKE)
    ]
    return NearPairs(pairs, None if candidates.complete else most)


def _correlations(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of rows ``first[k]`` and ``second[k]`` of ``values``, float32 [n, d]; 0 of a constant."""
    centred = values - values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    result = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        result[part] = np.einsum("kd,kd->k", unit[first[part]], unit[second[part]])
    return result


def _neighbours(bits: np.ndarray, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes i * n + j of pairs, i < j, that agree in ``bits``, bool [n, 16], and nearly in all of ``packed``; in how
    many bits."""
    count = len(bits)
    keys = np.packbits(bits, axis=1) @ np.array([256, 1], dtype=np.int64)
    order = np.lexsort((packed, keys))
    ordered = keys[order]
    codes, scores = [], []
    for distance in range(1, _NEIGHBOURS + 1):
        places = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        first, second = order[places], order[places + distance]
        equal = 64 - np.bitwise_count(packed[first] ^ packed[second])
        near = equal >= 64 - _FAR
        low, high = np.minimum(first, second)[near], np.maximum(first, second)[near]
        codes.append(low.astype(np.int64) * count + high)
        scores.append(equal[near])
    return np.concatenate(codes), np.concatenate(scores)
