"""What must hold between the keys that share examples out and take them apart: splits, groups, strata, slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ptm.config import expressions
from ptm.config.label_types import PAIRS
from ptm.config.slices import BINS, LENGTH, SIZE, bin_names
from ptm.config.spec import DataSpec, RunSpec
from ptm.config.tasks import IMAGE_SOURCES, QUESTION_SOURCES, TABLE_SOURCES
from ptm.errors import listing

Complaints = Iterator[tuple[tuple[str, ...], str, str]]  # key path, what, cure

_BUILT_IN = {"text": LENGTH, "image": SIZE}  # by modality


def has_columns(source: str) -> bool:
    """Whether the examples of a source have columns with names."""
    return source.partition(":")[0] in (*TABLE_SOURCES, *QUESTION_SOURCES, "hub")


def check_splits(spec: RunSpec) -> Complaints:
    """``data.test``, ``split_by`` and ``stratify``."""
    data = spec.data
    if data.test is not None and data.test == data.eval and not data.test.endswith("%"):
        what = f"test and eval are both {data.test!r}, so that what is chosen on it would be judged on it"
        yield ("data", "test"), what, "name another split, hold out a fraction (test: 10%), or remove test"
    for key, value in (("split_by", data.split_by), ("stratify", data.stratify)):
        if isinstance(value, str):
            yield from _check_grouping(data, key, value)
    typed = bool(spec.descriptor.label_types)
    labelled = data.label_type != PAIRS.name if typed else bool(spec.evaluation.of_entities)
    if data.stratify is True and not labelled:
        of = f"label_type: {data.label_type}" if typed else spec.task
        what = f"an example of {of} has no label to stratify by"
        yield ("data", "stratify"), what, "name a column, or remove it"


def _check_grouping(data: DataSpec, key: str, value: str) -> Complaints:
    """A column, or a regular expression for paths."""
    kind = data.source.partition(":")[0]
    if kind in IMAGE_SOURCES:
        if why := expressions.complaint(value):
            what = f"{value[:200]!r} is no regular expression: {why}"
            cure = f"such as (patient_[0-9]+): what it finds in the path of an image below {kind}:"
            yield ("data", key), what, cure
    elif not has_columns(data.source):
        yield ("data", key), f"{kind}: has no columns", f"remove {key}"


def check_slices(spec: RunSpec) -> Complaints:
    """``data.slices``."""
    data, key = spec.data, ("data", "slices")
    if not data.slices:
        return
    own = _BUILT_IN[spec.descriptor.modality]
    if spec.descriptor.language_model and data.pack is not False:
        what = "blocks of packed texts hold pieces of several texts, which may be of several slices"
        yield key, what, "set data.pack: false, or remove slices"
    if repeated := [name for name, times in Counter(data.slices).items() if times > 1]:
        yield key, f"slices repeat: {listing(repeated)}", "name each of them once"
    for name in data.slices:
        if name in BINS and name != own:
            yield (
                key,
                f"{name} is for {'texts' if name == LENGTH else 'images'}, this is {spec.task}",
                f"use {own}",
            )
        elif name not in BINS and not has_columns(data.source):
            what = f"{data.source.partition(':')[0]}: has no columns, so no {name!r}"
            yield key, what, f"use {own}, which is known of every {spec.descriptor.modality}"
        elif not name or set(name) & set("[]="):
            yield (
                key,
                f"{name!r} is no name that an expectation could tell",
                "rename the column: no [, ] or =",
            )


def known_slices(data: DataSpec) -> dict[str, tuple[str, ...] | None]:
    """The names of ``data.slices``, and the values of those that are known before the data are read."""
    return {name: bin_names(name) if name in BINS else None for name in data.slices}
