"""Texts with fastText's labels: ``__label__NAME text`` (https://fasttext.cc/docs/en/supervised-tutorial.html)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptm.data.columns import require_columns
from ptm.data.partial import refuse_but
from ptm.data.tables import Table, lines_of, select_rows
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered

HOLDS = "lines such as: __label__NAME a text"
PREFIX = "__label__"
_LEADING = re.compile(rf"(?:{PREFIX}\S*(?:[ \t]+|$))+")


def read_fasttext(path: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
    """``text`` and ``label``: one name a row, or, where a row has several, lists of names. Labels stand before the
    text, or behind it. Blank lines are left out. Raises DataError naming the line."""
    text, digest = read_text(path, HOLDS, written)
    gathered, texts, labels, lines = Gathered(), list[str](), list[list[str]](), list[int]()
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            with gathered.of():
                names, rest = _parts(line.strip(), f"{path}:{number}")
                texts.append(rest)
                labels.append(names)
                lines.append(number)
    columns: dict[str, Any] = {role: texts for role in roles if role != "label"}
    labelled = [row for row, names in enumerate(labels) if names]
    if "label" in roles:
        if not labelled and not gathered.problems:
            require_columns([roles["label"]], ["text"], str(path))
        _require_labels(labels, lines, path, gathered)
        single = all(len(labels[row]) == 1 for row in labelled)
        columns["label"] = [names[0] if names else "" for names in labels] if single else labels
    table = Table(columns, lambda row: f"{path}:{lines[row]}", digest)
    if gathered.problems:
        refuse_but(gathered.problems, select_rows(table, labelled) if "label" in roles else table, "lines")
    return table


def _parts(line: str, where: str) -> tuple[list[str], str]:
    """The labels of a line, and its text."""
    found = _LEADING.match(line)
    marks, rest = (found[0], line[found.end() :]) if found else _trailing(line)
    names = [mark.removeprefix(PREFIX) for mark in marks.split()]
    if "" in names:
        cure = f"write a name behind {PREFIX}"
        raise DataError("a label without a name", where=where, expected=HOLDS, cure=cure)
    if any(PREFIX in name for name in names):
        raise DataError(
            "labels without a blank between them", where=where, expected=HOLDS, cure="put blanks there"
        )
    if any(word.startswith(PREFIX) for word in rest.split()):
        cure = "put all labels before the text"
        raise DataError("a label within the text", where=where, expected=HOLDS, cure=cure)
    return list(dict.fromkeys(names)), rest.strip()


def _trailing(line: str) -> tuple[str, str]:
    """The labels behind a text, and the text. Words are counted from the end: an expression that is searched for would
    begin anew at each blank, which takes the square of a line's length."""
    words = line.split()
    behind = next((n for n, word in enumerate(reversed(words)) if not word.startswith(PREFIX)), len(words))
    return " ".join(words[len(words) - behind :]), line.rsplit(None, behind)[0] if behind < len(words) else ""


def _require_labels(labels: list[list[str]], lines: list[int], path: Path, gathered: Gathered) -> None:
    for names, number in zip(labels, lines, strict=True):
        if not names:
            with gathered.of():
                cure = f"begin the line with {PREFIX}NAME, or remove it"
                raise DataError("no label here", where=f"{path}:{number}", expected=HOLDS, cure=cure)
