"""Spans of a text, by character offsets, to its words and a tag for each (IOB2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptm.config.tags import OUTSIDE
from ptm.data.cutting import WordCut, has_ideographs
from ptm.errors import DataError

# The genitive of English stands apart, as in the treebanks: "Rome's" is two words, of which one is a place.
_SUFFIXES = ("'s", "’s")
INSIDE = "spans end inside a word, which has the tag as a whole"
UTF16 = "spans are counted in units of UTF-16, as browsers do"


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (behind the last one) of a text. ``stated``: what the tool says they are."""

    start: int
    end: int
    label: str
    stated: str | None = None


@dataclass(frozen=True)
class TaggedText:
    """``notes``: what is to be said of its spans, as (kind, example)."""

    words: list[str]
    tags: list[str]
    notes: tuple[tuple[str, str], ...]


def tagged_text(text: str, spans: Sequence[Span], where: str) -> TaggedText:
    """The words of a text, cut as ``ptm predict`` cuts a raw one, and their tags: B-, I- and O.

    A span that ends at a mark or a digit inside a word (``Paris`` in ``Paris-based``) has the whole word, which is
    noted. Raises DataError for spans outside the text, without a character, that share a word, that end between two
    letters or two digits, and that hold other characters than the tool says.
    """
    cut = WordCut(suffixes=_SUFFIXES, ideographs=has_ideographs(text)).cut(text)
    borders = [(start, start + len(word)) for start, word in zip(cut.starts, cut, strict=True)]
    tags, owners = [OUTSIDE] * len(cut), dict[int, Span]()
    notes: list[tuple[str, str]] = []
    for written in sorted(dict.fromkeys(spans), key=lambda span: (span.start, span.end)):
        span, wide = _within(written, text, where)
        if wide:
            notes.append((UTF16, f"{span.stated!r} at {written.start}"))
        covered = [i for i, (start, end) in enumerate(borders) if start < span.end and end > span.start]
        whole = text[borders[covered[0]][0] : borders[covered[-1]][1]]
        if whole != text[span.start : span.end]:
            _refuse_inside(span, text, borders, where)
            notes.append((INSIDE, f"{text[span.start : span.end]!r} in {whole!r}"))
        for place, word in enumerate(covered):
            if word in owners:
                other = owners[word]
                raise DataError(
                    f"the spans {_shown(text, other)} and {_shown(text, span)} share the word {cut[word]!r}",
                    where=where,
                    expected="spans that do not overlap: a word has one tag",
                    cure="remove one of them",
                )
            owners[word], tags[word] = span, f"{'I' if place else 'B'}-{span.label}"
    return TaggedText(list(cut), tags, tuple(notes))


def _shown(text: str, span: Span) -> str:
    return f"{text[span.start : span.end]!r} ({span.label})"


def _within(span: Span, text: str, where: str) -> tuple[Span, bool]:
    """The span by characters of Python, without blanks at its ends; and whether it was counted in UTF-16."""
    if not 0 <= span.start < span.end or (span.end > len(text) and span.stated is None):
        raise DataError(
            f"the span {span.start} to {span.end} ({span.label}) is not within the text of {len(text)} characters",
            where=where,
            expected="0 <= start < end, end at most the number of characters",
            cure="correct the offsets, or remove the span",
        )
    found, wide = text[span.start : span.end], False
    if span.stated is not None and found.split() != span.stated.split():
        start, end = (_characters(text, offset) for offset in (span.start, span.end))
        if text[start:end].split() != span.stated.split():
            raise DataError(
                f"the characters {span.start} to {span.end} are {found!r}, the annotation says {span.stated!r}",
                where=where,
                expected="offsets into the text as it is exported",
                cure="was the text changed after it was annotated? correct the offsets",
            )
        span, found, wide = Span(start, end, span.label, span.stated), text[start:end], True
    if not found.strip():
        what = f"the span {span.start} to {span.end} ({span.label}) holds nothing but blanks"
        raise DataError(what, where=where, expected="a word", cure="correct the offsets, or remove the span")
    start = span.start + len(found) - len(found.lstrip())
    return Span(start, start + len(found.strip()), span.label, span.stated), wide


def _characters(text: str, units: int) -> int:
    """How many characters so many units of UTF-16 are, in which programs of browsers count."""
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore"))


def _refuse_inside(span: Span, text: str, borders: Sequence[tuple[int, int]], where: str) -> None:
    for place in (span.start, span.end):
        inside = next((text[start:end] for start, end in borders if start < place < end), None)
        if inside is None:
            continue
        before, after = text[place - 1], text[place]
        if (before.isalpha() and after.isalpha()) or (before.isdigit() and after.isdigit()):
            raise DataError(
                f"the span {_shown(text, span)} cuts the word {inside!r}",
                where=where,
                expected="spans of whole words, from character 0, the end behind the last character",
                cure="correct the offsets; words that are written without blanks: give words and tags (conll:)",
            )
