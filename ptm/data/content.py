"""Which examples are equal, by what a model gets to see: a held-out share must not hold what is trained on."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ptm.base import array_cache
from ptm.base.growing import Growing
from ptm.base.seeds import finalised
from ptm.data import pictures
from ptm.data.arrow import Coded, Texts
from ptm.data.arrow_lists import Lists
from ptm.data.arrow_values import value_keys
from ptm.data.examples import Examples
from ptm.data.file_column import Files
from ptm.errors import Problem

# Roles that make up an input; all others are what is to be found out, or describe it.
_INPUTS = ("text", "text_pair", "words", "image", "question", "context")
_CHUNK = 1000  # texts brought into one form at a time
_KEYS = 1_000_000  # looked up at a time
_FORM = 1  # of the keys that are kept: another number where :func:`plain_text` or :func:`_hash64` changes
_LEAST_FILES = 2000  # images whose keys are kept: 0.2 s to decode them
_LEAST_BYTES = 10_000_000  # of texts whose keys are kept: 0.2 s to make them
_LEAST_BYTES_OF_LISTS = 2_000_000  # of words, likewise


def equal_groups(columns: Mapping[str, Sequence[Any]], page: int | None = None) -> np.ndarray:
    """For each row the number of the first one with an equal input, int64 [n]. ``columns``: by role.

    Texts are equal that differ in blanks, case and Unicode forms only; images that show the same, however their files
    are written (:func:`ptm.data.pictures.picture_digest`), on their ``page``.
    """
    keys = input_keys(columns, of_file=_Shown(page))
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[group], dtype=np.int64)


def shared_inputs(
    train: Mapping[str, Sequence[Any]], evaluation: Mapping[str, Sequence[Any]]
) -> tuple[int, int | None]:
    """How many evaluation examples have an equal one in train, and the row of the first. Image files are equal by their
    bytes, and read only where there is one of the same size on the other side."""
    sizes = [_sizes(columns.get("image", ())) for columns in (train, evaluation)]
    common = (sizes[0] & sizes[1]) - {None}
    if sizes[0] and not common and None not in sizes[0]:
        return 0, None
    keys, of_train = input_keys(evaluation, common), input_keys(train, common)
    if not len(keys):
        return 0, None
    looked_for, key = np.unique(keys, return_inverse=True)
    shared = np.zeros(len(looked_for), dtype=bool)
    for start in range(0, len(of_train), _KEYS):
        some = of_train[start : start + _KEYS]
        place = np.minimum(np.searchsorted(looked_for, some), len(looked_for) - 1)
        shared[place[looked_for[place] == some]] = True
    rows = np.flatnonzero(shared[key])
    return len(rows), int(rows[0]) if len(rows) else None


_NOUNS = {"eval": "evaluation", "test": "test"}


def leak_warning(
    train: Mapping[str, Sequence[Any]],
    evaluation: Mapping[str, Sequence[Any]],
    where: Any,
    names: tuple[str, str] = ("train", "eval"),
) -> list[Problem]:
    """For splits that are named, so that nothing moves: what stands in both is told. ``names``: those of the two."""
    count, first = shared_inputs(train, evaluation)
    if first is None:
        return []
    total = len(next(iter(evaluation.values())))
    return [
        _shared(
            f"{count} of {total} {_NOUNS[names[1]]} examples also stand in {names[0]}", where(first), names
        )
    ]


def group_warning(
    column: str | None, train: Examples, evaluation: Examples, names: tuple[str, str]
) -> list[Problem]:
    """The same for what ``data.split_by`` holds together: of examples whose group stands in both."""
    if column is None or not all(column in side.attributes for side in (train, evaluation)):
        return []
    groups, seen = (value_keys(side.attributes[column]) for side in (evaluation, train))
    rows = np.flatnonzero(np.isin(groups, seen)).tolist()
    if not rows:
        return []
    what = (
        f"{len(rows)} of {len(evaluation)} {_NOUNS[names[1]]} examples are of a {column!r} that also stands in "
        f"{names[0]}, the first one of {evaluation.attributes[column][rows[0]]!r}"
    )
    return [_shared(what, evaluation.where(rows[0]), names)]


def _shared(what: str, where: str, names: tuple[str, str]) -> Problem:
    seen = "what was trained on" if names[0] == "train" else "what the weights were chosen on"
    return Problem(
        what, where, cure=f"remove them from one of the splits; {seen} says nothing about new examples"
    )


def plain_text(text: str) -> str:
    """A text in one Unicode form (NFKC), one case, and with one blank between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def plain_texts(texts: Sequence[Any]) -> Iterator[str]:
    """:func:`plain_text` of each, 0.8 s a million sentences: texts that stand as they should, as most do, are brought
    into one form many at a time. What is no text counts as it is written."""
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        try:
            lines = unicodedata.normalize("NFKC", "\n".join(chunk)).casefold()
        except TypeError:
            yield from (plain_text(text if isinstance(text, str) else _written(text)) for text in chunk)
            continue
        blanks = "  " in lines or " \n" in lines or "\n " in lines or lines[:1] == " " or lines[-1:] == " "
        if blanks or lines.count("\n") >= len(chunk) or not lines.replace("\n", "").isprintable():
            yield from map(plain_text, chunk)
        else:
            yield from lines.split("\n")


