"""What is to be found out about an example, to compare and to show: a class, several, a number, tags, boxes, a mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.data.examples import Examples
from ptm.data.masks import Mask
from ptm.data.questions import answer_texts
from ptm.errors import listing

_SHOWN = 6  # tags or labels of an answer that a message shows


@dataclass(frozen=True)
class Answer:
    """Equal ``key``: the same answer."""

    key: Hashable
    text: str


AnswerOf = Callable[[Examples, int], Answer]


def answers_of(examples: Examples, labels: Sequence[str]) -> AnswerOf | None:
    """What gives the answer of a row of these examples; None where there is nothing that could contradict: language
    models, translations and pairs that belong together (a text may have several), examples without labels."""
    if isinstance(examples.targets, np.ndarray):
        targets = examples.targets
        if "question" in examples.columns:
            return _spoken
        if targets.dtype == object:
            return lambda rows, row: _tags(rows.targets[row], labels)
        if targets.ndim == 2:
            return lambda rows, row: _classes(rows.targets[row], labels)
        if np.issubdtype(targets.dtype, np.floating):
            return lambda rows, row: Answer(float(rows.targets[row]), f"{float(rows.targets[row]):g}")
        if not labels:  # pairs of texts that belong together
            return None
        return lambda rows, row: Answer(int(rows.targets[row]), repr(labels[int(rows.targets[row])]))
    if "boxes" in examples.columns:
        return lambda rows, row: _boxes(rows.columns, row, labels)
    if "mask" in examples.columns:
        return lambda rows, row: _mask(rows.columns["mask"][row], labels)
    return None


def _tags(tags: np.ndarray, labels: Sequence[str]) -> Answer:
    return Answer(tags.tobytes(), listing((labels[tag] for tag in tags), most=_SHOWN, separator=" "))


def _spoken(examples: Examples, row: int) -> Answer:
    """The parts of a context that answer a question; the same are those of the same words."""
    texts = answer_texts(examples.targets[row], examples.columns["context"][row])
    return Answer(tuple(sorted(texts)), listing(map(repr, texts), most=_SHOWN) or "no answer")


def _classes(row: np.ndarray, labels: Sequence[str]) -> Answer:
    names = [labels[int(number)] for number in np.flatnonzero(row)]
    return Answer(row.tobytes(), listing(map(repr, names), most=_SHOWN) or "no label")


def _boxes(columns: Any, row: int, labels: Sequence[str]) -> Answer:
    """The same are boxes (and masks) of the same labels at the same pixels, in any order."""
    classes, corners = columns["classes"][row], np.asarray(columns["boxes"][row]).round()
    codes = (
        [bytes(code["counts"]) for code in columns["masks"][row]]
        if "masks" in columns
        else [b""] * len(classes)
    )
    found = zip(classes, corners, codes, strict=True)
    key = tuple(sorted((int(number), *map(float, box), code) for number, box, code in found))
    counts = Counter(labels[int(number)] for number in classes)
    text = listing((f"{count} {name}" for name, count in sorted(counts.items())), most=_SHOWN)
    return Answer(key, f"boxes: {text}" if text else "no box")


def _mask(mask: Mask, labels: Sequence[str]) -> Answer:
    total = max(1, sum(mask.pixels))
    shares = (f"{name} {count / total:.1%}" for name, count in zip(labels, mask.pixels, strict=True) if count)
    return Answer(mask.classes().tobytes(), f"a mask with {listing(shares, most=_SHOWN)}")
