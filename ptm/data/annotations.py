"""What an image with boxes is, and what is asked of it, whatever it was read from.

Boxes are [x1, y1, x2, y2] in pixels, as they are written: corners on the continuous grid whose origin is the image's
upper left corner. Nothing is shifted by one, as LabelImg and most programs after it write them.

Boxes without width or height hold no pixel. They are left out and counted, not refused: a click without a drag leaves
one, and both COCO and BCCD contain some.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.data.file_digests import digests_of_paths
from ptm.errors import DataError, Problem

ROUNDING = 0.5  # pixels that a corner may lie outside its image; such a box is cut to it
LEAST_SIDE = 0.1  # pixels; what is smaller has no area


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One object. ``crowd``: COCO's ``iscrowd`` or VOC's ``difficult``: not learned, not counted when it is missed."""

    corners: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
    label: str
    crowd: bool
    where: str
    mask: Mapping[str, Any] | None = None  # of an instance: see :mod:`ptm.data.instances`


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One image and what is on it. ``size``: width, height in pixels, as the annotation says."""

    image: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    empty: int  # boxes without area, which are left out


@dataclass(frozen=True, kw_only=True)
class BoxTable:
    """The images of one split; ``digest`` is the SHA-256 over names and bytes of images and annotations.

    ``categories``: the names of classes that the file states, whether there are boxes of them or not. ``warnings``:
    what is to be said of it, and stops nothing.
    """

    annotations: tuple[Annotation, ...]
    digest: str
    categories: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    masked: bool = False  # whether boxes have masks

    def __len__(self) -> int:
        return len(self.annotations)


def box_within(
    corners: tuple[float, ...], label: str, crowd: bool, size: tuple[int, int], where: str
) -> Box | None:
    """As :func:`box_on`, of corners in pixels as they are written. Raises DataError for fractions, too."""
    box = box_on(corners, label, crowd, size, where)
    if _is_fraction(corners) and min(size) > 1:
        raise DataError(
            f"the box {_written(corners)} lies within one pixel: these are fractions of the image's size, not pixels",
            where=where,
            expected=f"corners in pixels, within {size[0]}x{size[1]}",
            cure="multiply x by the width and y by the height of its image",
        )
    return box


def box_on(
    corners: tuple[float, ...], label: str, crowd: bool, size: tuple[int, int], where: str
) -> Box | None:
    """None for a box without area. Raises DataError for corners in the wrong order or outside the image."""
    x1, y1, x2, y2 = corners
    width, height = size
    written = _written(corners)
    expected = "x1 < x2 and y1 < y2, in pixels"
    if not all(map(math.isfinite, corners)) or x2 < x1 or y2 < y1:
        raise DataError(
            f"the box {written} has its corners in the wrong order",
            where=where,
            expected=expected,
            cure="correct the box, or remove it",
        )
    if x1 < -ROUNDING or y1 < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
        raise DataError(
            f"the box {written} is not within its image",
            where=where,
            expected=f"corners within {width}x{height}",
            cure="correct the box, or remove it; coordinates are pixels of the image as it is shown",
        )
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if min(x2 - x1, y2 - y1) < LEAST_SIDE:
        return None
    return Box(corners=(x1, y1, x2, y2), label=label, crowd=crowd, where=where)


def require_upright(degrees: float, where: str) -> None:
    """DataError for a box that was turned in CVAT: its corners are those before it was turned."""
    if degrees % 360:
        raise DataError(
            f"the box is turned by {degrees:g} degrees",
            where=where,
            expected="boxes whose sides are those of the image",
            cure="set its rotation to 0 and draw it around the object, then export again",
        )


def _written(corners: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in corners)}]"


def _is_fraction(corners: Sequence[float]) -> bool:
    """Whether a box with an area is written in [0, 1]. In pixels, nobody annotates a part of the very first one."""
    x1, y1, x2, y2 = corners
    broken = any(value != int(value) for value in corners)
    return broken and x1 < x2 and y1 < y2 and min(corners) >= 0 and max(corners) <= 1


def digest_of(folder: Path, files: Sequence[Path], place: Path | None = None) -> str:
    """SHA-256 over names and bytes. ``place``: by whose name the digests of the files are remembered, one a split;
    default: the first of them."""
    digest = hashlib.sha256()
    contents, _ = digests_of_paths(files, place)
    for path, content in zip(files, contents, strict=True):
        digest.update(os.fsencode(f"{_shown(path, folder)}\0") + content.tobytes())
    return digest.hexdigest()


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
