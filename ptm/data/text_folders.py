"""Texts in files of their own, with the label in the name of the folder or of the file, as in aclImdb
(Maas et al. 2011, https://aclanthology.org/P11-1015)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptm.data.entries import below, files_among
from ptm.data.image_files import contents
from ptm.data.image_listing import is_hidden
from ptm.data.packed import suffix_of, with_packed
from ptm.data.partial import refuse_but
from ptm.data.path_labels import labels_of_paths
from ptm.data.tables import Table, lines_of, no_source
from ptm.data.text_format import TextFormat, read_text
from ptm.errors import DataError, Gathered, Problem, listing

TEXT_FILES = with_packed((".txt", ".text"))
HOLDS = "a text"
_UNLABELLED = (
    "unsup",
    "unsupervised",
    "unlabeled",
    "unlabelled",
)  # a folder of texts that nobody has labelled
_SPLITS = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|eval)([\W_\d].*)?", re.IGNORECASE
)
_MOST_FILES = 50  # that may be classes by their names, with a text a line in each


def read_textfolder(source: Path, split: str | None, roles: Mapping[str, str], written: TextFormat) -> Table:
    """A text a file. Its label is the folder's name below ``source``/``split``; what a regular expression finds in the
    file's path below ``source``, where ``roles`` has one in the place of ``label``; or, where there are files and no
    folders, the file's name, and the file has a text a line. Raises DataError naming the file."""
    root = source / split if split else source
    if not source.is_dir():
        raise no_source(source, "there is no such folder")
    if not root.is_dir():
        cure = "correct data.train, data.eval, data.test or --split"
        raise DataError(
            "there is no such folder", where=root, expected=f"in {source}: {contents(source)}", cure=cure
        )
    files = text_files(root)
    if not files:
        expected = f"files that end in {', '.join(TEXT_FILES)}; there is: {contents(root)}"
        raise DataError("no text in this folder", where=root, expected=expected)
    if "label" not in roles:
        return _whole(files, root, roles, written, None)
    if roles["label"] != "label":
        gathered = Gathered()
        labels = labels_of_paths(files, source, roles["label"], gathered)
        named = [files[row] for row in labels]
        return _whole(named, root, roles, written, [*labels.values()], gathered=gathered)
    inner = [path for path in files if path.parent != root]
    if not inner:
        return _lines(files, root, roles, written)
    _refuse_splits(root, inner)
    labelled = [path for path in inner if _class(path, root).lower() not in _UNLABELLED]
    return _whole(
        labelled,
        root,
        roles,
        written,
        [_class(path, root) for path in labelled],
        _notes(files, labelled, root),
    )


def text_files(root: Path) -> list[Path]:
    """All files of texts below a folder, sorted; hidden ones are left out."""
    return files_among(
        path
        for path in below(root)
        if suffix_of(path) in TEXT_FILES and not any(map(is_hidden, path.relative_to(root).parts))
    )


def _class(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0]


def _notes(files: Sequence[Path], labelled: Sequence[Path], root: Path) -> tuple[Problem, ...]:
    known = set(labelled)
    out = [path for path in files if path not in known]
    if not out:
        return ()
    places = sorted(
        {"beside the folders" if path.parent == root else f"in {_class(path, root)}/" for path in out}
    )
    return (Problem(f"{len(out)} texts are left out, which have no label: {listing(places)}", str(root)),)


def _refuse_splits(root: Path, files: Sequence[Path]) -> None:
    folders = sorted({_class(path, root) for path in files})
    deep = {_class(path, root) for path in files if len(path.relative_to(root).parts) > 2}
    splits = [name for name in folders if _SPLITS.fullmatch(name) and name in deep]
    if splits:
        train = next((name for name in splits if name.lower().startswith("train")), splits[0])
        other = next((name for name in splits if name != train), "20%")
        raise DataError(
            f"holds splits ({', '.join(splits)}) with a folder a class in each, not a folder a class",
            where=root,
            expected="a folder a class, or the splits named in data.train and data.eval",
            cure=f"--set data.train={train} --set data.eval={other}",
        )


def _whole(
    files: Sequence[Path],
    root: Path,
    roles: Mapping[str, str],
    written: TextFormat,
    labels: Sequence[str] | None,
    notes: tuple[Problem, ...] = (),
    gathered: Gathered | None = None,
) -> Table:
    """A text a file. The digest covers the names of files and what is in them. ``gathered``: what was refused
    before."""
    gathered, texts, digest = gathered or Gathered(), dict[int, str](), hashlib.sha256()
    for number, path in enumerate(files):
        with gathered.of():
            text, file_digest = read_text(path, HOLDS, written)
            texts[number] = text.strip()
            digest.update(os.fsencode(f"{path.relative_to(root)}\0{file_digest}\0"))
    numbers = [*texts]
    columns: dict[str, Any] = {role: [*texts.values()] for role in roles if role != "label"}
    if labels is not None:
        columns["label"] = [labels[number] for number in numbers]
    table = Table(columns, lambda row: str(files[numbers[row]]), digest.hexdigest(), notes=notes)
    refuse_but(gathered.problems, table, "files")
    return table


def _lines(files: Sequence[Path], root: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
    """A class a file, a text a line."""
    if not 1 < len(files) <= _MOST_FILES:
        raise DataError(
            f"{len(files)} text{'s' if len(files) > 1 else ''} and no folder that names a class",
            where=root,
            expected=f"a folder a class; or 2 to {_MOST_FILES} files, each named by its class, with a text a line",
            cure="where the names of files hold labels: data.label, an expression that finds it, such as '^([a-z]+)_'",
        )
    gathered, texts, labels, places, digest = (
        Gathered(),
        list[str](),
        list[str](),
        list[str](),
        hashlib.sha256(),
    )
    for path in files:
        with gathered.of():
            text, file_digest = read_text(path, "a text a line", written)
            digest.update(os.fsencode(f"{path.name}\0{file_digest}\0"))
            rows = [(n, line) for n, line in enumerate(lines_of(text), start=1) if line.strip()]
            texts += [line for _, line in rows]
            places += [f"{path}:{n}" for n, _ in rows]
            labels += [path.name[: -len(suffix_of(path))]] * len(rows)
    note = Problem(
        f"the names of the {len(files)} files are the labels, and each line of them is a text", str(root)
    )
    columns: dict[str, Any] = {role: texts for role in roles if role != "label"} | {"label": labels}
    table = Table(columns, places.__getitem__, digest.hexdigest(), notes=(note,))
    refuse_but(gathered.problems, table, "files")
    return table
