"""Sentences in columns, as the CoNLL shared tasks wrote them: a word a line with its tags, a blank line behind each
sentence (Tjong Kim Sang and De Meulder 2003, https://aclanthology.org/W03-0419).

Fields stand between tabs where the file has any, else between blanks. Nothing is guessed of a line that does not fit:
it is refused with its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptm.data.columns import require_columns
from ptm.data.partial import refuse_but
from ptm.data.tables import Table, lines_of
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered, Problem, listing

HOLDS = "a word a line with its tags, a blank line behind each sentence"
WORDS, LABEL = "words", "label"
CONLL_SUFFIXES = (".conll", ".conllu", ".conllup", ".iob", ".iob2", ".bio")
CONLLU_SUFFIX = ".conllu"  # ten columns: the first counts the words, of which 1 is the word and 3 its class
DOCUMENT = "-DOCSTART-"  # between the documents of CoNLL 2003
_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.+)")  # CoNLL-U Plus says what its columns are
_WORD_NAMES = ("form", "word", "words", "token", "tokens", "text")
# CoNLL-U counts words in its first column; 3-4 is a piece of text over two words, 8.1 a word that is not written.
_NO_WORD = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)")
_BRACKETS = re.compile(r"\*|\([^()]*\*?\)?")  # CoNLL 2005 and 2012 write spans as (PER* * *)


@dataclass(frozen=True)
class _Line:
    number: int
    fields: tuple[str, ...]


def read_conll(path: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
    """``words`` and, where it is asked for, ``label``: lists of as many words and tags a sentence.

    ``roles``: role → column: a number from 0 (-1 is the last), or a name that ``data.columns`` or a line ``#
    global.columns = …`` gives. Words stand in the first column and tags in the last one, where nobody says otherwise.
    Raises DataError naming the line.
    """
    text, digest = read_text(path, HOLDS, written)
    lines = lines_of(text)
    gathered = Gathered()
    sentences = _sentences(lines, path, gathered)
    names = _names(lines, sentences[0][0], path, written)
    places = {role: _place(role, name, names) for role, name in roles.items()}
    missing = [roles[role] for role, place in places.items() if place is None]
    require_columns(missing, names, str(path))
    found = {role: place for role, place in places.items() if place is not None}
    if found.get(WORDS) != 0:
        sentences = [
            kept for s in sentences if (kept := [w for w in s if not _NO_WORD.fullmatch(w.fields[0])])
        ]
    if WORDS in found:
        _refuse_counted(sentences, found[WORDS], path)
    sentences = [sentence for sentence in sentences if _is_sound(sentence, found, path, gathered)]
    columns = {
        role: [[word.fields[place] for word in sentence] for sentence in sentences]
        for role, place in found.items()
    }
    starts = [sentence[0].number for sentence in sentences]
    table = Table(columns, lambda row: f"{path}:{starts[row]}", digest)
    refuse_but(gathered.problems, table, "lines")
    return table


def _sentences(lines: Sequence[str], path: Path, gathered: Gathered) -> list[list[_Line]]:
    """The words of each sentence; DataError where there is no word. Sentences in which a line has another number of
    fields are left out, and ``gathered`` is told."""
    tabs = any("\t" in line for line in lines if not line.startswith("#"))
    cut = [(number, line, _fields(line, tabs)) for number, line in enumerate(lines, start=1) if line.strip()]
    plain = [fields for _, line, fields in cut if not line.startswith("#") and fields[0] != DOCUMENT]
    if not plain:
        raise DataError(
            "no word in it",
            where=path,
            expected=HOLDS,
            cure="write a word a line with its tag, and a blank line behind each sentence",
        )
    width, tags = len(plain[0]), {fields[-1] for fields in plain}
    sentences: list[list[_Line]] = [[]]
    ragged: set[int] = set()
    words = {number: fields for number, line, fields in cut if not _is_aside(line, fields, width, tags, tabs)}
    for number, line in enumerate(lines, start=1):
        if number in words:
            sentences[-1].append(_Line(number, words[number]))
            if len(words[number]) != width:
                ragged.add(len(sentences) - 1)
                with gathered.of():
                    raise _wrong_width(words[number], width, f"{path}:{number}", tabs)
        elif not line.strip() and sentences[-1]:
            sentences.append([])
    kept = [sentence for place, sentence in enumerate(sentences) if sentence and place not in ragged]
    if not kept:
        gathered.refuse("lines")
    return kept


def _fields(line: str, tabs: bool) -> tuple[str, ...]:
    return tuple(line.split("\t")) if tabs else tuple(line.split())


def _is_aside(line: str, fields: Sequence[str], width: int, tags: set[str], tabs: bool) -> bool:
    """Whether a line is a comment, or begins a document. ``#`` may be a word as well: then the line has as many fields
    as the others, and, where blanks stand between them, a tag that others have."""
    if fields[0] == DOCUMENT:
        return True
    if not line.startswith("#"):
        return False
    is_word = len(fields) == width > 1 and (tabs or fields[-1] in tags)
    return not is_word


def _wrong_width(fields: Sequence[str], width: int, where: str, tabs: bool) -> DataError:
    between = "tabs" if tabs else "blanks"
    return DataError(
        f"{len(fields)} fields, the first line has {width}",
        where=where,
        expected=f"{width} fields with {between} between them, or a blank line, or a comment that begins with #",
        cure="correct the line; where words hold blanks, put tabs between the fields",
    )


def _names(lines: Sequence[str], first: _Line, path: Path, written: TextFormat) -> list[str]:
    """What the columns are called: by the config, by the file, else by their numbers."""
    width = len(first.fields)
    stated = written.columns
    if stated is None:
        match = next((m for line in lines if (m := _NAMES.fullmatch(line.strip()))), None)
        stated = tuple(match[1].split()) if match else None
    if stated is not None and len(stated) != width:
        raise DataError(
            f"{width} fields, {listing(stated)} are {len(stated)} names",
            where=f"{path}:{first.number}",
            expected="a name for each column",
            cure="correct data.columns" if written.columns else "correct the line # global.columns",
        )
    return list(stated or map(str, range(width)))


def _place(role: str, name: str, names: Sequence[str]) -> int | None:
    """The place of a column; None where there is none of that name."""
    if name in names:
        return names.index(name)
    if re.fullmatch(r"-?[0-9]{1,4}", name):
        place = int(name) if not name.startswith("-") else len(names) + int(name)
        return place if 0 <= place < len(names) else None
    if role == WORDS and name == WORDS:
        return next((place for place, other in enumerate(names) if other.lower() in _WORD_NAMES), 0)
    if role == LABEL and name in (LABEL, "tags") and len(names) > 1:
        return len(names) - 1
    return None


def _is_sound(sentence: Sequence[_Line], places: Mapping[str, int], path: Path, gathered: Gathered) -> bool:
    """Whether each line has its values; else ``gathered`` is told."""
    problems = list(_line_problems(sentence, places, path))
    for problem in problems:
        with gathered.of():
            raise DataError([problem])
    return not problems


def _line_problems(sentence: Sequence[_Line], places: Mapping[str, int], path: Path) -> Iterator[Problem]:
    for word in sentence:
        where = f"{path}:{word.number}"
        for role, place in places.items():
            if not word.fields[place].strip():
                what = f"the {'word' if role == WORDS else 'tag'} (column {place}) is empty"
                yield Problem(what, where, "a value in each column", "fill it in, or remove the line")
        tag = word.fields[places[LABEL]] if LABEL in places else ""
        if _BRACKETS.fullmatch(tag) and "*" in tag:
            cure = "write a tag a word: B-PER, I-PER, O; or name another column in data.label"
            yield Problem(f"the tag {tag!r} is a bracket of a span", where, "tags by IOB or BIOES", cure)


def _refuse_counted(sentences: Sequence[Sequence[_Line]], place: int, path: Path) -> None:
    """DataError where the words are the numbers of the words, as in the first column of CoNLL-U; ranges and empty nodes
    may stand between these."""
    fields = [[word.fields[place] for word in sentence] for sentence in sentences]
    counted = [[word for word in words if not _NO_WORD.fullmatch(word)] for words in fields]
    if all(words == [str(n) for n in range(1, len(words) + 1)] for words in counted) and len(counted[0]) > 1:
        raise DataError(
            f"the words are the numbers 1, 2, …: column {place} counts them",
            where=f"{path}:{sentences[0][0].number}",
            expected=f"words; the line holds {listing(map(repr, sentences[0][0].fields))}",
            cure=f"name their column, counted from 0: --set 'data.text=\"{place + 1}\"'",
        )
