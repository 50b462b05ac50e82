"""Pascal VOC folders, strictly: every refusal names the file and the object."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from ptm.data.annotations import Annotation, Box, BoxTable, box_within, digest_of, require_upright
from ptm.data.given_paths import is_file, read_text_file
from ptm.data.image_files import contents, images_below
from ptm.data.image_listing import is_hidden
from ptm.data.partial import refuse_but
from ptm.data.tables import lines_of
from ptm.errors import DataError, Problem, listing

IMAGE_FOLDERS = ("JPEGImages", "images")
_MAX_XML_BYTES = 16_000_000


def read_voc(folder: Path, split: str | None) -> BoxTable:
    """Pascal VOC: ``JPEGImages/``, ``Annotations/NAME.xml``, ``ImageSets/Main/SPLIT.txt`` with a name a line.

    Without a split, all of ``Annotations/``. An image without objects has an annotation without objects. Label Studio
    calls the first folder ``images/``; in CVAT's exports a name may have folders before it.
    """
    annotations, images = folder / "Annotations", folder / IMAGE_FOLDERS[0]
    if not images.is_dir() and (folder / IMAGE_FOLDERS[1]).is_dir():
        images = folder / IMAGE_FOLDERS[1]
    for needed in (annotations, images):
        if not needed.is_dir():
            inner = [*sorted(folder.glob("*/JPEGImages")), *sorted(folder.glob("*/*/JPEGImages"))]
            raise DataError(
                f"there is no folder {needed.name}/",
                where=folder,
                expected="JPEGImages/ with the images, Annotations/ with an XML file for each, and ImageSets/Main/ "
                f"with a list of names for each split; there is: {contents(folder)}",
                cure=f"--set data.source=voc:{inner[0].parent}"
                if inner
                else "name the folder that holds them in data.source",
            )
    split_file = (
        None if split is None else folder / "ImageSets" / "Main" / f"{split.removesuffix('.txt')}.txt"
    )
    if split_file is None:
        files = sorted(path for path in annotations.rglob("*.xml") if not is_hidden(path.name))
        places = {_name(path, annotations): str(path) for path in files}
    else:
        places = _names_in(split_file)
    if not places:
        raise DataError(
            "names no image",
            where=split_file or annotations,
            cure="write the name of an image a line, without its suffix",
        )
    there = images_below(images)
    by_stem = {_name(path, images): path for path in there}
    rows: list[Annotation] = []
    problems: list[Problem] = []
    for name, place in places.items():
        path = annotations / f"{name}.xml"
        if name not in by_stem:
            problems.append(
                Problem(
                    f"there is no image {name!r}",
                    place,
                    f"a file {images / name}.jpg or the like",
                    cure="add the image, or remove its name from the split",
                )
            )
        elif not is_file(path):
            problems.append(
                Problem(
                    "there is no annotation",
                    str(path),
                    f"one for {by_stem[name]}",
                    cure="add the annotation, or remove the name from the split",
                )
            )
        else:
            try:
                rows.append(_voc_annotation(path, by_stem[name]))
            except DataError as error:
                problems += error.problems
    files = [path for row in rows for path in (annotations / f"{_name(row.image, images)}.xml", row.image)]
    table = BoxTable(annotations=tuple(rows), digest=digest_of(folder, files))
    refuse_but(problems, table, "problems")
    return table


def _name(path: Path, folder: Path) -> str:
    """``sub/a`` of ``folder/sub/a.jpg``."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _names_in(split_file: Path) -> dict[str, str]:
    """Name of an image → where it is listed."""
    if not split_file.is_file():
        there = sorted(path.stem for path in split_file.parent.glob("*.txt"))
        raise DataError(
            f"there is no split {split_file.stem!r}",
            where=split_file,
            expected=f"one of: {listing(there)}" if there else "a file with a name a line",
            cure="correct data.train, data.eval, data.test or --split",
        )
    lines = lines_of(read_text_file(split_file))
    places: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in places:
            raise DataError(
                f"{name!r} is listed twice", where=f"{split_file}:{number}", cure="remove one of them"
            )
        if name and (Path(name).is_absolute() or ".." in Path(name).parts):
            raise DataError(
                f"{name!r} is not a name",
                where=f"{split_file}:{number}",
                expected="no other folder in it",
                cure="correct the line: the name of an image without its suffix",
            )
        if name:
            places[name] = f"{split_file}:{number}"
    return places


def _voc_annotation(path: Path, image: Path) -> Annotation:
    root = _parse_xml(path)
    where = str(path)
    width, height = (_number(root, f"size/{name}", where) for name in ("width", "height"))
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise DataError(
            f"the size is {width:g}x{height:g}",
            where=where,
            expected="<size> of the image in pixels",
            cure="correct <width> and <height>",
        )
    size = (int(width), int(height))
    boxes: list[Box] = []
    empty = 0
    for number, node in enumerate(root.findall("object"), start=1):
        place = f"{where}, object {number}"
        name = (node.findtext("name") or "").strip()
        if not name:
            raise DataError(
                "an object without a name",
                where=place,
                expected="<name> with its class",
                cure="name the object, or remove it",
            )
        for attribute in node.findall("attributes/attribute"):
            if (attribute.findtext("name") or "").strip() == "rotation":
                require_upright(_number(attribute, "value", place), place)
        corners = tuple(_number(node, f"bndbox/{edge}", place) for edge in ("xmin", "ymin", "xmax", "ymax"))
        difficult = (node.findtext("difficult") or "").strip() or "0"
        if difficult not in ("0", "1"):
            raise DataError(
                f"difficult is {difficult[:60]!r}",
                where=place,
                expected="0, or 1 for what is neither learned nor counted",
                cure="correct the object",
            )
        box = box_within(corners, name, difficult == "1", size, place)
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
        raise DataError(
            f"is not XML: {error}",
            where=path,
            expected=expected,
            cure="export it again; a file that was cut off cannot be mended",
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    if root.tag != "annotation":
        raise DataError(
            f"begins with <{root.tag[:60]}>",
            where=path,
            expected="<annotation>",
            cure="remove the file, or export it as Pascal VOC",
        )
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
            cure="correct the object, or remove it",
        )
    return value
