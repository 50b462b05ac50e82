"""What ``ptm predict`` is given, in pieces: files of texts are read as they are used, never whole.

They are read as strictly as training data are, by the same functions (:mod:`ptm.data.tables`), so that the same
mistake has the same message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ptm.base.regular import endless
from ptm.config.data_section import DataSpec
from ptm.config.tasks import IMAGE_SOURCES, TABLE_SOURCES
from ptm.data.columns import naming_keys
from ptm.data.conll import CONLL_SUFFIXES
from ptm.data.entries import below
from ptm.data.examples import Examples
from ptm.data.given import Given, given_place, given_texts
from ptm.data.image_files import contents, is_image_name
from ptm.data.image_listing import IMAGE_SUFFIXES
from ptm.data.input_lines import LeftOut
from ptm.data.input_rows import STANDARD_INPUT, File, Row, file_rows, gives
from ptm.data.masks import mask_folders
from ptm.data.packed import GZIP_SUFFIX, suffix_of
from ptm.data.patterns import expanded
from ptm.data.readers import FORMATS
from ptm.data.separated import told
from ptm.data.squad import seems_squad
from ptm.data.text_format import TextFormat
from ptm.data.workbooks import WORKBOOK_SUFFIXES
from ptm.errors import ConfigError, DataError, Problem

TEXT_SUFFIXES = (".txt", ".text")
# By suffix, as predictions know them: a .txt file is a text a line, unless it is named tsv:FILE.txt.
_KINDS: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
    **dict.fromkeys(CONLL_SUFFIXES, "conll"),
    **dict.fromkeys(WORKBOOK_SUFFIXES, "xlsx"),
}

Item = TypeVar("Item")


@dataclass(frozen=True)
class Typed:
    """Texts of the command line, in the place of a file."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Inputs(Examples):
    """Examples without targets. ``carried``: the other columns of the table, for output beside the predictions."""

    carried: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()  # what is to be said of how they were read, once

    def select(self, rows: np.ndarray) -> Inputs:
        chosen = super().select(rows)
        carried = {name: [values[row] for row in rows] for name, values in self.carried.items()}
        return Inputs(chosen.columns, None, chosen.where, carried, self.notes)


Source = Path | str | Typed | Given


def each_file(sources: Sequence[Path | str]) -> list[Path | str]:
    """Patterns and lists (``csv:part-*.csv``) as the files that they name, the others as they are. Raises DataError for
    patterns that match nothing."""
    files: list[Path | str] = []
    for source in sources:
        kind, path = _kind_and_path(source)
        suffixes = (
            FORMATS[kind].suffixes if kind is not None and kind in FORMATS else (*_KINDS, *IMAGE_SUFFIXES)
        )
        found = expanded(path, suffixes)
        files += [source] if found == [path] else [f"{kind}:{one}" if kind else one for one in found]
    return files


def source_path(source: Path | str) -> Path:
    """The file or folder that a source names, without ``csv:`` and the like before it."""
    return _kind_and_path(source)[1]


def _kind_and_path(source: Path | str) -> tuple[str | None, Path]:
    kind, colon, place = str(source).partition(":")
    if colon and kind in (*FORMATS, "textfolder", *IMAGE_SOURCES) and not Path(source).exists():
        return kind, Path(os.path.expanduser(place.strip()))  # noqa: PTH111 - leaves an unknown ~user as it is
    return None, Path(source)


def is_table(source: Source) -> bool:
    """Whether a source has columns with names."""
    if isinstance(source, Typed | Given) or str(source) == STANDARD_INPUT:
        return False
    stated, path = _kind_and_path(source)
    return (
        stated or _KINDS.get(suffix_of(path).removesuffix(GZIP_SUFFIX))
    ) in TABLE_SOURCES and not path.is_dir()


def text_inputs(
    sources: Sequence[Source],
    columns: Mapping[str, str],
    data: DataSpec | None = None,
    left_out: LeftOut | None = None,
    *,
    piece: int = 1024,
) -> Iterator[Examples]:
    """Rows of text in pieces of at most ``piece``, in the order given; a piece is of one source.

    ``columns``: role → name of the column, as in ``load_dataset``. Sources are csv, tsv, JSON and parquet files with
    these columns; ``.txt`` files and ``-``, the standard input, with a text a line (blank lines are left out);
    :class:`Typed`; and :class:`Given`, which is one piece, also where it is empty. A prefix such as ``tsv:`` says what
    a file is, whatever its name ends in. ``data`` says how files of the kind of its source are written. Names and kinds
    of all sources are checked at once, contents when their piece is asked for. Raises ConfigError or DataError that
    name the file and the line; rows that cannot be read are told to ``left_out`` instead, where that is given.
    """
    checked = [
        source if isinstance(source, Typed | Given) else _text_file(source, columns, data)
        for source in sources
    ]
    return (inputs for source in checked for inputs in _source_pieces(source, columns, piece, left_out))


def _source_pieces(
    source: Typed | Given | File, columns: Mapping[str, str], piece: int, left_out: LeftOut | None
) -> Iterator[Inputs]:
    if isinstance(source, Given):
        yield _given(given_texts(source, columns), columns)
        return
    notes: list[Problem] = []
    for inputs in _pieces(_rows(source, columns, piece, left_out, notes), tuple(columns), piece):
        yield replace(inputs, notes=tuple(notes)) if notes else inputs
        notes.clear()


