"""A data source and a split to a table: files of rows, folders of images, a hub, what scikit-learn carries."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ptm.config.data_section import HELD_OUT, LABEL, DataSpec
from ptm.data import hub as data_hub
from ptm.data.columns import naming_keys
from ptm.data.entries import SCHEMA_FILE, files_among
from ptm.data.image_files import contents, read_imagefolder, with_image_files
from ptm.data.image_listing import is_hidden
from ptm.data.packed import suffix_of
from ptm.data.partial import PartlyRead, read_parts
from ptm.data.patterns import has_pattern, is_several, matched, parts_of, require_once
from ptm.data.readers import FORMATS
from ptm.data.tables import USUAL, Table, by_role, join_tables, no_source
from ptm.data.text_folders import read_textfolder
from ptm.data.text_format import TextFormat
from ptm.data.workbooks import WORKBOOK_SUFFIXES
from ptm.data.yolo import splits_of
from ptm.errors import ConfigError, DataError, listing

RowReader = Callable[[Path, Mapping[str, str], TextFormat], Table]


def read_split(
    source: str, split: str | None, columns: Mapping[str, str], text_format: TextFormat = USUAL
) -> Table:
    """One split as a table whose columns are named by role. ``columns``: role → column."""
    with naming_keys(columns):
        return _read_split(source, split, columns, text_format)


def _read_split(source: str, split: str | None, columns: Mapping[str, str], text_format: TextFormat) -> Table:
    kind, _, place = source.partition(":")
    if kind == "textfolder":
        return read_textfolder(Path(place), split, columns, text_format)
    if kind in FORMATS:
        files = split_files(Path(place), split, FORMATS[kind].suffixes)
        if split is not None and files == [Path(place)]:
            text_format = _with_sheet(text_format, split, place)
        return _read_files(files, FORMATS[kind].read, columns, text_format)
    if kind == "imagefolder":
        label = columns.get("label", LABEL)
        named = None if label == LABEL else label
        return read_imagefolder(Path(place), split, splits_there(source), named)
    if kind == "hub":
        return by_role(data_hub.read_dataset(place, split, list(dict.fromkeys(columns.values()))), columns)
    if kind == "builtin":
        return _read_builtin(place, split)
    raise ConfigError(f"unknown kind of source {kind!r}", where="data.source")


def _read_files(
    files: Sequence[Path], read: RowReader, columns: Mapping[str, str], text_format: TextFormat
) -> Table:
    """All rows of all files. Raises the problems of all; PartlyRead where there are rows that can be used."""

    def read_file(path: Path) -> Table:
        with naming_keys(columns):
            return read(path, columns, text_format)

    tables, problems = read_parts({path: partial(read_file, path) for path in files})
    if "image" in columns:
        tables, missing = read_parts(
            {path: partial(with_image_files, table, "image", path) for path, table in tables.items()}
        )
        problems += missing
    joined = join_tables([*tables.values()])
    if problems:
        raise PartlyRead(problems, joined)
    return joined


def _with_sheet(text_format: TextFormat, split: str, place: str) -> TextFormat:
    """For a split that is a sheet of the workbook that is the source."""
    if text_format.sheet is not None:
        what = f"the sheet {text_format.sheet!r} and the split {split!r} both name a sheet"
        cure = "remove data.sheet: in one workbook, splits are sheets"
        raise ConfigError(what, where=place, cure=cure)
    return replace(text_format, sheet=split)


def split_files(source: Path, split: str | None, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a split: the source itself, ``split``, ``split`` + suffix, a folder's files, or shards; what a
    pattern matches, or each part of a list. Raises DataError for one that comes twice, ConfigError for a split of what
    has none."""
    if is_several(source):
        if split is not None:
            raise ConfigError(
                f"data.source names files, so there is no split {split!r} in it",
                where=source,
                cure="name their folder as the source and files or patterns as splits, or hold out: eval: 20%",
            )
        return require_once([(str(part), _part_files(part, None, suffixes)) for part in parts_of(source)])
    if split is None or not is_several(source / split):
        return _part_files(source, split, suffixes)
    names = parts_of(split)
    return require_once([(str(name), _part_files(source, str(name), suffixes)) for name in names])


def refuse_shared_files(data: DataSpec) -> None:
    """DataError for a file that a pattern or a list puts into two splits. Who names one file twice is warned later."""
    kind, _, place = data.source.partition(":")
    names = {split: getattr(data, split) for split in ("train", *HELD_OUT) if split not in data.held_out}
    named = {split: name for split, name in names.items() if name is not None}
    if kind not in FORMATS or not any(is_several(Path(place) / name) for name in named.values()):
        return
    owners: dict[Path, str] = {}
    for split, name in named.items():
        for path in split_files(Path(place), name, FORMATS[kind].suffixes):
            if owners.setdefault(path.resolve(), split) != split:
                raise DataError(
                    f"this file is in {owners[path.resolve()]} and in {split}",
                    where=path,
                    expected="each file in one split",
                    cure=f"change data.{owners[path.resolve()]} or data.{split}",
                )


