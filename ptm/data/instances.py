"""Images with an outline around each object: ``coco:`` and ``labelme:`` sources to boxes with masks.

A mask is a run-length code of COCO's, ``{"size": [height, width], "counts": bytes}``, so that a thousand of them take
less than one decoded mask. The box of an instance is the smallest around what was drawn: what COCO writes as ``bbox``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.annotations import LEAST_SIDE, Annotation, Box, BoxTable
from ptm.data.boxes import load_boxes
from ptm.data.drawings import DrawnSplit, read_coco_drawings, read_labelme
from ptm.data.examples import Dataset
from ptm.data.polygons import BACKGROUND, Drawing, Shape
from ptm.errors import DataError, Problem, refuse

Rle = Mapping[str, Any]


def load_instances(data: DataSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """The columns of :func:`ptm.data.boxes.load_boxes`, and ``masks``: a list of run-length codes an image, one a box.
    Raises as that does."""
    return load_boxes(data, labels=labels, train=train, read=read_instances)


def read_instances(data: DataSpec, split: str | None) -> BoxTable:
    """One split of ``coco:FOLDER`` (``segmentation`` of each annotation) or ``labelme:FOLDER`` (a shape an instance;
    shapes of one label and one ``group_id`` are one). Raises DataError naming the shapes that are none."""
    kind, _, place = data.source.partition(":")
    read = {"coco": read_coco_drawings, "labelme": read_labelme}[kind]
    return instances_of(read(Path(place), split, data.page))


def instances_of(split: DrawnSplit) -> BoxTable:
    """A box with a mask for each instance that is drawn. One that covers no pixel is left out and counted."""
    annotations: list[Annotation] = []
    problems: list[Problem] = []
    for image, drawing in split.drawings.items():
        try:
            boxes = [_instance(shapes, drawing.size) for shapes in _grouped(drawing)]
        except DataError as error:
            problems += error.problems
            continue
        kept = tuple(box for box in boxes if box is not None)
        annotations.append(
            Annotation(image=image, size=drawing.size, boxes=kept, empty=len(boxes) - len(kept))
        )
    refuse(problems, noun="shapes")
    return BoxTable(
        annotations=tuple(annotations),
        digest=split.digest,
        categories=tuple(name for name in split.names if name != BACKGROUND),
        warnings=split.warnings,
        masked=True,
    )


def _grouped(drawing: Drawing) -> list[list[Shape]]:
    """The shapes of each instance. Raises DataError for those that are no part of one."""
    groups: dict[Any, list[Shape]] = {}
    problems: list[Problem] = []
    for number, shape in enumerate(drawing.shapes):
        if shape.label == BACKGROUND:
            what, cure = (
                "is the background, which is no object",
                "remove it: what no shape covers is background",
            )
            problems.append(Problem(what, shape.where, "a shape of an object", cure))
        elif shape.group is None:
            groups[number, None] = [shape]
        elif type(shape.group) is int:
            groups.setdefault((shape.label, shape.group), []).append(shape)
        else:
            what = f"group_id is {str(shape.group)[:60]!r}"
            problems.append(
                Problem(what, shape.where, "a whole number, the same for the parts of one object")
            )
    refuse(problems, noun="shapes")
    return list(groups.values())


def _instance(shapes: Sequence[Shape], size: tuple[int, int]) -> Box | None:
    """What the shapes cover together; None where that is no pixel, or less than a tenth of one in width or height."""
    from faster_coco_eval.core import mask  # type: ignore[import-untyped]

    codes = [code for shape in shapes for code in _codes(shape, size)]
    whole = codes[0] if len(codes) == 1 else mask.merge(codes)
    if not mask.area(whole):
        return None
    drawn = [np.reshape(polygon, (-1, 2)) for shape in shapes for polygon in shape.polygons]
    if len(drawn) == len(codes):
        corners = np.concatenate(drawn).clip(0, size)
        box = (*corners.min(axis=0), *corners.max(axis=0))
    else:
        x, y, width, height = mask.toBbox(whole)
        box = (x, y, x + width, y + height)
    x1, y1, x2, y2 = (float(value) for value in box)
    if min(x2 - x1, y2 - y1) < LEAST_SIDE:
        return None
    first = shapes[0]
    return Box(corners=(x1, y1, x2, y2), label=first.label, crowd=first.crowd, where=first.where, mask=whole)


def _codes(shape: Shape, size: tuple[int, int]) -> list[Rle]:
    from faster_coco_eval.core import mask

    width, height = size
    if shape.runs:
        code: Rle = mask.frPyObjects({"size": [height, width], "counts": list(shape.runs)}, height, width)
        return [code]
    codes: list[Rle] = mask.frPyObjects([list(polygon) for polygon in shape.polygons], height, width)
    return codes


def decoded(codes: Sequence[Rle], size: tuple[int, int]) -> np.ndarray:
    """Masks uint8 [k, height, width] of 0 and 1. ``size``: width, height."""
    from faster_coco_eval.core import mask

    if not codes:
        return np.zeros((0, size[1], size[0]), np.uint8)
    return np.ascontiguousarray(mask.decode([dict(code) for code in codes]).transpose(2, 0, 1))


def encoded(masks: np.ndarray) -> list[Rle]:
    """The run-length codes of masks bool or uint8 [k, height, width]."""
    from faster_coco_eval.core import mask

    codes: list[Rle] = [mask.encode(np.asfortranarray(each, dtype=np.uint8)) for each in masks]
    return codes


def pixels_of(code: Rle) -> int:
    """How many pixels a mask has."""
    from faster_coco_eval.core import mask

    return int(mask.area(dict(code)))


def as_text(code: Rle) -> dict[str, Any]:
    """A run-length code as COCO writes it into JSON: ``{"size": [height, width], "counts": "…"}``."""
    return {"size": [int(side) for side in code["size"]], "counts": bytes(code["counts"]).decode("ascii")}


def from_text(code: Mapping[str, Any]) -> Rle:
    """What :func:`as_text` made a text of."""
    return {"size": list(code["size"]), "counts": str(code["counts"]).encode("ascii")}
