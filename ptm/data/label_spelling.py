"""Labels that look alike: the same word in other letters, blanks, Unicode forms, numbers, truth values.

No type is guessed, so they are classes of their own; but whoever trains on them is told.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ptm.data.label_values import number_of
from ptm.errors import MOST_PROBLEMS, Problem, listing

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_\-]+(?=[^\W_])")
_AROUND = "\"'`.,;:"
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_LETTERS = {"t": 1.0, "y": 1.0, "f": 0.0, "n": 0.0}
_MISSING = ("", "nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat", "missing", "-", "--", "?")


@dataclass(frozen=True)
class Spelling:
    """One way in which a label is written in the data: in how many rows (or boxes), and where first."""

    text: str
    rows: int
    where: str
    noun: str = "row"

    def __str__(self) -> str:
        plural = ("es" if self.noun.endswith("x") else "s") if self.rows != 1 else ""
        return f"{self.text!r} ({self.rows} {self.noun}{plural}, first {self.where})"


def alike(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of two and more labels that look alike, in the order given."""
    names = list(dict.fromkeys(labels))
    spelled_out = any(_folded(name) in (*_TRUE, *_FALSE) for name in names)
    groups: dict[object, list[str]] = defaultdict(list)
    for name in names:
        groups[_look(name, spelled_out)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def missing_spellings(labels: Sequence[str]) -> tuple[str, ...]:
    """Those that spell out a missing value. A minus beside a plus is none."""
    signs = {"+", "-"} <= set(labels)
    return tuple(name for name in labels if _is_missing(name) and not (signs and name == "-"))


def spelling_warnings(labels: Sequence[str], spellings: Mapping[str, Spelling]) -> list[Problem]:
    """What is to be said of labels that were found in the data: those that look alike, and missing values.

    ``spellings``: how each label is written, and where; labels that are in no row are not in it.
    """
    seen = [name for name in labels if name in spellings]
    warnings = [_alike_warning([spellings[name] for name in group]) for group in alike(seen)]
    grouped = {name for group in alike(seen) for name in group}
    missing = [name for name in missing_spellings(seen) if name not in grouped]
    if missing:
        warnings.append(
            Problem(
                f"a label that spells a missing value is a class: {listing(spellings[name] for name in missing)}",
                expected="the name of a class",
                cure="remove rows that have no label; a class of that name can stay, if data.labels names it",
            )
        )
    if len(warnings) > MOST_PROBLEMS:
        more = len(warnings) - MOST_PROBLEMS
        warnings = [*warnings[:MOST_PROBLEMS], Problem(f"and {more} more groups of labels that look alike")]
    return warnings


def closest_label(value: str, labels: Sequence[str]) -> str | None:
    """The label that looks like this value."""
    groups = alike([*labels, value])
    return next((group[0] for group in groups if value in group and group[0] != value), None)


def map_cure(pairs: Mapping[str, str]) -> str:
    """The key of a config that makes one label of another; valid YAML, and JSON."""
    return f"data.label_map: {json.dumps(pairs, ensure_ascii=False)}"


def _alike_warning(group: Sequence[Spelling]) -> Problem:
    chief = max(group, key=lambda spelling: spelling.rows)
    pairs = {spelling.text: chief.text for spelling in group if spelling is not chief}
    return Problem(
        f"labels that look alike are {len(group)} classes: {listing(group)}",
        expected="one spelling a class",
        cure=f"correct the rows, or make them one: {map_cure(pairs)}; if they are meant, name them all in data.labels",
    )


def _plain(name: str) -> str:
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold()
    return " ".join(visible.split())


def _folded(name: str) -> str:
    plain = _plain(name)
    return _BETWEEN_WORDS.sub(" ", plain).strip(_AROUND).strip() or plain


def _is_missing(name: str) -> bool:
    return _folded(name) in _MISSING


def _look(name: str, spelled_out: bool) -> object:
    """Equal for names that look alike. ``spelled_out``: whether some label is ``true``, ``no`` or the like, so that a
    letter may stand for one."""
    number, folded = number_of(_plain(name)), _folded(name)
    if number is not None:
        return number
    if folded in _MISSING and folded not in ("-", "?", "--"):
        return "missing"
    if folded in _TRUE or folded in _FALSE:
        return float(folded in _TRUE)
    if spelled_out and folded in _LETTERS:
        return _LETTERS[folded]
    return folded
