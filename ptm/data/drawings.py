"""Images with shapes drawn on them, as LabelMe and COCO write these: a drawing an image, strictly."""

from __future__ import annotations

import base64
import io
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptm.data.annotations import digest_of
from ptm.data.coco import (
    categories_of,
    checked,
    coco_file,
    find_image,
    is_crowd,
    list_of,
    missing_cure,
    read_json,
)
from ptm.data.given_paths import is_file
from ptm.data.image_files import contents, images_below
from ptm.data.image_headers import read_header
from ptm.data.image_listing import is_hidden
from ptm.data.polygons import (
    BACKGROUND,
    Drawing,
    Shape,
    checked_polygon,
    checked_runs,
    circle,
    is_number,
    runs_of,
)
from ptm.data.tables import no_source
from ptm.errors import DataError, Problem, first_line, refuse

_BACKGROUNDS = ("_background_", "__background__")  # as other programs call it


@dataclass(frozen=True)
class DrawnSplit:
    """Image → its drawing, the names of classes that are stated, the digest, and what is to be said of it."""

    drawings: Mapping[Path, Drawing]
    names: tuple[str, ...]
    digest: str
    warnings: tuple[Problem, ...] = ()


def read_labelme(source: Path, split: str | None, page: int | None = None) -> DrawnSplit:
    """LabelMe: a JSON file an image, with ``imagePath`` relative to it, and ``shapes``. Nobody has looked at images
    without one; they are left out, which is told."""
    folder = source / split if split else source
    if not source.is_dir():
        raise no_source(source, "there is no such folder")
    if not folder.is_dir():
        raise DataError(
            f"no split {split!r}",
            where=source,
            expected=f"a folder with images and their JSON files; there is: {contents(source)}",
            cure="correct data.train, data.eval, data.test or --split",
        )
    files = sorted(path for path in folder.rglob("*.json") if not is_hidden(path.name))
    if not files:
        raise DataError(
            "no JSON file in it", where=folder, expected=f"one an image; there is: {contents(folder)}"
        )
    drawings: dict[Path, Drawing] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            image, drawing = _labelme(file, page)
            if image in drawings:
                raise DataError(f"is about {image.name}, as another file is", where=file, cure="remove one")
            drawings[image] = drawing
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="problems")
    bare = [path for path in images_below(folder) if path not in drawings]
    warnings = [
        Problem(
            f"{len(bare)} images without a JSON file are left out",
            str(path),
            cure="save them in LabelMe, without a shape, if they show background alone",
        )
        for path in bare[:1]
    ]
    return DrawnSplit(drawings, (), digest_of(source, [*files, *drawings]), tuple(warnings))


def _labelme(file: Path, page: int | None) -> tuple[Path, Drawing]:
    content = read_json(file)
    name, shapes = content.get("imagePath"), content.get("shapes")
    if not isinstance(name, str) or not isinstance(shapes, list):
        raise DataError(
            "is no file of LabelMe",
            where=file,
            expected='{"imagePath": "a.jpg", "shapes": […], …}',
            cure="move other JSON files elsewhere, or save it again in LabelMe",
        )
    plain = name.replace("\\", "/")
    # Normalised, so that a path with `..` is the one by which the folder knows the image.
    places = [Path(os.path.normpath(file.parent / each)) for each in (plain, Path(plain).name)]
    image = next((place for place in places if is_file(place)), None)
    if image is None:
        raise DataError(
            f"there is no image {name[:200]!r}",
            where=file,
            expected=f"a path relative to {file.parent}",
            cure="put the image beside its file, or correct imagePath",
        )
    size = _upright_size(image, page)
    stated = (content.get("imageWidth", size[0]), content.get("imageHeight", size[1]))
    if stated != size and stated != (None, None):
        raise DataError(
            f"says {stated[0]!s:.20}x{stated[1]!s:.20}, its image is {size[0]}x{size[1]}",
            where=file,
            expected="the size of the image",
            cure="draw the shapes on this image",
        )
    drawn: list[Shape] = []
    problems: list[Problem] = []
    for number, shape in enumerate(shapes):
        try:
            drawn.append(_labelme_shape(shape, size, f"{file}, shapes[{number}]"))
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="shapes")
    return image, Drawing(size, tuple(drawn))


_PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins
_FLAT = ("point", "points", "line", "linestrip")


def _labelme_shape(shape: Any, size: tuple[int, int], where: str) -> Shape:
    label, points, kind = (
        shape.get(key) if isinstance(shape, dict) else None for key in ("label", "points", "shape_type")
    )
    if not isinstance(label, str) or not label.strip() or not isinstance(points, list):
        raise DataError(
            "is no shape",
            where=where,
            expected='{"label": "cat", "points": [[x, y], …], "shape_type": "polygon"}',
            cure="correct the shape, or remove it",
        )
    corners: list[list[Any]] = [
        list(point) if isinstance(point, list) and len(point) == 2 else [None, None] for point in points
    ]
    kind = kind or "polygon"
    group = shape.get("group_id")
    if kind == "mask":
        runs = _labelme_mask(corners, shape.get("mask"), size, where)
        return Shape(_plain(label), runs=runs, group=group, where=where)
    polygon: tuple[float, ...]
    if kind in ("rectangle", "circle") and len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        checked_polygon([x1, y1, x2, y2, x1, y2], size if kind == "rectangle" else (10**9, 10**9), where)
        polygon = (
            (x1, y1, x2, y1, x2, y2, x1, y2) if kind == "rectangle" else circle((x1, y1), (x2, y2), size)
        )
    elif kind == "polygon" or (
        kind in ("rectangle", "rotation", "oriented_rectangle") and len(corners) == 4
    ):  # as X-AnyLabeling has them
        polygon = checked_polygon([value for corner in corners for value in corner], size, where)
    else:
        why = "covers no area" if kind in _FLAT else "is not read"
        raise DataError(
            f"is of the type {kind!s:.60} with {len(corners)} points, which {why}",
            where=where,
            expected="a polygon, a rectangle, a circle or a mask",
            cure="remove the shape, or draw a polygon",
        )
    whole = tuple(float(value) for value in polygon)
    return Shape(_plain(label), (whole,), group=group, where=where)


def _labelme_mask(corners: list[list[Any]], text: Any, size: tuple[int, int], where: str) -> tuple[int, ...]:
    """The runs of a mask as LabelMe's brush and its models draw it: a PNG in base64, whose pixels that are not 0 are
    the object, at a box from its first pixel to its last one, ``corners``."""
    expected = (
        '{"points": [[x1, y1], [x2, y2]], "mask": a PNG in base64, x2 - x1 + 1 wide and y2 - y1 + 1 high}'
    )
    cure = "draw it anew in LabelMe, or remove the shape"
    numbers = [value for corner in corners for value in corner]
    if len(numbers) != 4 or not all(is_number(value) for value in numbers):
        what = f"is a mask whose box is {str(corners)[:60]}"
        raise DataError(what, where=where, expected=expected, cure=cure)
    x1, y1, x2, y2 = (math.floor(value) for value in numbers)  # as LabelMe itself rounds
    if not (0 <= x1 <= x2 < size[0] and 0 <= y1 <= y2 < size[1]):
        raise DataError(
            f"is a mask from [{x1}, {y1}] to [{x2}, {y2}], outside of its image",
            where=where,
            expected=f"a box within {size[0]}x{size[1]} pixels, its first corner at the top left",
            cure=cure,
        )
    try:
        inside = _png_pixels(text, (x2 - x1 + 1, y2 - y1 + 1))
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's, of broken PNG files
        raise DataError(
            f"its mask cannot be read: {first_line(error)}", where=where, expected=expected, cure=cure
        ) from None
    whole = np.zeros((size[1], size[0]), dtype=bool)
    whole[y1 : y2 + 1, x1 : x2 + 1] = inside
    return runs_of(whole)


def _png_pixels(text: Any, size: tuple[int, int]) -> np.ndarray:
    """Whether each pixel is not 0, bool [height, width]. Raises OSError, ValueError or SyntaxError."""
    if not isinstance(text, str) or not text:
        raise ValueError("there is none")
    content = base64.b64decode(text, validate=True)
    if content[:8] != _PNG or len(content) < 24:
        raise ValueError("it is no PNG")
    width, height = struct.unpack(">II", content[16:24])  # before Pillow makes room for them
    if (width, height) != size:
        raise ValueError(f"it is {width}x{height}, its box {size[0]}x{size[1]}")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.mode not in ("1", "L"):
            raise ValueError(f"it has colours ({image.mode}), not 0 and 1")
        inside: np.ndarray = np.asarray(image) != 0
        return inside


