"""Single predictions as the page shows them: the worst mistakes of a classifier, samples of any other task.

What an example looks like comes from whoever has the data. A report must not fail a finished run: an example that
cannot be looked up is shown as far as predictions.jsonl describes it, and noted.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ptm.errors import PtmError
from ptm.report import words
from ptm.report.answers import Answers, Piece
from ptm.report.inputs import RunFiles
from ptm.report.predictions import ClassScores, probability
from ptm.report.shown import Drawings, Examples, Insights

MOST_MISTAKES = 20
# Of a sample: shown elsewhere, or not at all.
_OF_BOXES = ("boxes", "labels", "scores", "masks", "target_boxes", "target_labels", "target_masks")
_MOST_WORDS = 400  # of a text that is shown word by word
_LEVELS = (0.15, 0.4, 0.7)  # of the strongest word
_SURE = 0.5  # score of a box that is drawn and counted
_NOT_LISTED = ("id", "where", "input", "loss", "mask_png")


@dataclass(frozen=True)
class Evidence:
    """A word of a text, how much it speaks for the prediction (3, 2, 1), or against it (-3 …); 0: hardly."""

    word: str
    level: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One wrong prediction as the page shows it. Probabilities are NaN where none were stored."""

    id: str
    where: str
    label: str
    prediction: str
    probability: float
    label_probability: float
    text: str
    image: str  # a data: address, or empty
    predicted: tuple[Piece, ...] = ()  # the text with what the model finds in it, where it finds entities
    labelled: tuple[Piece, ...] = ()
    heat: str = ""  # a data: address: where in the image the model looks for its prediction
    heat_place: str = ""  # the same in words
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prediction of a task without classes: its input, and every other field of its row by name."""

    id: str
    where: str
    text: str
    image: str  # a data: address, or empty
    fields: tuple[tuple[str, str], ...]


def worst_mistakes(
    scores: ClassScores | None, examples: Examples | None, insights: Insights | None = None
) -> tuple[list[Mistake], list[str]]:
    """The mistakes with the highest probability, and a note where examples could not be looked up."""
    mistakes: list[Mistake] = []
    failures: list[str] = []
    for row in scores.wrong[:MOST_MISTAKES] if scores else ():
        content = dict(_look_up(row, examples, failures))
        if insights is not None:
            inside = _look_up(row, lambda index: insights(index, row["prediction"]), failures)  # noqa: B023
            content = {**inside, **content}
        mistakes.append(_mistake(row, content))
    return mistakes, _note(failures)


def worst_answers(answers: Answers | None, examples: Examples | None) -> tuple[list[Mistake], list[str]]:
    """As :func:`worst_mistakes`, of predictions that are no single class."""
    mistakes: list[Mistake] = []
    failures: list[str] = []
    for wrong in answers.wrong[:MOST_MISTAKES] if answers else ():
        content = _look_up(wrong.row, examples, failures)
        marked = bool(wrong.predicted or wrong.labelled)
        mistakes.append(
            Mistake(
                id=words.plain(wrong.row.get("id", "")),
                where=words.plain(content.get("where") or ""),
                label=wrong.label,
                prediction=wrong.prediction,
                probability=wrong.probability,
                label_probability=math.nan,
                text="" if marked else words.clip(words.plain(content.get("text") or "")),
                image=_data_address(content.get("image_png")),
                predicted=wrong.predicted,
                labelled=wrong.labelled,
            )
        )
    return mistakes, _note(failures)


def sample_predictions(
    run: RunFiles, examples: Examples | None, drawings: Drawings | None
) -> tuple[list[Sample], list[str]]:
    """Some predictions of a task that has no classes, and a note where examples could not be looked up."""
    samples: list[Sample] = []
    failures: list[str] = []
    for row in run.samples:
        content = _look_up(row, examples, failures)
        drawing = _look_up(row, partial(_drawing, drawings, row), failures) if drawings else {}
        samples.append(
            Sample(
                id=words.plain(row.get("id", "")),
                where=words.plain(content.get("where") or ""),
                text=words.clip(words.plain(content.get("text") or "")),
                image=_data_address(drawing.get("drawing") or content.get("image_png")),
                fields=tuple(
                    (words.plain(name), words.clip(words.plain(value)))
                    for name, value in _fields(row)
                    if name not in _NOT_LISTED
                ),
            )
        )
    return samples, _note(failures)


def _fields(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a row says, boxes as counts: their coordinates fill a screen and tell nobody anything."""
    if "boxes" not in row:
        return [(name, _by_class(name, value)) for name, value in _with_totals(row).items()]
    names = row.get("labels") or []
    scores = row.get("scores") or [1.0] * len(names)
    sure = [name for name, score in zip(names, scores, strict=False) if _sure(score)]
    fields: list[tuple[str, Any]] = [(f"found with a score of at least {_SURE}", _counted(sure))]
    if "target_labels" in row:
        fields.append(("there", _counted(row["target_labels"])))
    return [*fields, *((name, value) for name, value in row.items() if name not in _OF_BOXES)]


