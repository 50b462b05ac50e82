"""What is known of examples and no model gets to see: groups that stay together, strata, slices.

In tables these are columns; in folders of images, what a regular expression finds in their paths.
"""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptm.config.expressions import found
from ptm.config.slices import BINS, EMPTY, LENGTH, bin_names, bin_of
from ptm.config.spec import DataSpec
from ptm.data import heif
from ptm.data.arrow import Texts, mapped, rows_where
from ptm.data.arrow_values import empty_rows, stripped
from ptm.data.examples import Examples
from ptm.errors import DataError, Problem, refuse

MOST_VALUES = 50  # of a slice: more are no parts of the data, but the data themselves
_UNREADABLE = "(unreadable)"  # the size of an image that is refused later, by whoever reads it


def attribute_roles(data: DataSpec, split: str, *, train: bool) -> dict[str, str]:
    """Role → column of what is to be read beside the inputs of a split of a table. ``train``: whether the training
    split is read as well, so that groups can be held against each other."""
    held_out = split == "train" and bool(data.held_out)
    roles: dict[str, str] = {}
    if data.split_by is not None and (held_out or train):
        roles["split_by"] = data.split_by
    if isinstance(data.stratify, str) and held_out:
        roles["stratify"] = data.stratify
    if split != "train" or held_out:
        roles |= {f"slices {name}": name for name in data.slices if name not in BINS}
    return roles


def column_attributes(
    columns: Mapping[str, Sequence[Any]], roles: Mapping[str, str], where: Callable[[int], str]
) -> dict[str, Sequence[str]]:
    """The values of these columns by the names of the columns. ``roles`` that a table has not been read with are left
    out. Raises DataError for cells that hold no single value, and for empty ones where groups are made of them."""
    attributes: dict[str, Sequence[str]] = {}
    problems: list[Problem] = []
    for role, name in roles.items():
        if role not in columns:
            continue
        key = role.partition(" ")[0]
        column = columns[role]
        texts = stripped(column) if isinstance(column, Texts) else mapped(column, _text)
        for row in _missing(texts, empty=key != "slices"):
            what = f"{name} holds no single value" if texts[row] is None else f"{name} is empty"
            problems.append(
                Problem(what, where(row), f"a value for data.{key}", "fill it in, or remove the row")
            )
        if key == "slices":
            problems += _said_to_be_empty(texts, name, where)
        plain = isinstance(texts, Texts) and not empty_rows(texts)
        attributes[name] = texts if plain else mapped(texts, lambda text: text or EMPTY)
    refuse(problems)
    return attributes


def _said_to_be_empty(texts: Sequence[str | None], name: str, where: Callable[[int], str]) -> list[Problem]:
    """Where a cell holds what empty ones are called, and others are empty: they would be one slice."""
    said = rows_where(texts, lambda text: text == EMPTY)
    if not said or not rows_where(texts, lambda text: text == ""):
        return []
    what = f"{name} is {EMPTY!r}, as the slice of empty cells is called, of which there are some"
    return [Problem(what, where(said[0]), "another value", "rename it, or leave the cell empty")]


def _missing(texts: Sequence[str | None], *, empty: bool) -> list[int]:
    """The rows that hold no value; ``empty``: those without a character as well."""
    if isinstance(texts, Texts):
        return empty_rows(texts) if empty else []
    return rows_where(texts, operator.not_ if empty else lambda text: text is None)


def _text(value: Any) -> str | None:
    """The value of a cell; "" of an empty one, None of a list and the like."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return (
            str(int(value)) if float(value).is_integer() else str(value)
        )  # 1.0 is 1 where cells may be empty
    return value.strip() if isinstance(value, str) else None


def path_attributes(data: DataSpec, paths: Sequence[Path]) -> dict[str, list[str]]:
    """Of images in folders: what ``data.split_by`` and ``stratify`` find in each path below the source, by the
    expression. Raises DataError for paths in which it finds nothing."""
    place = Path(data.source.partition(":")[2])
    root = place.parent if place.is_file() else place
    attributes: dict[str, list[str]] = {}
    for key, pattern in (("split_by", data.split_by), ("stratify", data.stratify)):
        if not isinstance(pattern, str) or (key == "stratify" and not data.held_out):
            continue
        names = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
        values = [
            found(pattern, os.fsencode(name).decode("utf-8", "replace"), f"data.{key}") for name in names
        ]
        refuse(
            Problem(
                f"the expression {pattern!r} finds nothing in {str(names[row])!r}",
                f"data.{key}",
                "something in every path below the source",
                "change the expression: its first group, or all that it finds, is the value",
            )
            for row, value in enumerate(values)
            if not value
        )
        attributes[pattern] = [str(value) for value in values]
    return attributes


def with_slices(data: DataSpec, examples: Examples, split: str) -> Examples:
    """With the bins of ``length`` and ``size`` where ``data.slices`` names them. Raises DataError for a column that has
    too many values to be one of slices."""
    bins = {
        name: [bin_of(name, n) if n >= 0 else _UNREADABLE for n in _numbers(name, examples, data.page)]
        for name in data.slices
        if name in BINS
    }
    for name in data.slices:
        values = set(bins.get(name, examples.attributes.get(name, ())))
        if len(values) > MOST_VALUES:
            raise DataError(
                f"{name!r} has {len(values)} values in the {len(examples)} examples of {split}",
                where="data.slices",
                expected=f"at most {MOST_VALUES}: a slice is a part of the data",
                cure="name another column, or write ranges of numbers into one",
            )
    return replace(examples, attributes={**examples.attributes, **bins}) if bins else examples


def slice_values(data: DataSpec, examples: Examples) -> dict[str, tuple[str, ...]]:
    """The values that each of ``data.slices`` has in these examples: bins in their order, others sorted."""
    there = {name: set(examples.attributes.get(name, ())) for name in data.slices}
    return {
        name: tuple(one for one in bin_names(name) if one in values)
        if name in BINS
        else tuple(sorted(values))
        for name, values in there.items()
    }


def _numbers(name: str, examples: Examples, page: int | None) -> list[int]:
    """Characters of each text, or pixels of the longer side of each image; -1 of one that cannot be read."""
    columns = examples.columns
    if name == LENGTH:
        texts = [
            columns[role] for role in ("text", "text_pair", "words", "question", "context") if role in columns
        ]
        return [sum(map(_characters, row)) for row in zip(*texts, strict=True)]
    if "size" in columns:
        return [max(size) for size in columns["size"]]
    return [_longer_side(image, page) for image in columns["image"]]


def _characters(value: Any) -> int:
    return len(" ".join(map(str, value))) if isinstance(value, list | tuple) else len(str(value))


def _longer_side(image: Any, page: int | None) -> int:
    if isinstance(image, np.ndarray):
        return int(max(image.shape[:2]))
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            heif.prepare(image)
            with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
                opened.seek(page or 0)
                return max(opened.size)
    except Exception:  # a broken file can raise anything
        return -1
