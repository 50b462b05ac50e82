"""What a file of text seems to hold: its kind by its name and its first lines, and the tags of one that has them."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path

from ptm.config.tags import OUTSIDE
from ptm.data.conll import CONLL_SUFFIXES
from ptm.data.guess_table import Guess
from ptm.data.readers import FORMATS
from ptm.data.text_format import TextFormat
from ptm.errors import listing

_FIRST_LINES = 40  # looked at
_TAG = re.compile(r"O|[BIESLUMW][-_].+|.+[-_][BIESLUMW]")


def kind_of_file(path: Path) -> tuple[str | None, str]:
    """The kind of ``data.source`` that a file is, None where it is none that is read; and what led to it."""
    suffix = path.suffix.lower()
    ends = f"{path.name} ends in {suffix}"
    if suffix in CONLL_SUFFIXES:
        return "conll", ends
    if suffix in (".txt", ".text", ".tsv"):
        lines = _first_lines(path)
        if _is_tagged(lines):
            return "conll", f"a word a line with a tag behind it in {path.name}, and blank lines"
        if suffix != ".tsv":
            return ("tsv", f"tabs in {path.name}") if "\t" in "".join(lines[:1]) else ("text", ends)
    return next((kind for kind, form in FORMATS.items() if suffix in form.suffixes), None), ends


def _first_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line[:10_000].rstrip("\r\n") for line in islice(file, _FIRST_LINES)]


def _is_tagged(lines: list[str]) -> bool:
    """Whether lines are words with tags by IOB and its kin, and some sentence ends in a blank line."""
    rows = [line.split() for line in lines if line.strip() and not line.startswith("# ")]
    tags = {row[-1] for row in rows if len(row) > 1}
    alike = len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    return (
        alike
        and any(not line.strip() for line in lines)
        and OUTSIDE in tags
        and all(map(_TAG.fullmatch, tags))
    )


def guess_tagged(about: Guess) -> None:
    """The task and the tags of words with tags; they are read as a training reads them. Raises DataError."""
    name = about.data.get("train")
    path = about.path / name if name else about.path
    roles = {"words": "words", "label": "label"}
    table = FORMATS[about.kind].read(path, roles, TextFormat())
    about.task = "token-classification"
    about.train_examples = len(table)
    words, tags = table.columns["words"][0], table.columns["label"][0]
    about.reasons["task"] = f"{words[0]!r} has the tag {tags[0]!r} ({table.where(0)})"
    counts = Counter(tag for sentence in table.columns["label"] for tag in sentence)
    names = sorted(counts, key=lambda tag: (tag != OUTSIDE, tag[2:], tag))
    about.reasons["labels read"] = f"{len(names)} tags, which are read from train: " + listing(
        (f"{name} {counts[name]}" for name in names), 8
    )
