"""Counts and sizes of a split, and what of them stands out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptm.data.examples import Examples
from ptm.errors import Problem, listing
from ptm.quality.findings import Finding

_IMBALANCE = 10  # times as many examples as the rarest label has
_PIXEL_IMBALANCE = 100  # of pixels: things are small beside what is around them
_SPREAD = 3.0  # interquartile ranges, of logarithms, that an extreme value lies outside the quartiles
_LEAST_SPREAD = 0.4  # an interquartile range of logarithms: a factor of 1.5
_FEW = 20  # rows that say nothing of what is usual
_UNUSUAL = 0.05  # share of images whose mode is unusual


@dataclass(frozen=True)
class Figures:
    """What a split is made of. ``labels``: how many examples (tags, boxes, pixels: ``unit``) each has; ``numbers`` and
    ``lengths``: least, median, mean and most; ``cut``: examples longer than ``data.max_length``, by side, None where no
    tokenizer was at hand."""

    examples: int
    unit: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    lengths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, int] | None = None
    max_length: int | None = None


def label_counts(examples: Examples, labels: Sequence[str]) -> tuple[str, dict[str, int]]:
    """(unit, label → how many), in the order of the labels; ("", {}) where there are none."""
    targets, columns = examples.targets, examples.columns
    counts: np.ndarray
    if isinstance(targets, np.ndarray) and labels:
        if targets.dtype == object:
            unit, numbers = "words", np.concatenate([*targets, np.empty(0, dtype=np.int64)])
            counts = np.bincount(numbers.astype(np.int64), minlength=len(labels))
        elif targets.ndim == 2:
            unit, counts = "examples", targets.sum(axis=0).astype(np.int64)
        else:
            unit, counts = "examples", np.bincount(targets, minlength=len(labels))
    elif "classes" in columns:
        unit, counts = "boxes", np.bincount(np.concatenate(columns["classes"]), minlength=len(labels))
    elif "mask" in columns:
        unit, counts = "pixels", np.sum([mask.pixels for mask in columns["mask"]], axis=0)
    else:
        return "", {}
    return unit, {name: int(count) for name, count in zip(labels, counts, strict=True)}


def spread(values: Any) -> dict[str, float]:
    """Least, median, mean and most; nothing of nothing."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        return {}
    return {
        "least": float(numbers.min()),
        "median": float(np.median(numbers)),
        "mean": round(float(numbers.mean()), 4),
        "most": float(numbers.max()),
    }


def imbalance(split: str, unit: str, counts: Mapping[str, int], where: str) -> Iterator[Finding]:
    """Where the most frequent label has ten times as many examples as the rarest one that has any. Of tags, those of
    entities."""
    counted = {
        name: count for name, count in counts.items() if count and not (unit == "words" and name == "O")
    }
    limit = _PIXEL_IMBALANCE if unit == "pixels" else _IMBALANCE
    if len(counted) < 2:
        return
    most, least = max(counted, key=counted.__getitem__), min(counted, key=counted.__getitem__)
    if counted[most] < limit * counted[least]:
        return
    rare = sorted(
        (name for name in counted if counted[name] * limit <= counted[most]), key=counted.__getitem__
    )
    names = listing((f"{name!r} ({counted[name]:,})" for name in rare), most=5)
    what = f"{split} has {counted[most]:,} {unit} of {most!r}, and far fewer of {names}"
    cure = "judge by a metric that each label counts in (macro_f1, f1, the figures a label), or add examples of these"
    yield Finding("warning", "imbalance", Problem(what, where, cure=cure))


def unmeasured(
    split: str, train: Mapping[str, int], counts: Mapping[str, int], where: str
) -> Iterator[Finding]:
    """Labels that are learned and never measured."""
    names = [name for name, count in train.items() if count and not counts.get(name)]
    if names and counts:
        what = f"{split} has no example of {listing(map(repr, names), most=10)}, which train has"
        cure = "add some there, or hold out a share of train, every class alike: eval: 20%"
        yield Finding("warning", "unmeasured-label", Problem(what, where, cure=cure))


def extreme_rows(values: np.ndarray, *, logarithmic: bool = True) -> np.ndarray:
    """Row numbers of values far outside of what most are: three interquartile ranges beyond the quartiles (Tukey's
    outer fence), of lengths on a logarithmic scale."""
    if len(values) < _FEW:
        return np.empty(0, dtype=np.int64)
    scale = np.log1p(values) if logarithmic else values
    low, high = np.quantile(scale, [0.25, 0.75])
    width = max(high - low, _LEAST_SPREAD) if logarithmic else (high - low)
    if width == 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero((scale < low - _SPREAD * width) | (scale > high + _SPREAD * width))


def extreme_findings(
    values: np.ndarray,
    rule: str,
    where: Callable[[int], str],
    sentence: Callable[[float, float], str],
    *,
    logarithmic: bool = True,
) -> Iterator[Finding]:
    """One a row. ``sentence``: of the value and the median."""
    median = float(np.median(values)) if len(values) else 0.0
    for row in extreme_rows(values, logarithmic=logarithmic):
        yield Finding("warning", rule, Problem(sentence(float(values[row]), median), where(int(row))))


def unusual_modes(modes: Sequence[str], where: Callable[[int], str]) -> Iterator[Finding]:
    """Images whose channels few others have: greys among colours, transparency, four inks."""
    counts = Counter(modes)
    if len(modes) < _FEW:
        return
    usual, _ = counts.most_common(1)[0]
    for row, mode in enumerate(modes):
        if mode and counts[mode] <= _UNUSUAL * len(modes):
            what = f"an image of mode {mode}; most are {usual}"
            yield Finding("note", "unusual-mode", Problem(what, where(row)))
