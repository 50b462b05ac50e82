"""YOLO's text files, strictly: every refusal names the file and the line.

A line is ``class x y width height``: the number of the class, and the centre and sides of the box as fractions of the
image's. Names of classes stand in ``data.yaml`` (Ultralytics), or in ``classes.txt`` or ``obj.names`` (LabelImg, Label
Studio, CVAT).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptm.config.yaml_tree import decode, read_yaml, to_data
from ptm.data.annotations import Annotation, Box, BoxTable, box_on, digest_of
from ptm.data.entries import files_among
from ptm.data.given_paths import is_file, is_folder, read_text_file
from ptm.data.image_files import contents, images_below
from ptm.data.image_headers import read_header
from ptm.data.image_listing import IMAGE_SUFFIXES, is_hidden
from ptm.data.partial import refuse_but
from ptm.data.tables import lines_of
from ptm.errors import DataError, Problem, listing, refuse

SPLITS = ("train", "val", "test")
NAME_FILES = ("classes.txt", "obj.names")
_YAML, _LIST = (".yaml", ".yml"), ".txt"
_IMAGES, _LABELS = "images", "labels"
_NUMBERS = ("x", "y", "width", "height")
_ALIASES = {"valid": "val", "validation": "val", "eval": "val"}


@dataclass(frozen=True)
class _Layout:
    """``root``: what paths are relative to; ``places``: split → the folders and lists of images that it names."""

    root: Path
    file: Path
    names: Mapping[int, str]
    places: Mapping[str, tuple[str, ...]]


def read_yolo(
    source: Path,
    split: str | None,
    drawn_on: Literal["upright", "stored"] | None,
    page: int | None = None,
) -> BoxTable:
    """One split of a folder with a ``data.yaml``, or of that file; without a split, all that it names.

    An image's labels stand in the file of the same name below ``labels/``, where the image stands below ``images/``;
    else beside it. An image without such a file shows none of the classes, which is told. ``drawn_on``: of photos that
    are shown turned, whether boxes are fractions of the image as it is shown (default) or as it is stored.
    """
    layout = _layout(source)
    images, folders = _images(layout, split)
    labels = {image: _label_file(image) for image in images}
    problems = [
        Problem(
            "has no image", str(path), f"one of that name in {folder}", "add the image or remove the file"
        )
        for folder in folders
        for path in _orphans(folder, set(labels.values()))
    ]
    rows: list[Annotation] = []
    bare = [image for image, path in labels.items() if not path.is_file()]
    for image, path in labels.items():
        try:
            header = read_header(image, page=page)
            size = header.size if drawn_on == "stored" else header.upright
            rows.append(_annotation(image, path, size, layout.names))
        except DataError as error:
            problems += error.problems
    files = [layout.file, *(path for path in labels.values() if path.is_file()), *labels]
    warnings = (
        [
            Problem(
                f"{len(bare)} of {len(images)} images have no file of labels: they count as images without objects",
                str(bare[0]),
                f"a file {labels[bare[0]]}",
            )
        ]
        if bare
        else []
    )
    table = BoxTable(
        annotations=tuple(rows),
        digest=digest_of(layout.root, files, images[0]),  # the first file is that of all splits
        categories=tuple(dict.fromkeys(layout.names[number] for number in sorted(layout.names))),
        warnings=tuple(warnings),
    )
    refuse_but(problems, table, "problems")
    return table


def splits_of(source: Path) -> list[str]:
    """The splits that the ``data.yaml`` of a source names, as it calls them."""
    return [name for name in SPLITS if name in _layout(source).places]


def config_of(folder: Path) -> Path | None:
    """The file in a folder that names classes and splits; None where there is none."""
    if not folder.is_dir():
        return None
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not is_hidden(entry.name))
    yamls = [file for file in files if file.suffix.lower() in _YAML and _names_classes(file)]
    usual = [file for file in yamls if file.stem in ("data", "dataset")]
    return next(iter([*usual, *yamls, *(file for file in files if file.name in NAME_FILES)]), None)


def _names_classes(file: Path) -> bool:
    try:
        return "names" in _read_yaml(file)
    except DataError:
        return file.stem in ("data", "dataset")  # whoever reads it says what is wrong with it


def _layout(source: Path) -> _Layout:
    file = source if source.is_file() else config_of(source)
    if file is None:
        raise DataError(
            "no file in it names the classes",
            where=source,
            expected=f"data.yaml (names, train, val), or {' or '.join(NAME_FILES)} with a name a line; "
            f"there is: {contents(source)}",
            cure="name the file or the folder that holds it: yolo:FOLDER/data.yaml",
        )
    if file.name in NAME_FILES:
        names = [line.strip() for line in lines_of(read_text_file(file)) if line.strip()]
        return _Layout(file.parent, file, dict(enumerate(names)), {})
    if file.suffix.lower() not in _YAML:
        raise DataError(
            "is no data.yaml",
            where=file,
            expected="a YAML file with names, train and val, or its folder",
            cure="name the file that lists the classes, or the folder that it is in",
        )
    content = _read_yaml(file)
    places = {name: _listed(content[name], name, file) for name in SPLITS if content.get(name)}
    return _Layout(_root(file, content.get("path")), file, _class_names(content, file), places)


def _read_yaml(file: Path) -> Mapping[str, Any]:
    try:
        text, findings = decode(file.read_bytes(), str(file))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=file) from None
    section, more = (None, []) if findings else read_yaml(text, str(file))
    refuse((finding.problem for finding in (*findings, *more)), noun="problems")
    assert section is not None
    content: Mapping[str, Any] = to_data(section)
    return content


def _class_names(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    stated = content.get("names")
    numbered: Mapping[str, Any] = (
        dict(zip(map(str, range(len(stated))), stated, strict=True))
        if isinstance(stated, list)
        else stated or {}
    )
    expected = "names: [cat, dog], or names: {0: cat, 1: dog}"
    if not isinstance(numbered, Mapping) or not numbered:
        raise DataError(
            "names no classes",
            where=file,
            expected=expected,
            cure="add names: [cat, dog], in the order of their numbers",
        )
    names: dict[int, str] = {}
    for key, name in numbered.items():
        if not str(key).isdecimal() or isinstance(name, list | dict | bool) or not str(name or "").strip():
            raise DataError(
                f"names holds {key}: {name!r}", where=file, expected=expected, cure="correct the entry"
            )
        if str(name) in names.values():
            first = next(number for number, other in names.items() if other == str(name))
            raise DataError(
                f"the classes {first} and {key} have one name: {str(name)!r:.100}",
                where=file,
                expected="a name of its own for each class",
                cure="rename one; to make them one class afterwards: data.label_map",
            )
        names[int(key)] = str(name)
    count = content.get("nc")
    if count is not None and count != len(names):
        raise DataError(
            f"nc is {count}, and there are {len(names)} names",
            where=file,
            expected="a name for each class",
            cure="correct nc, or remove it",
        )
    return names


def _listed(value: Any, key: str, file: Path) -> tuple[str, ...]:
    places = value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) and place.strip() for place in places):
        raise DataError(
            f"{key} is {value!r}",
            where=file,
            expected="a folder of images, a .txt with a path a line, or a list",
            cure="correct the entry",
        )
    return tuple(places)


def _root(file: Path, stated: Any) -> Path:
    """What ``path`` names, where it is there: it often names a folder of the machine that wrote the file."""
    here = file.parent
    if not isinstance(stated, str):
        return here
    return next((place for place in (here / stated, here / Path(stated).name) if is_folder(place)), here)


# --- images


def _images(layout: _Layout, split: str | None) -> tuple[list[Path], list[Path]]:
    """The images of a split, each once, and the folders that were read whole."""
    places = _places(layout, split)
    images: dict[Path, None] = {}
    folders: list[Path] = []
    for place in places:
        if place.is_dir():
            folders.append(place)
            images |= dict.fromkeys(images_below(place))
        else:
            images |= dict.fromkeys(_listed_images(place, layout))
    if not images:
        raise DataError(
            "no image in it",
            where=listing(places),
            expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}; there is: {contents(layout.root)}",
        )
    return list(images), folders


def _places(layout: _Layout, split: str | None) -> list[Path]:
    root = layout.root
    if split is None:
        named = [entry for entries in layout.places.values() for entry in entries]
        usual = root / _IMAGES if (root / _IMAGES).is_dir() else root
        return [_place(root, entry, layout.file) for entry in named] or [usual]
    name = _ALIASES.get(split, split)
    if name in layout.places:
        return [_place(root, entry, layout.file) for entry in layout.places[name]]
    found = [root / split, root / f"{split}{_LIST}", root / _IMAGES / split]
    for place in found:
        if place.is_dir() and (place / _IMAGES).is_dir():
            return [place / _IMAGES]
        if place.is_dir() or (place.is_file() and place.suffix == _LIST):
            return [place]
    there = [name for name in SPLITS if name in layout.places]
    raise DataError(
        f"no split {split!r}",
        where=layout.file,
        expected=f"one of: {listing(there)}" if there else f"a folder {root / _IMAGES / split}",
        cure="correct data.train, data.eval, data.test or --split",
    )


def _place(root: Path, entry: str, file: Path) -> Path:
    """A folder or a list of images. Roboflow writes ``../train/images`` beside ``train/``."""
    name = entry.replace("\\", "/")
    tried = [root / name, file.parent / name]
    if name.startswith("../"):
        tried += [root / name.removeprefix("../"), file.parent / name.removeprefix("../")]
    for place in tried:
        if is_folder(place) or (is_file(place) and place.suffix == _LIST):
            return place
    raise DataError(
        f"there is no folder {entry[:200]!r}",
        where=file,
        expected=f"a folder of images, or a {_LIST} file with a path a line, relative to {root}",
        cure=f"correct path, train, val or test in it; there is: {contents(root)}",
    )


def _listed_images(file: Path, layout: _Layout) -> Iterator[Path]:
    problems: list[Problem] = []
    seen: set[Path] = set()
    for number, line in enumerate(lines_of(read_text_file(file)), start=1):
        name = line.strip().replace("\\", "/")
        if not name:
            continue
        # CVAT writes data/ before all names.
        names = [name, name.removeprefix("data/")]
        tried = [folder / one for one in names for folder in (file.parent, layout.root)]
        found = next((path for path in tried if is_file(path)), None)
        if found is None or found in seen:
            what = (
                f"there is no image {line.strip()[:200]!r}"
                if found is None
                else f"{line.strip()!r} is listed twice"
            )
            expected = f"a path relative to {layout.root}" if found is None else "each image once"
            problems.append(Problem(what, f"{file}:{number}", expected, "correct or remove the line"))
        else:
            seen.add(found)
            yield found
    refuse(problems, noun="lines")


def _label_file(image: Path) -> Path:
    """``labels/a/b.txt`` of ``images/a/b.jpg``; beside an image that stands in no folder of that name."""
    parts = list(image.parts)
    if _IMAGES in parts[:-1]:
        last = len(parts) - 2 - parts[:-1][::-1].index(_IMAGES)
        mirrored = Path(*parts[:last], _LABELS, *parts[last + 1 :]).with_suffix(_LIST)
        if mirrored.parent.is_dir():
            return mirrored
    return image.with_suffix(_LIST)


def _orphans(folder: Path, used: set[Path]) -> list[Path]:
    """Files of labels below the mirror of a folder of images that belong to no image."""
    mirror = _label_file(folder / "any.jpg").parent
    if mirror == folder:  # beside the images: there may be any other text
        return []
    files = sorted(path for path in mirror.rglob(f"*{_LIST}") if path.is_file())
    return [
        path
        for path in files
        if path not in used and path.name not in NAME_FILES and not is_hidden(path.name)
    ]


# --- boxes


def _annotation(image: Path, labels: Path, size: tuple[int, int], names: Mapping[int, str]) -> Annotation:
    boxes: list[Box] = []
    problems: list[Problem] = []
    empty = 0
    lines = lines_of(read_text_file(labels)) if files_among([labels]) else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            box = _box(line.split(), names, size, f"{labels}:{number}")
        except DataError as error:
            problems += error.problems
            continue
        boxes += [box] if box else []
        empty += box is None
    refuse(problems, noun="lines")
    return Annotation(image=image, size=size, boxes=tuple(boxes), empty=empty)


def _box(fields: Sequence[str], names: Mapping[int, str], size: tuple[int, int], where: str) -> Box | None:
    expected = "class x y width height, the last four as fractions of the image's width and height"
    if len(fields) != 5:
        what, cure = _no_box(len(fields))
        raise DataError(what, where=where, expected=expected, cure=cure)
    number, *values = (_number(field) for field in fields)
    if number not in names:
        raise DataError(
            f"the class is {fields[0][:60]!r}",
            where=where,
            expected=f"one of: {listing(f'{key} ({names[key]})' for key in sorted(names))}",
            cure="correct the line, or the names",
        )
    for name, field, value in zip(_NUMBERS, fields[1:], values, strict=True):
        if not 0 <= value <= 1:  # nor nan
            by_side = "divide pixels by the width or the height of the image"
            raise DataError(
                f"{name} is {field[:60]!r}",
                where=where,
                expected="a fraction of the image's width or height, from 0 to 1",
                cure=by_side if value > 1 else "correct the line",
            )
    x, y, width, height = values
    corners = (
        (x - width / 2) * size[0],
        (y - height / 2) * size[1],
        (x + width / 2) * size[0],
        (y + height / 2) * size[1],
    )
    return box_on(corners, names[int(number)], False, size, where)


def _no_box(count: int) -> tuple[str, str]:
    """What a line of so many fields is, and what to do about it."""
    if count >= 7 and count % 2:
        what = f"a polygon of {(count - 1) // 2} corners (a line for segmentation), not a box"
        return what, "export boxes (detection) instead of polygons"
    if count == 6:
        return "6 numbers: a box with its score, as predictions are written", "remove the last number"
    return f"{count} {'field' if count == 1 else 'fields'}", "correct or remove the line"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
