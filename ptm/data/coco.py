"""COCO files, strictly: every refusal names the file and the place in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ptm.base import strict_json
from ptm.data.annotations import Annotation, Box, BoxTable, box_within, digest_of, require_upright
from ptm.data.given_paths import is_file, read_file
from ptm.data.partial import refuse_but
from ptm.data.sources import split_files
from ptm.errors import DataError, Gathered, Problem, listing, refuse

_LONGEST_PATH = 4096  # bytes, of Linux
_LONGEST_SIDE = 10**9  # pixels; beyond any format of images
_SKIP = ("instances_", "annotations_")  # before the name of the split in COCO's file names


def read_coco(folder: Path, split: str | None) -> BoxTable:
    """COCO: a JSON file with ``images``, ``annotations`` and ``categories`` a split.

    ``split`` is the file, with or without ``.json``, in ``folder`` or in its ``annotations/``; or a folder with that
    file in it. Images are looked for by their ``file_name`` beside the JSON file, in ``folder``, in its ``images/``,
    and in the folders of both that are named as the split (``instances_train2017.json``: ``train2017/``); first by the
    whole name, then without the folders and the address that Label Studio and others write before it.
    """
    path = coco_file(folder, split)
    content = read_json(path)
    rows = {key: list_of(content, key, path) for key in ("images", "annotations", "categories")}
    gathered = Gathered()
    with gathered.of():
        names = categories_of(checked(rows["categories"], "categories", path, id=int, name=str), path)
    with gathered.of():
        images = checked(rows["images"], "images", path, id=int, file_name=str, width=int, height=int)
        _require_sides(images, path)
    with gathered.of():
        drawn = checked(rows["annotations"], "annotations", path, image_id=int, category_id=int, bbox=list)
    gathered.refuse()
    boxes: dict[int, list[Box]] = {image["id"]: [] for image in images}
    empty = dict.fromkeys(boxes, 0)
    if len(boxes) < len(images):
        raise DataError(
            "image ids repeat",
            where=path,
            expected="an id an image",
            cure="give each image an id of its own, and its annotations with it",
        )
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    problems: list[Problem] = []
    for index, row in enumerate(drawn):
        where = f"{path}, annotations[{index}]"
        image_id, category = row["image_id"], row["category_id"]
        if image_id not in boxes or category not in names:
            what = f"image_id {image_id}" if image_id not in boxes else f"category_id {category}"
            problems.append(
                Problem(
                    f"there is no {what}", where, cure="add the entry that it names, or remove the annotation"
                )
            )
            continue
        try:
            require_upright(_rotation(row), where)
            corners = _coco_corners(row["bbox"], where)
            box = box_within(corners, names[category], is_crowd(row, where), sizes[image_id], where)
        except DataError as error:
            problems += error.problems
            continue
        boxes[image_id] += [box] if box else []
        empty[image_id] += box is None
    annotations = []
    first: dict[Path, int] = {}
    for index, image in enumerate(images):
        where = f"{path}, images[{index}]"
        size = sizes[image["id"]]
        place = find_image(folder, path, image["file_name"])
        if place is None or min(size) < 1:
            what = (
                f"there is no image {image['file_name'][:200]!r}" if place is None else f"the size is {size}"
            )
            problems.append(
                Problem(
                    what,
                    where,
                    f"{image['file_name'][:200]} in {', '.join(map(str, image_folders(folder, path)))}",
                    missing_cure(folder) if place is None else "correct the size",
                )
            )
            continue
        if (other := first.setdefault(place, index)) != index:
            problems.append(
                Problem(
                    f"{image['file_name']!r} and images[{other}] are the same file {place}",
                    where,
                    "a file an image",
                    "put the boxes of both on one of them, or give each its own file",
                )
            )
            continue
        annotations.append(
            Annotation(image=place, size=size, boxes=tuple(boxes[image["id"]]), empty=empty[image["id"]])
        )
    files = [path, *(row.image for row in annotations)]
    categories = tuple(dict.fromkeys(names[number] for number in sorted(names)))
    table = BoxTable(annotations=tuple(annotations), digest=digest_of(folder, files), categories=categories)
    refuse_but(problems, table, "problems")
    return table


def categories_of(rows: list[dict[str, Any]], path: Path) -> dict[int, str]:
    """Number → name. Raises DataError where two categories share a number: no box would say which it is of."""
    names: dict[int, str] = {}
    problems: list[Problem] = []
    for index, row in enumerate(rows):
        other = names.setdefault(row["id"], row["name"])
        if other != row["name"]:
            what = f"the id {row['id']} is that of {other!r} and of {row['name']!r}"
            where, cure = f"{path}, categories[{index}]", "give each its own, in the annotations as well"
            problems.append(Problem(what, where, "an id a category", cure))
    refuse(problems, noun="problems")
    return names


def coco_file(folder: Path, split: str | None) -> Path:
    nested = folder / "annotations"
    if split is None and nested.is_dir() and not any(folder.glob("*.json")):
        folder = nested
    if split is not None and not any((folder / name).exists() for name in (split, f"{split}.json")):
        folder = nested if nested.is_dir() else folder
    paths = split_files(folder, split, (".json",))
    if len(paths) > 1:
        raise DataError(
            f"{len(paths)} JSON files, and no word which one",
            where=folder if split is None else folder / split,
            expected=f"one of: {listing(path.name for path in paths)}",
            cure="name it: data.train",
        )
    return paths[0]


def read_json(path: Path) -> Mapping[str, Any]:
    raw = read_file(path)
    try:
        content = strict_json.loads(raw)
    except ValueError as error:
        raise DataError(
            f"is not JSON: {error}",
            where=path,
            cure="export it again; a file that was cut off cannot be mended",
        ) from None
    if not isinstance(content, dict):
        raise DataError(
            "is not an object",
            where=path,
            expected='{"images": …, "annotations": …, "categories": …}',
            cure="export as COCO, one file a split",
        )
    return content


def list_of(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list) or (not value and key == "images"):
        raise DataError(
            f"there is no list {key}" if not isinstance(value, list) else "there is no image in it",
            where=path,
            expected='{"images": […], "annotations": […], "categories": […]}',
            cure="export as COCO, one file a split",
        )
    return value


def is_crowd(row: Mapping[str, Any], where: str) -> bool:
    """``iscrowd`` of an annotation, 0 where it says nothing. Raises DataError for what is neither 0 nor 1."""
    value = row.get("iscrowd")
    if value not in (None, 0, 1):
        raise DataError(
            f"iscrowd is {str(value)[:60]!r}",
            where=where,
            expected="0, or 1 for a crowd",
            cure="correct the annotation: a number, without quotes",
        )
    return bool(value)


def checked(rows: list[Any], key: str, path: Path, **fields: type) -> list[dict[str, Any]]:
    """The rows, each an object with these fields of these types. Raises DataError with those that are not."""
    kinds = {int: "a whole number", str: "a text", list: "a list"}
    problems = []
    for index, row in enumerate(rows):
        for name, kind in fields.items():
            value = row.get(name) if isinstance(row, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                what = f"{name} is {str(value)[:60]!r}" if value is not None else f"there is no {name}"
                where = f"{path}, {key}[{index}]"
                problems.append(Problem(what, where, kinds[kind], "correct the entry, or remove it"))
                break
    refuse(problems, noun="problems")
    return rows


def _require_sides(images: list[dict[str, Any]], path: Path) -> None:
    """DataError for sizes beyond those of any format of images: numbers that no arithmetic takes."""
    refuse(
        Problem(
            f"the size is {image['width']}x{image['height']}"[:100],
            f"{path}, images[{index}]",
            "the width and height in pixels",
            cure="correct the entry: width and height of the image file",
        )
        for index, image in enumerate(images)
        if max(image["width"], image["height"]) > _LONGEST_SIDE
    )


def _coco_corners(bbox: list[Any], where: str) -> tuple[float, ...]:
    """COCO's [x, y, width, height] as corners."""
    numbers = [v for v in bbox if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9]
    if len(bbox) != 4 or len(numbers) != 4:
        raise DataError(
            f"bbox is {str(bbox)[:60]}",
            where=where,
            expected="[x, y, width, height] in pixels",
            cure="correct the annotation, or remove it",
        )
    x, y, width, height = map(float, numbers)
    return x, y, x + width, y + height