def _with_totals(row: Mapping[str, Any]) -> dict[str, Any]:
    """``right`` and the number that it is of in one field: "3,051 of 4,032 pixels"."""
    unit = next((unit for unit in ("pixels", "tokens") if unit in row), None)
    if unit is None or "right" not in row:
        return dict(row)
    right = f"{words.count(row['right'])} of {words.count(row[unit])} {unit}"
    return {name: right if name == "right" else value for name, value in row.items() if name != unit}


def _by_class(name: str, value: Any) -> Any:
    """A number for each class as words, without those that have none; any other value as it is."""
    if not isinstance(value, Mapping):
        return value
    shown = words.percent if name == "shares" else words.metric
    numbers = {label: number for label, number in value.items() if number is not None}
    return ", ".join(f"{words.plain(label)} {shown(number)}" for label, number in numbers.items())


def _sure(score: Any) -> bool:
    return isinstance(score, int | float) and score >= _SURE


def _counted(names: Any) -> str:
    counts = Counter(words.plain(name) for name in names) if isinstance(names, list) else Counter()
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "nothing"


def _drawing(drawings: Drawings, row: Mapping[str, Any], index: int) -> dict[str, Any]:
    png = drawings(index, row)
    return {} if png is None else {"drawing": png}


def _look_up(row: Mapping[str, Any], examples: Examples | None, failures: list[str]) -> Mapping[str, Any]:
    """What is known of the example of a row; what could not be looked up is added to ``failures``."""
    content: Mapping[str, Any] = {"text": row.get("input"), "where": row.get("where")}
    if examples is None:
        return content
    try:
        return {**content, **examples(row["id"])}
    except (PtmError, OSError, LookupError) as error:
        failures.append(f"example {row.get('id')}: {words.plain(error)}")
        return content


def _note(failures: list[str]) -> list[str]:
    return [f"{len(failures)} examples could not be looked up; the first: {failures[0]}"] if failures else []


def _data_address(png: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if isinstance(png, bytes) else ""


def _mistake(row: Mapping[str, Any], content: Mapping[str, Any]) -> Mistake:
    label, prediction = words.plain(row["label"]), words.plain(row["prediction"])
    return Mistake(
        id=words.plain(row.get("id", "")),
        where=words.plain(content.get("where") or ""),
        label=label,
        prediction=prediction,
        probability=probability(row, prediction),
        label_probability=probability(row, label),
        text=words.clip(words.plain(content.get("text") or "")),
        image=_data_address(content.get("image_png")),
        heat=_data_address(content.get("heat_png")),
        heat_place=words.plain(content.get("heat_place") or ""),
        evidence=_evidence(content.get("words") or ()),
    )


def _evidence(added: Sequence[tuple[str, float]]) -> tuple[Evidence, ...]:
    """Words with what each adds to a score, by the strongest of them; () of texts that are too long to show."""
    highest = max((abs(value) for _, value in added), default=0.0)
    if not highest or len(added) > _MOST_WORDS:
        return ()
    levels = [sum(abs(value) >= share * highest for share in _LEVELS) for _, value in added]
    return tuple(
        Evidence(words.plain(word), level if value > 0 else -level)
        for (word, value), level in zip(added, levels, strict=True)
    )
