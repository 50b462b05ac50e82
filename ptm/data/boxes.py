"""Images with boxes: ``voc:``, ``coco:`` and ``yolo:`` sources to examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.annotations import BoxTable
from ptm.data.attributes import path_attributes
from ptm.data.coco import read_coco
from ptm.data.examples import Dataset, Examples
from ptm.data.image_files import leftovers
from ptm.data.label_spelling import Spelling, spelling_warnings
from ptm.data.label_warnings import untaught_warning
from ptm.data.labels import choose_labels, one_of, untaught_classes
from ptm.data.splits import make_dataset, read_splits
from ptm.data.tables import no_source
from ptm.data.voc import read_voc
from ptm.data.yolo import read_yolo
from ptm.errors import DataError, Problem, refuse

Reader = Callable[[DataSpec, str | None], BoxTable]

_ADD_BOXES = "add boxes, or name another split: data.train, data.eval, data.test"


def load_boxes(
    data: DataSpec, *, labels: tuple[str, ...] | None = None, train: bool = True, read: Reader | None = None
) -> Dataset:
    """Read what ``data`` names. ``labels`` are a trained model's own; ``read``: what reads a split, default
    :func:`read_boxes`.

    The columns are ``image`` (paths), ``size`` ((width, height)), ``boxes`` (float32 [k, 4]), ``classes`` (int64 [k]),
    ``crowd`` (bool [k]) and ``empty`` (boxes left out). Raises ConfigError for a split that is not there, DataError for
    contents that cannot be used.
    """
    splits = read_splits(data, lambda name, _: (read or read_boxes)(data, name), train=train)
    if data.label_map:
        splits = splits.with_tables([_renamed(table, data.label_map) for table in splits.tables])
    stated = tuple(dict.fromkeys(name for table in splits.tables for name in table.categories))
    whole = not splits.unread  # else nothing is said of what is not in it, and labels may be of any split
    named_by = [splits.first] if whole else splits.tables
    names = choose_labels(data.labels, labels, stated or None, lambda: _labels_in(named_by))
    if whole and (not names or not any(row.boxes for row in splits.first.annotations)):
        raise DataError(
            "there is not one box in it", where=data.source, expected="images with boxes", cure=_ADD_BOXES
        )
    warnings = [] if data.labels or labels else spelling_warnings(names, _spellings(splits.tables))
    warnings += [problem for table in splits.tables for problem in table.warnings]
    warnings += _without_area(splits.tables)
    place = Path(data.source.partition(":")[2])
    skipped = leftovers(place.parent if place.is_file() else place)
    warnings += [] if skipped is None else [skipped]

    def check_train(examples: Examples) -> None:
        classes, crowds = examples.columns["classes"], examples.columns["crowd"]
        learned = [numbers[~crowd] for numbers, crowd in zip(classes, crowds, strict=True)]
        untaught = untaught_classes(np.concatenate(learned), names)
        if len(untaught) == len(names):
            raise DataError(
                "no training image has a box to learn from",
                where=data.source,
                expected="boxes that are not marked as crowds or difficult",
                cure=_ADD_BOXES,
            )
        warnings.extend(untaught_warning(untaught, names, data.max_train_examples is not None))

    to_examples = partial(_examples, data=data, labels=names)
    dataset = make_dataset(data, splits, names, to_examples, train=train, check_train=check_train)
    for split, examples in (("eval", dataset.eval), ("test", dataset.test)):
        if examples is not None and not any(len(boxes) for boxes in examples.columns["boxes"]):
            raise DataError(
                "there is not one box to evaluate on",
                where=f"{data.source} {getattr(data, split) or ''}".strip(),
                expected="at least one image with a box",
                cure=_ADD_BOXES,
            )
    return replace(dataset, warnings=(*warnings, *dataset.warnings))


def _without_area(tables: Sequence[BoxTable]) -> list[Problem]:
    """A warning for boxes without width or height, which are left out."""
    rows = {str(row.image): row for table in tables for row in table.annotations if row.empty}
    if not rows:
        return []
    what = f"{sum(row.empty for row in rows.values())} boxes without width or height are left out"
    return [Problem(what, next(iter(rows)), cure="correct or remove them")]


def _renamed(table: BoxTable, names: Mapping[str, str]) -> BoxTable:
    rows = tuple(
        replace(row, boxes=tuple(replace(box, label=names.get(box.label, box.label)) for box in row.boxes))
        for row in table.annotations
    )
    categories = tuple(dict.fromkeys(names.get(name, name) for name in table.categories))
    return replace(table, annotations=rows, categories=categories)


def _spellings(tables: Sequence[BoxTable]) -> dict[str, Spelling]:
    boxes = [box for table in tables for row in table.annotations for box in row.boxes]
    first = {box.label: box.where for box in reversed(boxes)}
    return {
        name: Spelling(name, rows, first[name], "box")
        for name, rows in Counter(box.label for box in boxes).items()
    }


def read_boxes(data: DataSpec, split: str | None) -> BoxTable:
    """One split of ``voc:FOLDER``, ``coco:FOLDER`` or ``yolo:FOLDER_OR_YAML``."""
    kind, _, name = data.source.partition(":")
    place = Path(name)
    if not place.is_dir() and not (kind == "yolo" and place.is_file()):
        raise no_source(place, "there is no such folder")
    if kind == "yolo":
        return read_yolo(place, split, data.boxes, data.page)
    return read_voc(place, split) if kind == "voc" else read_coco(place, split)


def _labels_in(tables: Sequence[BoxTable]) -> tuple[str, ...]:
    return tuple(sorted({box.label for table in tables for row in table.annotations for box in row.boxes}))


def _examples(table: BoxTable, data: DataSpec, labels: tuple[str, ...]) -> Examples:
    """Columns of a split. Raises DataError for a class that is not one of ``labels``."""
    index = {name: number for number, name in enumerate(labels)}
    rows = table.annotations
    unknown = (
        Problem(
            f"label {box.label!r} is not one of the {len(labels)} labels",
            box.where,
            one_of(labels),
            "correct the object, or add the name to data.labels",
        )
        for row in rows
        for box in row.boxes
        if box.label not in index
    )
    refuse(unknown, noun="boxes")
    columns: dict[str, Sequence[Any]] = {
        "image": [row.image for row in rows],
        "size": [row.size for row in rows],
        "boxes": [
            np.array([box.corners for box in row.boxes], dtype=np.float32).reshape(-1, 4) for row in rows
        ],
        "classes": [np.array([index[box.label] for box in row.boxes], dtype=np.int64) for row in rows],
        "crowd": [np.array([box.crowd for box in row.boxes], dtype=bool) for row in rows],
        "empty": [row.empty for row in rows],
    }
    if table.masked:
        columns["masks"] = [[box.mask for box in row.boxes] for row in rows]
    attributes = path_attributes(data, [row.image for row in rows])
    return Examples(columns, None, lambda i: str(rows[i].image), attributes=attributes)