def image_inputs(
    sources: Sequence[Source],
    column: str = "image",
    left_out: LeftOut | None = None,
    *,
    piece: int = 256,
) -> Iterator[Examples]:
    """Paths of images, role ``image``, in pieces of at most ``piece``.

    Sources are files; folders, of which all images count, sorted by path, hidden ones left out (named as a training
    names them, ``masks:FOLDER`` and the like, without its masks); and tables whose ``column`` names images, relative to
    the table. Raises ConfigError or DataError for a source without an image; rows
    that name none are told to ``left_out`` instead, where that is given. The images are not opened here.
    :class:`Given` is one piece of encoded images.
    """
    if len(sources) == 1 and isinstance(sources[0], Given):
        return iter([_given([{"image": image} for image in sources[0].images()], ["image"])])
    rows = [row for source in sources for row in _image_rows(source, column, piece, left_out)]
    return _pieces(rows, ("image",), piece)


def _image_rows(source: Source, column: str, piece: int, left_out: LeftOut | None) -> list[Row]:
    if isinstance(source, Typed | Given) or str(source) == STANDARD_INPUT:
        where = "--text" if isinstance(source, Typed) else STANDARD_INPUT
        raise ConfigError("this run reads images, not texts", where=where, cure="name files or folders")
    stated, path = _kind_and_path(source)
    _existing(path)
    is_labelled = stated in IMAGE_SOURCES
    if is_labelled:
        path, stated = (path if path.is_dir() else path.parent), "text"
    kind = stated or _KINDS.get(path.suffix.lower(), "text")
    if kind != "text" and path.is_file():
        file = File(path, kind, TextFormat())
        named: list[Row] = []
        for row in _rows(file, {"image": column}, piece, left_out, []):
            with told(left_out):
                named.append(_named_image(row, path.parent))
        return named
    paths = [path]
    if path.is_dir():  # what cannot be read is told later, or skipped
        masks = mask_folders(path) if is_labelled else set()
        paths = sorted(
            inner
            for inner in below(path)
            if is_image_name(inner, path) and not inner.is_dir() and masks.isdisjoint(inner.parents)
        )
    if not paths:
        expected = f"files that end in {', '.join(IMAGE_SUFFIXES)}; there is: {contents(path)}"
        raise DataError("no image in this folder", where=path, expected=expected)
    return [(str(inner), {"image": inner}, {}) for inner in paths]


def _named_image(row: Row, folder: Path) -> Row:
    where, values, others = row
    name = values["image"]
    if not isinstance(name, str) or not name:
        raise DataError(
            "no image is named",
            where=where,
            expected=f"a path relative to {folder}",
            cure="name the image, or remove the row; --skip-bad leaves such rows out",
        )
    return where, {"image": folder / name}, others


def _existing(source: Path | str) -> Path:
    path = Path(source)
    if not path.exists():
        cure = 'correct the path; a text itself is given with --text "…"'
        raise DataError("there is no such file or folder", where=path, cure=cure)
    if kind := endless(path):
        raise DataError(f"is {kind}", where=path, expected="a file or a folder")
    return path


def _text_file(source: Path | str, columns: Mapping[str, str], data: DataSpec | None) -> File:
    """The file, once it is sure that it is of a kind that can hold the columns."""
    stated, path = _kind_and_path(source)
    kind: str | None = "text"
    if str(source) != STANDARD_INPUT:
        _existing(path)
        kind = stated or _KINDS.get(suffix_of(path).removesuffix(GZIP_SUFFIX))
        if path.is_dir() != (kind == "textfolder") or kind is None:
            what = "a folder" if path.is_dir() else "no known kind of file"
            cure = "" if path.is_dir() else f"say what it is: csv:{path}"
            raise DataError(what, where=path, expected=f"a file that ends in {', '.join(_KINDS)}", cure=cure)
    assert kind is not None
    written = TextFormat() if data is None else TextFormat.of(data, kind)
    if kind == "json" and "question" in columns and seems_squad(path, written):
        kind = "squad"
    if kind == "text":
        _require_one(columns, str(source))
    elif (inputs := gives(kind)) and not set(columns) <= set(inputs):
        holds, reads = " or ".join(inputs), " and ".join(columns)
        raise ConfigError(f"{kind}: holds {holds}, this run reads {reads}", where=str(source))
    return File(path, kind, written)


def _require_one(columns: Mapping[str, str], where: str) -> None:
    if len(columns) > 1:
        names = " and ".join(columns.values())
        cure = "give a csv, tsv, JSON or parquet file with these columns"
        raise ConfigError(f"a line holds one text, this run reads {names}", where=where, cure=cure)


def _given(rows: Sequence[Mapping[str, Any]], roles: Iterable[str]) -> Inputs:
    """One piece, also of no rows."""
    return Inputs({role: [row[role] for row in rows] for role in roles}, None, given_place)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one perhaps shorter (itertools.batched begins with Python 3.12)."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece


def _pieces(rows: Iterable[Row], roles: Sequence[str], piece: int) -> Iterator[Inputs]:
    carried: list[str] | None = None
    for batch in _batched(rows, piece):
        carried = list(batch[0][2]) if carried is None else carried
        places = [place for place, _, _ in batch]
        yield Inputs(
            {role: [values[role] for _, values, _ in batch] for role in roles},
            None,
            places.__getitem__,
            {name: [others.get(name) for _, _, others in batch] for name in carried},
        )


def _rows(
    source: Typed | File,
    columns: Mapping[str, str],
    piece: int,
    left_out: LeftOut | None,
    notes: list[Problem],
) -> Iterator[Row]:
    if isinstance(source, Typed):
        _require_one(columns, "--text")
        (role,) = columns
        yield from ((f"--text {n}", {role: text}, {}) for n, text in enumerate(source.texts, start=1))
        return
    with naming_keys(columns):
        yield from file_rows(source, columns, piece, left_out, notes)