def _part_files(source: Path, split: str | None, suffixes: tuple[str, ...]) -> list[Path]:
    named = source if split is None else source / split
    if has_pattern(named):
        return matched(named, suffixes)
    if not source.exists():
        raise no_source(source, "there is no such file or folder")
    if split is None:
        target = source
    elif source.is_file() and suffix_of(source) in WORKBOOK_SUFFIXES:
        target = source  # the split is a sheet of it
    elif source.is_file():
        raise ConfigError(
            f"data.source is one file, so there is no split {split!r} in it",
            where=source,
            cure="name the folder as the source and the files as splits, or hold out a fraction: eval: 20%",
        )
    else:
        target = source / split
    if target.is_file():
        return [target]
    if target.is_dir():
        paths = files_among(
            path
            for path in target.iterdir()
            if suffix_of(path) in suffixes and not path.name.startswith(".") and path.name != SCHEMA_FILE
        ) or (_named_files(target, suffixes) if split else [])
    else:
        paths = _named_files(target, suffixes)
    if not paths and target.is_dir():
        raise DataError(
            f"no file that ends in {' or '.join(suffixes)} in this folder",
            where=target,
            expected=f"one there, or {target}{suffixes[0]}; there is: {contents(target)}",
            cure="correct data.train, data.eval, data.test or --split" if split else "correct data.source",
        )
    if not paths:
        raise DataError(
            f"no split {split!r}",
            where=source,
            expected=splits_there(f":{source}", suffixes),
            cure="correct data.train, data.eval, data.test or --split",
        )
    return paths


def _named_files(target: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """``target`` with the first suffix that there is, else its shards: ``train-00000-of-00002.parquet``, …"""
    candidates = (target.with_name(target.name + suffix) for suffix in suffixes)
    whole = next((path for path in candidates if path.is_file()), None)
    if whole is not None:
        return [whole]
    shards = glob.escape(target.name) + "-*"
    found = (path for suffix in suffixes for path in target.parent.glob(shards + suffix))
    return files_among(path for path in found if not path.name.startswith("."))


def splits_there(source: str, suffixes: tuple[str, ...] = ()) -> str:
    """What may be named as a split of a source, for a message. ``suffixes``: of the files that can be one."""
    kind, _, place = source.partition(":")
    if kind == "builtin":
        return "train or test"
    path = Path(place)
    if kind == "yolo" and (names := _yolo_splits(path)):
        return f"one of: {listing(names)}"
    if kind == "hub" or not path.is_dir():
        return "the name of a split"
    entries = [entry for entry in path.iterdir() if not is_hidden(entry.name)]
    if kind == "imagefolder":
        entries = [entry for entry in entries if entry.is_dir()]
    if suffixes:
        entries = [entry for entry in entries if suffix_of(entry) in suffixes or _holds(entry, suffixes)]
    if entries:
        return f"one of: {listing(sorted(entry.name for entry in entries))}"
    looked_for = "folders of splits" if kind == "imagefolder" else f"files that end in {listing(suffixes)}"
    return f"{looked_for}; there is: {contents(path)}"


def _yolo_splits(path: Path) -> list[str]:
    try:
        return splits_of(path)
    except DataError:  # whoever reads it says what is wrong with it
        return []


def _holds(folder: Path, suffixes: tuple[str, ...]) -> bool:
    return folder.is_dir() and any(suffix_of(entry) in suffixes for entry in folder.iterdir())


def _read_builtin(name: str, split: str | None) -> Table:
    """scikit-learn's handwritten digits, uint8 [8, 8] each; every fifth one is the test split."""
    if name != "digits":
        raise ConfigError(f"no builtin data {name!r}", where="data.source", expected="builtin:digits")
    if split not in (None, "train", "test"):
        raise ConfigError(f"builtin:digits has no split {split!r}", where="data", expected="train or test")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # stored as 0 … 16
    rows = np.arange(len(pixels))
    if split is not None:
        rows = rows[rows % 5 == 0] if split == "test" else rows[rows % 5 != 0]
    digest = hashlib.sha256(pixels[rows].tobytes() + bunch.target[rows].tobytes()).hexdigest()
    return Table(
        {"image": list(pixels[rows]), "label": [int(v) for v in bunch.target[rows]]},
        lambda row: f"builtin:digits, image {rows[row]}",
        digest,
        tuple(str(digit) for digit in range(10)),
    )