def _rotation(row: Mapping[str, Any]) -> float:
    """Degrees, as CVAT writes them among a box's attributes."""
    attributes = row.get("attributes")
    degrees = attributes.get("rotation", 0) if isinstance(attributes, dict) else 0
    try:
        return float(degrees) if isinstance(degrees, int | float) else 0.0
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def find_image(folder: Path, path: Path, name: str) -> Path | None:
    places = image_folders(folder, path)
    tried = (place / written for written in _spellings(name) for place in places)
    return next((file for file in tried if is_file(file)), None)


def missing_cure(folder: Path) -> str:
    """What to do where an image of a file is not there."""
    archives = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".zip")
    if archives:
        return f"unpack {archives[0]}, if it is in there"
    return "export with images, or put it there; or remove its entry and what is marked on it from the file"


def _spellings(name: str) -> Iterator[str]:
    """A file's name as it is written, then as programs write it: with backslashes, as an address (``%20`` for a blank,
    ``/data/local-files/?d=a/b.jpg``), with folders of another machine before it."""
    if len(name) <= _LONGEST_PATH:
        yield name  # most are there by it, and no other is made
    plain = name.replace("\\", "/")
    if "?" in plain or "://" in plain:
        with suppress(ValueError):  # no address
            address = urlsplit(plain)
            plain = next(iter(parse_qs(address.query).get("d", [])), address.path)
    names = [plain, unquote(plain)]
    for whole in (plain, unquote(plain)):
        # No path is longer, and each folder of it is one more name.
        parts = [part for part in whole[-_LONGEST_PATH:].split("/") if part not in ("", ".", "..")]
        names += ["/".join(parts[start:]) for start in range(len(parts))]
    yield from dict.fromkeys(one for one in names if len(one) <= _LONGEST_PATH and one != name)


@lru_cache(8)  # the same for all images of a file
def image_folders(folder: Path, path: Path) -> tuple[Path, ...]:
    """Where the images of a JSON file are looked for."""
    split = path.stem
    for prefix in _SKIP:
        split = split.removeprefix(prefix)
    places = (path.parent, folder, folder / "images", folder / split, folder / "images" / split)
    return tuple(dict.fromkeys(places))