def read_coco_drawings(folder: Path, split: str | None, page: int | None = None) -> DrawnSplit:
    """COCO: ``segmentation`` of each annotation, polygons or a run-length code, crowds as well. Files and images are
    found as :func:`ptm.data.coco.read_coco` finds them."""
    if not folder.is_dir():
        raise no_source(folder, "there is no such folder")
    path = coco_file(folder, split)
    content = read_json(path)
    rows = {key: list_of(content, key, path) for key in ("images", "annotations", "categories")}
    names = categories_of(checked(rows["categories"], "categories", path, id=int, name=str), path)
    images: dict[int, tuple[Path, tuple[int, int]]] = {}
    problems: list[Problem] = []
    for index, row in enumerate(checked(rows["images"], "images", path, id=int, file_name=str)):
        where = f"{path}, images[{index}]"
        image = find_image(folder, path, row["file_name"])
        known = row["id"] in images or image in {place for place, _ in images.values()}
        if image is None or known:
            what = (
                f"there is no image {row['file_name']!r}" if image is None else "its id or its file repeats"
            )
            cure = missing_cure(folder) if image is None else "remove one of the entries"
            problems.append(Problem(what, where, "a file and an id of its own for each image", cure))
            continue
        try:
            images[row["id"]] = image, _stated_size(row, image, page, where)
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="images")
    shapes: dict[int, list[Shape]] = {number: [] for number in images}
    for index, row in enumerate(
        checked(rows["annotations"], "annotations", path, image_id=int, category_id=int)
    ):
        where = f"{path}, annotations[{index}]"
        if row["image_id"] not in images or row["category_id"] not in names:
            problems.append(
                Problem(
                    "is of an image or a category that is not there",
                    where,
                    cure="add the entry that it names, or remove the annotation",
                )
            )
            continue
        try:
            label, size = _plain(names[row["category_id"]]), images[row["image_id"]][1]
            shape = _coco_shape(row.get("segmentation"), label, size, where)
            shapes[row["image_id"]].append(replace(shape, crowd=is_crowd(row, where), where=where))
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="annotations")
    drawings = {image: Drawing(size, tuple(shapes[number])) for number, (image, size) in images.items()}
    stated = tuple(dict.fromkeys(_plain(names[number]) for number in sorted(names)))
    return DrawnSplit(drawings, stated, digest_of(folder, [path, *drawings]))


def _stated_size(row: Mapping[str, Any], image: Path, page: int | None, where: str) -> tuple[int, int]:
    """The size of the image. Raises DataError where the file states another: shapes would lie at wrong places."""
    size = _upright_size(image, page)
    stated = (row.get("width"), row.get("height"))
    if stated not in (size, (None, None)):
        raise DataError(
            f"says {stated[0]!s:.20}x{stated[1]!s:.20}, its image is {size[0]}x{size[1]}",
            where=where,
            expected="the size of the image",
            cure="draw the shapes on this image, or take the image that they were drawn on",
        )
    return size


def _coco_shape(value: Any, label: str, size: tuple[int, int], where: str) -> Shape:
    if isinstance(value, dict):
        return Shape(label, runs=checked_runs(value, size, where))
    if not isinstance(value, list) or not value:
        raise DataError(
            "has no segmentation" if not value else f"segmentation is {str(value)[:60]}",
            where=where,
            expected="polygons [[x1, y1, x2, y2, …], …], or a run-length code {size, counts}",
            cure="export polygons, or train on the boxes: task: object-detection",
        )
    return Shape(label, tuple(checked_polygon(polygon, size, where) for polygon in value))


def _upright_size(image: Path, page: int | None) -> tuple[int, int]:
    header = read_header(image, page=page)
    if header.orientation != 1:
        raise DataError(
            "is stored turned (its EXIF orientation says so), and its shapes may be turned or not",
            where=image,
            expected="images that are stored upright",
            cure=f"mogrify -auto-orient {image.name}, and draw on that",
        )
    return header.size


def _plain(label: str) -> str:
    return BACKGROUND if label in _BACKGROUNDS else label
