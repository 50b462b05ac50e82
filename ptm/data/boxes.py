"""Images with boxes: ``voc:`` and ``coco:`` folders, strictly: every refusal names the file and the object.

Boxes are [x1, y1, x2, y2] in pixels, as they are written: corners on the continuous grid whose origin is the image's
upper left corner. Nothing is shifted by one, as LabelImg and most programs after it write them.

Boxes without width or height hold no pixel. They are left out and counted, not refused: a click without a drag leaves
one, and both COCO and BCCD contain some.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from ptm.data.examples import (
    IMAGE_SUFFIXES,
    Dataset,
    Examples,
    held_out_share,
    hold_out,
    limit,
    require_eval,
    split_files,
)
from ptm.data.labels import check_classes
from ptm.errors import DataError, Problem
from ptm.spec import DataSpec

ROUNDING = 0.5  # pixels that a corner may lie outside its image; such a box is cut to it
LEAST_SIDE = 0.1  # pixels; what is smaller has no area
_MAX_XML_BYTES = 16_000_000
_SHOWN = 5  # problems in a message; the rest are counted
_SKIP = ("instances_", "annotations_")  # before the name of the split in COCO's file names


@dataclass(frozen=True, kw_only=True)
class Box:
    """One object. ``crowd``: COCO's ``iscrowd`` or VOC's ``difficult``: not learned, not counted when it is missed."""

    corners: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
    label: str
    crowd: bool
    where: str


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One image and what is on it. ``size``: width, height in pixels, as the annotation says."""

    image: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    empty: int  # boxes without area, which are left out


@dataclass(frozen=True, kw_only=True)
class BoxTable:
    """The images of one split; ``digest`` is the SHA-256 over names and bytes of images and annotations."""

    annotations: tuple[Annotation, ...]
    digest: str


def load_boxes(data: DataSpec, *, labels: tuple[str, ...] | None = None, train: bool = True) -> Dataset:
    """Read what ``data`` names. ``labels`` are a trained model's own.

    The columns are ``image`` (paths), ``size`` ((width, height)), ``boxes`` (float32 [k, 4]), ``classes`` (int64 [k]),
    ``crowd`` (bool [k]) and ``empty`` (boxes left out). Raises ConfigError for a split that is not there, DataError for
    contents that cannot be used.
    """
    share = held_out_share(data.eval)
    train_table = read_boxes(data.source, data.train) if train or share is not None else None
    eval_table = train_table if share is not None else read_boxes(data.source, require_eval(data))
    assert eval_table is not None
    first = train_table or eval_table
    found = {box.label for annotation in first.annotations for box in annotation.boxes}
    names = labels or data.labels or tuple(sorted(found))
    if not names:
        raise DataError("there is not one box in it", where=data.source, expected="images with boxes")
    train_set = None if train_table is None else _examples(train_table, names)
    eval_set = _examples(eval_table, names)
    digests = {"eval": eval_table.digest} | ({"train": train_table.digest} if train_table is not None else {})
    if share is not None:
        assert train_set is not None
        kept, held_out = hold_out(np.zeros(len(train_set), dtype=np.int64), share)
        train_set, eval_set = train_set.select(kept), train_set.select(held_out)
    if train_set is not None and train:
        train_set = limit(train_set, data.max_train_examples)
        learned = [
            c[~crowd]
            for c, crowd in zip(train_set.columns["classes"], train_set.columns["crowd"], strict=True)
        ]
        check_classes(np.concatenate(learned), names, f"{data.source} {data.train or ''}".strip())
    eval_set = limit(eval_set, data.max_eval_examples)
    if not any(len(boxes) for boxes in eval_set.columns["boxes"]):
        raise DataError(
            "there is not one box to evaluate on",
            where=f"{data.source} {data.eval or ''}".strip(),
            expected="at least one image with a box",
        )
    return Dataset(train_set if train else None, eval_set, names, digests)


def read_boxes(source: str, split: str | None) -> BoxTable:
    """One split of ``voc:FOLDER`` or ``coco:FOLDER``."""
    kind, _, place = source.partition(":")
    folder = Path(place)
    if not folder.is_dir():
        raise DataError(
            "there is no such folder",
            where=folder,
            cure="correct data.source; relative paths are relative to the config file",
        )
    return read_voc(folder, split) if kind == "voc" else read_coco(folder, split)


