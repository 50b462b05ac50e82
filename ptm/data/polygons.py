"""Shapes that are drawn on an image, to classes of its pixels.

Shapes are painted in the order in which the file has them: where two overlap, the later one covers the earlier one.
Polygons are filled as COCO fills them; run-length codes are COCO's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.errors import DataError

BACKGROUND = "background"  # what no shape covers
NO_LABEL = 255
_SHORT = 1_000_000  # pixels of an outline, which is never too long
_TOLERANCE = 1.0  # pixels that a corner may lie outside of its image


@dataclass(frozen=True)
class Shape:
    """``polygons``: each x1, y1, x2, y2, …, in pixels; or ``runs``: lengths of runs, of other pixels and of its own in
    turn, down the columns of the image."""

    label: str
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()
    crowd: bool = False  # several objects in one shape, COCO's ``iscrowd``
    group: Any = (
        None  # LabelMe's ``group_id``, as it is written: shapes that have one in common are one object
    )
    where: str = ""


@dataclass(frozen=True)
class Drawing:
    """Shapes on an image. ``size``: its width and height."""

    size: tuple[int, int]
    shapes: tuple[Shape, ...]

    def numbers(self, keys: Sequence[int | str]) -> np.ndarray:
        """Which of ``keys`` (labels) each pixel has, uint8 [height, width]; 255 for any other."""
        places = {key: place for place, key in enumerate(keys)}
        width, height = self.size
        painted = np.full((height, width), places.get(BACKGROUND, NO_LABEL), dtype=np.uint8)
        for shape in self.shapes:
            painted[_inside(shape, self.size)] = places.get(shape.label, NO_LABEL)
        return painted


def _inside(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """bool [height, width]."""
    width, height = size
    if shape.runs:
        own = np.arange(len(shape.runs)) % 2 == 1
        return np.repeat(own, shape.runs).reshape(width, height).T
    from faster_coco_eval.core import mask  # type: ignore[import-untyped]

    codes = mask.frPyObjects([list(polygon) for polygon in shape.polygons], height, width)
    inside: np.ndarray = mask.decode(mask.merge(codes)).astype(bool)
    return inside


def checked_polygon(values: Any, size: tuple[int, int], where: str) -> tuple[float, ...]:
    """x1, y1, x2, y2, … within the image. Raises DataError."""
    expected = f"x1, y1, x2, y2, … of at least three corners, within {size[0]}x{size[1]} pixels"
    cure = "correct or remove the shape"
    whole = isinstance(values, list) and len(values) >= 6 and len(values) % 2 == 0
    if not whole or not all(is_number(value) for value in values):
        raise DataError(f"the polygon is {str(values)[:60]}", where=where, expected=expected, cure=cure)
    for limit, coordinates in zip(size, (values[0::2], values[1::2]), strict=True):
        outside = [value for value in coordinates if not -_TOLERANCE <= value <= limit + _TOLERANCE]
        if outside:
            raise DataError(
                f"the polygon has a corner at {outside[0]:g}, outside of its image",
                where=where,
                expected=expected,
                cure=cure,
            )
    _require_short(values, size, where)
    return tuple(float(value) for value in values)


def _require_short(values: Sequence[float], size: tuple[int, int], where: str) -> None:
    """DataError for an outline that goes to and fro: COCO's program keeps every fifth of a pixel of it in memory."""
    most = max(_SHORT, 2 * size[0] * size[1])
    if len(values) // 2 * max(size) <= most:
        return
    corners = np.array(values, dtype=np.float64).reshape(-1, 2)
    length = float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
    if length > most:
        raise DataError(
            f"its outline is {length:g} pixels long",
            where=where,
            expected=f"an outline around an object in {size[0]}x{size[1]} pixels",
            cure="correct or remove the shape",
        )


def circle(center: Sequence[float], edge: Sequence[float], size: tuple[int, int]) -> tuple[float, ...]:
    """A polygon of 64 corners around ``center`` through ``edge``, cut to the image."""
    radius = math.dist(center, edge)
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    x = (center[0] + radius * np.cos(angles)).clip(0, size[0])
    y = (center[1] + radius * np.sin(angles)).clip(0, size[1])
    return tuple(np.stack([x, y], axis=1).ravel().tolist())


def runs_of(mask: np.ndarray) -> tuple[int, ...]:
    """The lengths of the runs of a mask, bool [height, width], as :class:`Shape` has them."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    return tuple([0, *lengths] if flat[0] else lengths)


def checked_runs(code: Mapping[str, Any], size: tuple[int, int], where: str) -> tuple[int, ...]:
    """The lengths of a run-length code of COCO's, ``{"size": [height, width], "counts": …}``. Raises DataError."""
    width, height = size
    counts = code.get("counts")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
    if code.get("size") != [height, width] or not whole or runs is None or sum(runs) != width * height:
        raise DataError(
            f"the run-length code of size {str(code.get('size'))[:60]} does not fill its image",
            where=where,
            expected=f"size [{height}, {width}], and counts that add up to {width * height}",
            cure="export the annotation anew, or remove it",
        )
    return tuple(runs)


def _unpacked(text: str) -> list[int]:
    """COCO's compressed counts: six bits a character, five of a number; from the third on, differences to the number
    before the last (``rleFrString`` of its maskApi.c). What makes no sense gives numbers that are refused."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20 and shift < 40:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def is_number(value: object) -> bool:
    """Whether it is a number that can be a coordinate in pixels."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
