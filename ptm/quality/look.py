"""``ptm check --data``: what of the examples should be known before anything is trained on them.

Nothing found here stops a run. It works on named splits in their order, train first, and asks of what is compared only
by its role: texts by words, images by pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptm.data.content import plain_texts
from ptm.data.examples import Examples
from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.errors import Problem
from ptm.quality.answers import answers_of
from ptm.quality.duplicates import Duplicates
from ptm.quality.figures import (
    Figures,
    extreme_findings,
    imbalance,
    label_counts,
    spread,
    unmeasured,
    unusual_modes,
)
from ptm.quality.findings import Finding, Rows
from ptm.quality.minhash import near_pairs

_TEXTS = ("text", "text_pair", "words", "question", "context")  # that an input is made of
_LENGTHS = (*_TEXTS, "target_text")


@dataclass(frozen=True)
class Look:
    """``figures``: by the name of the split."""

    findings: tuple[Finding, ...]
    figures: Mapping[str, Figures]


def look_at(
    splits: Mapping[str, Examples],
    labels: Sequence[str],
    threads: int,
    reading: ImageReading = AS_STORED,
) -> Look:
    """``splits``: by name, train first; ``threads`` decode images, as ``reading`` says."""
    rows = Rows(splits)
    figures = {name: _figures(examples, labels) for name, examples in splits.items()}
    findings = list(_label_findings(rows, figures))
    if "image" in rows.splits[0].columns:
        duplicates, of_images, sizes = _images(rows, labels, threads, reading)
        findings += of_images
        figures = {name: replace(figures[name], **sizes[name]) for name in figures}
    else:
        duplicates = _texts(rows, labels)
        findings += _lengths(rows)
    return Look((*findings, *duplicates.findings()), figures)


def _figures(examples: Examples, labels: Sequence[str]) -> Figures:
    unit, counts = label_counts(examples, labels)
    columns = examples.columns
    return Figures(
        examples=len(examples),
        unit=unit,
        labels=counts,
        numbers=spread(examples.targets) if _is_numbers(examples.targets) else {},
        lengths={role: spread(_sizes(columns[role])) for role in _LENGTHS if role in columns},
    )


def _is_numbers(targets: Any) -> bool:
    return isinstance(targets, np.ndarray) and targets.dtype == np.float64 and targets.ndim == 1


def _sizes(column: Sequence[Any]) -> np.ndarray:
    """Characters of a text, words of a list."""
    return np.fromiter((len(value) for value in column), dtype=np.int64, count=len(column))


def _label_findings(rows: Rows, figures: Mapping[str, Figures]) -> Iterator[Finding]:
    (first, *others), places = figures.values(), [examples.where(0) for examples in rows.splits]
    yield from imbalance(rows.names[0], first.unit, first.labels, _file(places[0]))
    for name, other, place in zip(rows.names[1:], others, places[1:], strict=True):
        yield from unmeasured(name, first.labels, other.labels, _file(place))
    for examples in rows.splits:
        if _is_numbers(examples.targets):
            yield from extreme_findings(
                examples.targets,
                "extreme-number",
                examples.where,
                lambda value, median: f"the number {value:g} is far from the others (median {median:g})",
                logarithmic=False,
            )


def _file(place: str) -> str:
    """The file that a row stands in, or the folder of an image: what is said of all rows."""
    path, _, line = place.rpartition(":")
    if path and line.isdigit():
        return path
    table, comma, _ = place.rpartition(", ")
    return table if comma else str(Path(place).parent)


def _lengths(rows: Rows) -> Iterator[Finding]:
    for examples in rows.splits:
        for role in (role for role in _LENGTHS if role in examples.columns):
            unit = "words" if role == "words" else "characters"
            noun = {"words": "sentence"}.get(role, role)
            yield from extreme_findings(
                _sizes(examples.columns[role]),
                "extreme-length",
                examples.where,
                lambda value, median, noun=noun, unit=unit: (  # type: ignore[misc]
                    f"this {noun} has {value:,.0f} {unit}; half of all have {median:,.0f} or more"
                ),
            )


def _texts(rows: Rows, labels: Sequence[str]) -> Duplicates:
    roles = [role for role in _TEXTS if role in rows.splits[0].columns] or [
        next(iter(rows.splits[0].columns))
    ]
    written = [_as_text(rows.column(role)) for role in roles]
    joined = written[0] if len(written) == 1 else list(map("\n".join, zip(*written, strict=True)))
    plain = list(plain_texts(written[0]))
    if len(written) > 1:
        sides = [plain, *(plain_texts(column) for column in written[1:])]
        plain = list(map("\n".join, zip(*sides, strict=True)))
    groups = _first_rows(plain)
    firsts = np.flatnonzero(groups == np.arange(len(groups)))
    # Questions about one context differ in few words, and are meant to.
    alike = near_pairs([] if "context" in roles else [plain[row] for row in firsts])
    return Duplicates(
        rows=rows,
        noun={"words": "sentence", "text_pair": "pair", "context": "question"}.get(roles[-1], "text"),
        groups=groups,
        # Tags depend on capitals.
        exact=_first_rows(joined) if roles == ["words"] else groups,
        near=alike.of_rows(firsts),
        answer=answers_of(rows.splits[0], labels),
    )


def _as_text(column: Sequence[Any]) -> list[str]:
    return [value if isinstance(value, str) else " ".join(map(str, value)) for value in column]


def _first_rows(keys: Sequence[Any]) -> np.ndarray:
    first: dict[Any, int] = {}
    return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)


def _images(
    rows: Rows, labels: Sequence[str], threads: int, reading: ImageReading
) -> tuple[Duplicates, list[Finding], dict[str, dict[str, Any]]]:
    from ptm.quality.image_hashes import near_images, read_pictures

    pictures = read_pictures(rows.column("image"), rows.where, threads, reading)
    groups = _first_rows([picture.content for picture in pictures])
    firsts = np.flatnonzero(groups == np.arange(len(groups)))
    near = near_images([pictures[row] for row in firsts])
    findings: list[Finding] = []
    sizes: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(rows.names):
        where, own = rows.splits[number].where, pictures[rows.starts[number] : rows.starts[number + 1]]
        read = [row for row, picture in enumerate(own) if picture.mode]
        widths, heights = (np.array([own[row].size[k] for row in read], dtype=np.int64) for k in (0, 1))
        if read:
            modes = Counter(own[row].mode for row in read)
            spreads = {"width": spread(widths), "height": spread(heights)}
            sizes[name] = {"sizes": spreads, "modes": dict(modes.most_common())}
        else:
            sizes[name] = {}
        findings += unusual_modes([picture.mode for picture in own], where)
        blank = (row for row in read if own[row].blank)
        findings += (
            Finding("warning", "blank-image", Problem("all pixels of this image are equal", where(row)))
            for row in blank
        )
        findings += _extreme_sizes(widths, heights, [where(row) for row in read])
    duplicates = Duplicates(
        rows=rows,
        noun="image",
        groups=groups,
        exact=groups,
        near=near.of_rows(firsts),
        answer=answers_of(rows.splits[0], labels),
    )
    return duplicates, findings, sizes


def _extreme_sizes(widths: np.ndarray, heights: np.ndarray, places: Sequence[str]) -> Iterator[Finding]:
    yield from extreme_findings(
        np.sqrt(widths * heights),
        "extreme-size",
        places.__getitem__,
        "this image is as large as a square of {:,.0f} pixels a side; half of all have {:,.0f} or more".format,
    )
    yield from extreme_findings(
        np.maximum(widths, heights) / np.maximum(1, np.minimum(widths, heights)),
        "extreme-size",
        places.__getitem__,
        "one side of this image is {:.1f} times the other; in half of all {:.1f} times or more".format,
    )
