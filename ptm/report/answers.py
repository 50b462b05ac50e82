"""Predictions that are no single class, counted for the page: sets of labels, entities in sentences, numbers.

What is counted comes from predictions.jsonl alone; rows of another shape are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ptm.config.tags import Entity, entities, entity_tags
from ptm.report import words
from ptm.report.inputs import RunFiles, listing, mapping, number
from ptm.report.predictions import label_names

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]
ClassRow = tuple[str, float, float, float, int]  # name, precision, recall, F1, support
State = Literal["right", "wrong", "missed", ""]


@dataclass(frozen=True)
class Piece:
    """A part of a text: its words, the kind of the entity that they are, "" where they are none, and whether both sides
    have it (``right``), the model alone (``wrong``) or the labels alone (``missed``)."""

    text: str
    kind: str = ""
    state: State = ""


@dataclass(frozen=True)
class Wrong:
    """A prediction that is not what the label says, and how far off: ``weight``, higher is worse."""

    row: Row
    weight: float
    label: str = ""
    prediction: str = ""
    probability: float = math.nan
    predicted: tuple[Piece, ...] = ()
    labelled: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Answers:
    """``n`` of ``things``, the ``wrong`` ones by falling weight, of which ``ranked_by`` tells the order; a row a class
    in ``classes``, whose unit ``counted`` names; ``points`` of numbers, float64 [n, 2]: true, predicted."""

    n: int
    wrong: tuple[Wrong, ...]
    ranked_by: str
    classes: tuple[ClassRow, ...] = ()
    counted: str = "class"
    things: str = "predictions"
    points: np.ndarray | None = None


def count_answers(run: RunFiles) -> Answers | None:
    """None where there are no predictions of these kinds."""
    for fits, count in _KINDS:
        rows = [row for row in run.rows if fits(row)]
        if rows:
            return count(rows, label_names(run))
    return None


# --- sets of labels


def _is_set(row: Row) -> bool:
    return isinstance(row.get("label"), list) and isinstance(row.get("prediction"), list)


def _count_sets(rows: Sequence[Row], labels: Sequence[str]) -> Answers:
    true, predicted, both = Counter[str](), Counter[str](), Counter[str]()
    wrong = []
    for row in rows:
        truth, guess = ({words.plain(name) for name in row[key]} for key in ("label", "prediction"))
        true.update(truth)
        predicted.update(guess)
        both.update(truth & guess)
        if truth != guess:
            wrong.append(_wrong_set(row, truth, guess))
    names = list(dict.fromkeys([*labels, *sorted(true | predicted)]))
    return Answers(
        n=len(rows),
        wrong=_by_weight(wrong),
        ranked_by="the highest probability of a wrong decision on one label",
        classes=_class_rows(names, true, predicted, both),
    )


def _wrong_set(row: Row, truth: set[str], guess: set[str]) -> Wrong:
    scores = mapping(row.get("scores"))
    # The probability of what the model decided on each label that it got wrong.
    decided = [
        number(scores.get(name)) if name in guess else 1 - number(scores.get(name)) for name in truth ^ guess
    ]
    finite = [value for value in decided if math.isfinite(value)]
    probability = max(finite, default=math.nan)
    weight = probability if finite else 0.0
    return Wrong(row, weight, _listed(truth), _listed(guess), probability)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


# --- entities


def _is_tagged(row: Row) -> bool:
    tags, predicted, own = (row.get(key) for key in ("tags", "predicted_tags", "words"))
    return all(isinstance(part, list) for part in (tags, predicted, own)) and len(listing(tags)) == len(
        listing(own)
    )


def _count_tags(rows: Sequence[Row], labels: Sequence[str]) -> Answers:
    known = entity_tags(labels)
    true, predicted, both = Counter[str](), Counter[str](), Counter[str]()
    wrong = []
    for row in rows:
        sides = (_entities(row, "tags", known), _entities(row, "predicted_tags", known))
        for counter, part in ((true, sides[0]), (predicted, sides[1]), (both, sides[0] & sides[1])):
            counter.update(kind for kind, _, _ in part)
        if sides[0] != sides[1]:
            wrong.append(_wrong_tags(row, *sides))
    return Answers(
        n=len(rows),
        wrong=_by_weight(wrong),
        ranked_by="how many entities are wrong or missed, then by how sure the model was",
        classes=_class_rows(sorted(true | predicted), true, predicted, both),
        counted="entities" if known else "class",
        things="sentences",
    )


def _entities(row: Row, key: str, known: Mapping[str, tuple[str, str]]) -> set[Entity]:
    """Where no entities are named, each word is one of the kind of its tag."""
    if known:
        return set(entities(row[key], known))
    return {(words.plain(tag), place, place) for place, tag in enumerate(row[key]) if tag is not None}


def _wrong_tags(row: Row, true: set[Entity], predicted: set[Entity]) -> Wrong:
    scores = [number(score) for score in listing(row.get("scores"))]
    places = {place for _, first, last in predicted - true for place in range(first, last + 1)}
    of_wrong = [score for place, score in enumerate(scores) if place in places and math.isfinite(score)]
    return Wrong(
        row,
        weight=len(true ^ predicted) + max(of_wrong, default=0.0) / 2,
        predicted=_pieces(row["words"], predicted, true, "wrong"),
        labelled=_pieces(row["words"], true, predicted, "missed"),
    )


def _pieces(
    own: Sequence[Any], entities: set[Entity], others: set[Entity], alone: State
) -> tuple[Piece, ...]:
    """A sentence with the entities that one side finds; ``alone``: what they are where the other side has them not."""
    text = [words.plain(word) for word in own]
    pieces, place = [], 0
    for kind, first, last in sorted(entities, key=lambda entity: entity[1:]):
        if first > place:
            pieces.append(Piece(" ".join(text[place:first])))
        state: State = "right" if (kind, first, last) in others else alone
        pieces.append(Piece(" ".join(text[first : last + 1]), kind, state))
        place = last + 1
    return (*pieces, *([Piece(" ".join(text[place:]))] if place < len(text) else []))


# --- numbers


def _is_number(row: Row) -> bool:
    return all(
        isinstance(row.get(key), int | float) and math.isfinite(number(row.get(key)))
        for key in ("label", "prediction")
    )


def _count_numbers(rows: Sequence[Row], labels: Sequence[str]) -> Answers:
    import numpy as np

    points = np.array([(number(row["label"]), number(row["prediction"])) for row in rows])
    wrong = [
        Wrong(row, abs(predicted - true), words.decimal(true), words.decimal(predicted))
        for row, (true, predicted) in zip(rows, points.tolist(), strict=True)
        if predicted != true
    ]
    return Answers(n=len(rows), wrong=_by_weight(wrong), ranked_by="the largest error", points=points)


# --- all of them


def _by_weight(wrong: Sequence[Wrong]) -> tuple[Wrong, ...]:
    return tuple(sorted(wrong, key=lambda one: -one.weight))


def _class_rows(
    names: Sequence[str], true: Mapping[str, int], predicted: Mapping[str, int], both: Mapping[str, int]
) -> tuple[ClassRow, ...]:
    """Precision, recall, F1 (0 for 0 / 0) and support of each."""

    def ratio(part: int, whole: int) -> float:
        return part / whole if whole else 0.0

    counts = [(name, true.get(name, 0), predicted.get(name, 0), both.get(name, 0)) for name in names]
    return tuple((n, ratio(b, s), ratio(b, t), ratio(2 * b, t + s), t) for n, t, s, b in counts)


_KINDS: tuple[tuple[Callable[[Row], bool], Callable[[Sequence[Row], Sequence[str]], Answers]], ...] = (
    (_is_set, _count_sets),
    (_is_tagged, _count_tags),
    (_is_number, _count_numbers),
)