def _written(value: Any) -> str:
    return "\0".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)


@dataclass(frozen=True)
class _Shown:
    """The digest of what an image file shows on its ``page``."""

    page: int | None

    def __call__(self, content: bytes) -> bytes:
        return pictures.picture_digest(content, self.page)


def _of_bytes(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def input_keys(
    columns: Mapping[str, Sequence[Any]],
    sizes: set[int | None] | None = None,
    of_file: Callable[[bytes], bytes] = _of_bytes,
) -> np.ndarray:
    """A hash of 64 bits a row, uint64 [n]: two of a million different rows have the same one once in 30 million data
    sets.

    ``sizes``: those of the image files whose content counts; the others are told apart by place. ``of_file``: the
    digest of the content of an image file."""
    inputs = [columns[role] for role in _INPUTS if role in columns] or list(columns.values())
    keys = [_column_keys(column, sizes, of_file) for column in inputs]
    return reduce(lambda before, own: finalised(before) ^ own, keys)


def _column_keys(
    column: Sequence[Any], sizes: set[int | None] | None, of_file: Callable[[bytes], bytes]
) -> np.ndarray:
    """uint64 [n]. Those of many texts are kept in the cache."""
    if isinstance(column, Coded):
        return np.asarray(_keys(column.values, sizes, of_file)[column.codes])
    if isinstance(column, Files) and of_file is _of_bytes:
        return np.ascontiguousarray(column.digests[:, :8]).view("<u8")[:, 0]
    if isinstance(column, Files) and isinstance(of_file, _Shown) and len(column) >= _LEAST_FILES:
        return _picture_keys(column, of_file)
    least = _LEAST_BYTES_OF_LISTS if isinstance(column, Lists) else _LEAST_BYTES
    if not isinstance(column, Texts | Lists) or column.nbytes < least:
        return _keys(column, sizes, of_file)
    identity = {"keys of": column.digest, "unicode": unicodedata.unidata_version, "form": _FORM}
    present = array_cache.load(identity)
    if present is None or "keys" not in present.arrays:
        made = array_cache.Content({"keys": _keys(column, sizes, of_file)}, {})
        array_cache.save(identity, {"rows": "texts, to compare them", "split": "all"}, made)
        return made.arrays["keys"]
    return present.arrays["keys"]


def _picture_keys(files: Files, shown: _Shown) -> np.ndarray:
    """Those of what many image files show, uint64 [n], kept under the digest of their bytes."""
    code = array_cache.code_digest(Path(str(pictures.__file__)))
    made_by = {"code": code, "versions": [PIL.__version__], "form": _FORM}
    identity = {"pictures of": files.digest, "page": shown.page, **made_by}
    present = array_cache.load(identity)
    keys = None if present is None else present.arrays.get("keys")
    if keys is None or keys.shape != (len(files),) or keys.dtype != np.dtype("<u8"):
        keys = _keys(files, None, shown)
        if not files.changed():
            array_cache.save(
                identity,
                {"rows": "images, to compare them", "split": "all"},
                array_cache.Content({"keys": keys}, {}),
            )
    return keys


def _keys(
    column: Sequence[Any], sizes: set[int | None] | None, of_file: Callable[[bytes], bytes]
) -> np.ndarray:
    if any(isinstance(value, str) for value in column[:1]):
        contents: Iterator[str | bytes] = plain_texts(column)
    else:
        contents = (_content(value, sizes, of_file) for value in column)
    keys = Growing("<u8")
    while some := list(islice(contents, _CHUNK)):
        keys.extend(np.frombuffer(b"".join(map(_hash64, some)), dtype="<u8"))
    return keys.array()


def _hash64(content: str | bytes) -> bytes:
    """Of a text, or a SHA-256. The same in each process, so that it can be kept."""
    if isinstance(content, bytes):
        return content[:8]
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _content(value: Any, sizes: set[int | None] | None, of_file: Callable[[bytes], bytes]) -> str | bytes:
    """What is compared of an input: a text in its plain form, of anything else the SHA-256 of its bytes."""
    if isinstance(value, Path):
        if sizes is not None and _size(value) not in sizes:
            return str(value)
        try:
            return of_file(value.read_bytes())
        except OSError:  # whoever reads the image says so
            return str(value)
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return of_file(value["bytes"])
    if isinstance(value, np.ndarray) and value.dtype != object:
        return hashlib.sha256(repr(value.shape).encode() + value.tobytes()).digest()
    if isinstance(value, bytes):
        return of_file(value)
    return plain_text(value if isinstance(value, str) else _written(value))


def _sizes(images: Sequence[Any]) -> set[int | None]:
    """Of image files; None among them where there is something else."""
    return set(np.unique(images.sizes).tolist()) if isinstance(images, Files) else {_size(i) for i in images}


def _size(value: Any) -> int | None:
    """Bytes of a file; None for what is none."""
    try:
        return value.stat().st_size if isinstance(value, Path) else None
    except OSError:
        return None