def read_voc(folder: Path, split: str | None) -> BoxTable:
    """Pascal VOC: ``JPEGImages/``, ``Annotations/NAME.xml``, ``ImageSets/Main/SPLIT.txt`` with a name a line.

    Without a split, all of ``Annotations/``. An image without objects has an annotation without objects.
    """
    annotations, images = folder / "Annotations", folder / "JPEGImages"
    for needed in (annotations, images):
        if not needed.is_dir():
            raise DataError("there is no such folder", where=needed, expected="the layout of Pascal VOC")
    listing = None if split is None else folder / "ImageSets" / "Main" / f"{split.removesuffix('.txt')}.txt"
    if listing is None:
        places = {path.stem: str(path) for path in sorted(annotations.glob("*.xml"))}
    else:
        places = _names_in(listing)
    if not places:
        raise DataError("names no image", where=listing or annotations)
    by_stem = {path.stem: path for path in sorted(images.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    found: list[Annotation] = []
    problems: list[Problem] = []
    for name, place in places.items():
        path = annotations / f"{name}.xml"
        if name not in by_stem:
            problems.append(
                Problem(f"there is no image {name!r}", place, f"a file {images / name}.jpg or the like")
            )
        elif not path.is_file():
            problems.append(Problem("there is no annotation", str(path), f"one for {by_stem[name]}"))
        else:
            try:
                found.append(_voc_annotation(path, by_stem[name]))
            except DataError as error:
                problems += error.problems
    _refuse(problems)
    files = [path for row in found for path in (annotations / f"{row.image.stem}.xml", row.image)]
    return BoxTable(annotations=tuple(found), digest=_digest(folder, files))


def read_coco(folder: Path, split: str | None) -> BoxTable:
    """COCO: a JSON file with ``images``, ``annotations`` and ``categories`` a split.

    ``split`` is the file, with or without ``.json``, in ``folder`` or in its ``annotations/``; or a folder with that
    file in it. Images are looked for by their ``file_name`` beside the JSON file, in ``folder``, in its ``images/``,
    and in the folders of both that are named as the split (``instances_train2017.json``: ``train2017/``).
    """
    path = _coco_file(folder, split)
    content = _read_json(path)
    rows = {key: _list_of(content, key, path) for key in ("images", "annotations", "categories")}
    names = {c["id"]: c["name"] for c in _checked(rows["categories"], "categories", path, id=int, name=str)}
    images = _checked(rows["images"], "images", path, id=int, file_name=str, width=int, height=int)
    boxes: dict[int, list[Box]] = {image["id"]: [] for image in images}
    empty = dict.fromkeys(boxes, 0)
    if len(boxes) < len(images):
        raise DataError("image ids repeat", where=path, expected="an id an image")
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    problems: list[Problem] = []
    for index, row in enumerate(
        _checked(rows["annotations"], "annotations", path, image_id=int, category_id=int, bbox=list)
    ):
        where = f"{path}, annotations[{index}]"
        image_id, category = row["image_id"], row["category_id"]
        if image_id not in boxes or category not in names:
            what = f"image_id {image_id}" if image_id not in boxes else f"category_id {category}"
            problems.append(Problem(f"there is no {what}", where))
            continue
        try:
            corners = _coco_corners(row["bbox"], where)
            box = _box(corners, names[category], bool(row.get("iscrowd", 0)), sizes[image_id], where)
        except DataError as error:
            problems += error.problems
            continue
        boxes[image_id] += [box] if box else []
        empty[image_id] += box is None
    _refuse(problems)
    found = []
    for index, image in enumerate(images):
        where = f"{path}, images[{index}]"
        size = sizes[image["id"]]
        place = _coco_image(folder, path, image["file_name"])
        if place is None or min(size) < 1:
            what = f"there is no image {image['file_name']!r}" if place is None else f"the size is {size}"
            problems.append(
                Problem(what, where, "a file beside the JSON file, in images/ or in the split's folder")
            )
            continue
        found.append(
            Annotation(image=place, size=size, boxes=tuple(boxes[image["id"]]), empty=empty[image["id"]])
        )
    _refuse(problems)
    return BoxTable(annotations=tuple(found), digest=_digest(folder, [path, *(row.image for row in found)]))


def _examples(table: BoxTable, labels: tuple[str, ...]) -> Examples:
    """Columns of a split. Raises DataError for a class that is not one of ``labels``."""
    index = {name: number for number, name in enumerate(labels)}
    rows = table.annotations
    _refuse(
        [
            Problem(
                f"label {box.label!r} is not one of the {len(labels)} labels",
                box.where,
                f"one of {', '.join(labels[:20])}{', …' if len(labels) > 20 else ''}",
                "correct the object, or add the name to data.labels",
            )
            for row in rows
            for box in row.boxes
            if box.label not in index
        ]
    )
    columns: Mapping[str, Sequence[Any]] = {
        "image": [row.image for row in rows],
        "size": [row.size for row in rows],
        "boxes": [
            np.array([box.corners for box in row.boxes], dtype=np.float32).reshape(-1, 4) for row in rows
        ],
        "classes": [np.array([index[box.label] for box in row.boxes], dtype=np.int64) for row in rows],
        "crowd": [np.array([box.crowd for box in row.boxes], dtype=bool) for row in rows],
        "empty": [row.empty for row in rows],
    }
    return Examples(columns, None, lambda i: str(rows[i].image))


def _box(
    corners: tuple[float, ...], label: str, crowd: bool, size: tuple[int, int], where: str
) -> Box | None:
    """None for a box without area. Raises DataError for corners in the wrong order or outside the image."""
    x1, y1, x2, y2 = corners
    width, height = size
    shown = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
    expected = "x1 < x2 and y1 < y2, in pixels"
    if not all(map(math.isfinite, corners)) or x2 < x1 or y2 < y1:
        raise DataError(f"the box {shown} has its corners in the wrong order", where=where, expected=expected)
    if x1 < -ROUNDING or y1 < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
        raise DataError(
            f"the box {shown} is not within its image",
            where=where,
            expected=f"corners within {width}x{height}",
        )
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if min(x2 - x1, y2 - y1) < LEAST_SIDE:
        return None
    return Box(corners=(x1, y1, x2, y2), label=label, crowd=crowd, where=where)


# -- Pascal VOC ----------------------------------------------------------------------------------------------


def _names_in(listing: Path) -> dict[str, str]:
    """Name of an image → where it is listed."""
    if not listing.is_file():
        there = sorted(path.stem for path in listing.parent.glob("*.txt"))
        raise DataError(
            f"there is no split {listing.stem!r}",
            where=listing,
            expected=f"one of: {', '.join(there[:20])}" if there else "a file with a name a line",
            cure="correct data.train or data.eval",
        )
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=listing) from None
    places: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in places:
            raise DataError(
                f"{name!r} is listed twice", where=f"{listing}:{number}", cure="remove one of them"
            )
        if name and Path(name).name != name:
            raise DataError(
                f"{name!r} is not a name", where=f"{listing}:{number}", expected="no folder in it"
            )
        if name:
            places[name] = f"{listing}:{number}"
    return places


def _voc_annotation(path: Path, image: Path) -> Annotation:
    root = _parse_xml(path)
    where = str(path)
    width, height = (_number(root, f"size/{name}", where) for name in ("width", "height"))
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise DataError(
            f"the size is {width:g}x{height:g}", where=where, expected="<size> of the image in pixels"
        )
    size = (int(width), int(height))
    boxes: list[Box] = []
    empty = 0
    for number, node in enumerate(root.findall("object"), start=1):
        place = f"{where}, object {number}"
        name = (node.findtext("name") or "").strip()
        if not name:
            raise DataError("an object without a name", where=place, expected="<name> with its class")
        corners = tuple(_number(node, f"bndbox/{edge}", place) for edge in ("xmin", "ymin", "xmax", "ymax"))
        box = _box(corners, name, (node.findtext("difficult") or "0").strip() == "1", size, place)
        boxes += [box] if box else []
        empty += box is None
    return Annotation(image=image, size=size, boxes=tuple(boxes), empty=empty)


def _parse_xml(path: Path) -> ElementTree.Element:
    """The root of a file without a DOCTYPE, which alone can declare entities: no expansion, nothing fetched."""
    expected = "an annotation in Pascal VOC's XML"
    try:
        if path.stat().st_size > _MAX_XML_BYTES:
            raise DataError(f"is larger than {_MAX_XML_BYTES} bytes", where=path, expected=expected)
        content = path.read_bytes()
        scout = expat.ParserCreate()
        scout.StartDoctypeDeclHandler = _refuse_doctype
        scout.Parse(content, True)
        root = ElementTree.fromstring(content)
    except _Doctype:
        raise DataError(
            "declares a DOCTYPE, and could define entities in it", where=path, cure="remove the <!DOCTYPE …>"
        ) from None
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"is not XML: {error}", where=path, expected=expected) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    if root.tag != "annotation":
        raise DataError(f"begins with <{root.tag[:60]}>", where=path, expected="<annotation>")
    return root


