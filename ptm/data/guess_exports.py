"""Exports of annotation tools as they come out of an archive: which folder is meant, which files are splits, and which
formats nobody reads here, with the one to export instead."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptm.base.regular import endless
from ptm.data.given_paths import is_file
from ptm.data.image_listing import is_hidden
from ptm.errors import DataError

INSTEAD = "export again as COCO (boxes and outlines), Pascal VOC or YOLO (boxes)"
# Other tasks of COCO's, which CVAT and COCO itself put beside the instances.
_NOT_INSTANCES = ("person_keypoints", "captions", "panoptic", "stuff", "labels_")
_LONGEST_LINE = 10_000  # characters
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^>]*>\s*)*<([A-Za-z_]+)")
_MARKS = ("Annotations", "annotations", "labels", "obj_train_data", "data.yaml", "result.json")


def unpacked(path: Path) -> Path:
    """``path``, or the one folder in it, where archives were unpacked into a folder of their own: it holds what exports
    hold, and nothing stands beside it."""
    if not path.is_dir():
        return path
    entries = [entry for entry in path.iterdir() if not is_hidden(entry.name)]
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
        return path
    return entries[0] if any((entries[0] / mark).exists() for mark in _MARKS) else path


def instances_among(files: Sequence[Path]) -> list[Path]:
    """Of files in COCO's form, those of boxes and outlines, where some are called so."""
    own = [file for file in files if not file.stem.startswith(_NOT_INSTANCES)]
    return own or list(files)


def lists_of_images(files: Sequence[Path]) -> list[Path]:
    """Of lists in VOC's ``ImageSets/Main``, those that are splits: not ``cat_train.txt``, which says for each image
    whether there is a cat (a name and 1, 0 or -1 a line)."""
    lists = [file for file in files if is_file(file)]
    own = [file for file in lists if not _says_of_a_class(file)]
    return own or lists


def _says_of_a_class(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as lines:
        fields = lines.readline(_LONGEST_LINE).split()
    return len(fields) == 2 and fields[1] in ("1", "0", "-1")


def refuse_unread(path: Path) -> None:
    """DataError for exports in forms that ptm does not read, which look like a folder of images otherwise."""
    entries = sorted(entry for entry in path.iterdir() if not is_hidden(entry.name))
    archives = [entry for entry in entries if entry.suffix.lower() in (".zip", ".tar", ".7z", ".rar", ".tgz")]
    if archives and len(archives) == len(entries):
        raise DataError(
            f"holds {archives[0].name}, packed",
            where=path,
            expected="the files themselves",
            cure=f"unpack it: python -m zipfile -e {archives[0].name} {archives[0].stem}/",
        )
    for file in (path / "annotations.xml", *path.glob("*/annotations.xml")):
        if file.is_file():
            raise _unread(file, "is written by CVAT in its own form (CVAT for images)")
    for file in sorted({*path.glob("*.json"), *path.glob("annotations/*.json")}):
        refuse_unread_file(file)
    for folder in (path, *(entry for entry in entries if entry.is_dir())):
        if any(_beside(file) for file in folder.glob("*.xml")):
            raise _unread(folder, "holds XML files beside their images")


def refuse_unread_file(file: Path) -> None:
    """As :func:`refuse_unread`, of a JSON file that is named itself."""
    if file.suffix.lower() == ".xml" and _root_of(file) == "annotations":
        raise _unread(file, "is written by CVAT in its own form (CVAT for images)")
    content = _json(file) if file.suffix.lower() == ".json" else None
    if isinstance(content, dict) and {"categories", "items"} <= content.keys():
        raise _unread(file, "is written by Datumaro (CVAT exports it)")
    if isinstance(content, list) and any(map(_marks_an_image, content)):
        raise _unread(file, "is Label Studio's own JSON, of images")


def _unread(where: Path, what: str) -> DataError:
    return DataError(what, where=where, expected="a form that ptm reads (docs/data.md)", cure=INSTEAD)


def _beside(file: Path) -> bool:
    return any(file.with_suffix(suffix).is_file() for suffix in (".jpg", ".jpeg", ".png"))


def _marks_an_image(record: Any) -> bool:
    """Whether a task of Label Studio's says where on an image something is."""
    if not isinstance(record, dict):
        return False
    of_min = [
        one for value in record.values() for one in _listed(value)
    ]  # JSON-MIN: a list a part of the interface
    annotations = record.get("annotations")
    results = of_min + [
        one
        for annotation in _listed(annotations)
        if isinstance(annotation, dict)
        for one in _listed(annotation.get("result"))
    ]
    return any(isinstance(one, dict) and "original_width" in one for one in results)


def _root_of(file: Path) -> str:
    """The tag of the outermost element of an XML file; "" where it is none."""
    with file.open("rb") as stream:
        match = _ROOT.match(stream.read(_LONGEST_LINE))
    return match[1].decode("ascii") if match else ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(file: Path) -> Any:
    if endless(file) is not None:
        return None
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