class _Doctype(Exception):
    pass


def _refuse_doctype(*_: object) -> None:
    raise _Doctype


def _number(node: ElementTree.Element, name: str, where: str) -> float:
    text = (node.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{name} is {text[:60]!r}" if text else f"there is no {name}",
            where=where,
            expected="a number of pixels",
        )
    return value


# -- COCO ----------------------------------------------------------------------------------------------------


def _coco_file(folder: Path, split: str | None) -> Path:
    nested = folder / "annotations"
    if split is not None and not any((folder / name).exists() for name in (split, f"{split}.json")):
        folder = nested if nested.is_dir() else folder
    paths = split_files(folder, split, (".json",))
    if len(paths) > 1:
        raise DataError(
            f"{len(paths)} JSON files, and no word which one",
            where=folder if split is None else folder / split,
            expected=f"one of: {', '.join(path.name for path in paths[:20])}",
            cure="name it: data.train",
        )
    return paths[0]


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {error}", where=path) from None
    if not isinstance(content, dict):
        raise DataError(
            "is not an object", where=path, expected='{"images": …, "annotations": …, "categories": …}'
        )
    return content


def _list_of(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or (not value and key == "images"):
        raise DataError(
            f"there is no list {key}" if not isinstance(value, list) else "there is no image in it",
            where=path,
            expected='{"images": […], "annotations": […], "categories": […]}',
        )
    return value


def _checked(rows: list[Any], key: str, path: Path, **fields: type) -> list[dict[str, Any]]:
    """The rows, each an object with these fields of these types. Raises DataError with those that are not."""
    kinds = {int: "a whole number", str: "a text", list: "a list"}
    problems = []
    for index, row in enumerate(rows):
        for name, kind in fields.items():
            value = row.get(name) if isinstance(row, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                what = f"{name} is {str(value)[:60]!r}" if value is not None else f"there is no {name}"
                problems.append(Problem(what, f"{path}, {key}[{index}]", kinds[kind]))
                break
    _refuse(problems)
    return rows


def _coco_corners(bbox: list[Any], where: str) -> tuple[float, ...]:
    """COCO's [x, y, width, height] as corners."""
    numbers = [v for v in bbox if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9]
    if len(bbox) != 4 or len(numbers) != 4:
        raise DataError(f"bbox is {str(bbox)[:60]}", where=where, expected="[x, y, width, height] in pixels")
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height


def _coco_image(folder: Path, path: Path, name: str) -> Path | None:
    split = path.stem
    for prefix in _SKIP:
        split = split.removeprefix(prefix)
    places = (path.parent, folder, folder / "images", folder / split, folder / "images" / split)
    return next((place / name for place in places if (place / name).is_file()), None)


# -- both ----------------------------------------------------------------------------------------------------


def _digest(folder: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=path) from None
        digest.update(f"{_shown(path, folder)}\0".encode() + content)
    return digest.hexdigest()


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def _refuse(problems: Sequence[Problem]) -> None:
    """DataError with the first few problems, if there are any."""
    more = len(problems) - _SHOWN
    if problems:
        raise DataError([*problems[:_SHOWN], *([Problem(f"and {more} more like these")] if more > 0 else [])])
