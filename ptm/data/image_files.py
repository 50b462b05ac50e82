"""Images that stand in files: a folder a class, or a table that names them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptm.data.arrow import Builder, Coded
from ptm.data.entries import below, files_among
from ptm.data.file_column import Files, digest_below, files_named
from ptm.data.image_listing import (
    ARCHIVE,
    IMAGE_SUFFIXES,
    has_image_name,
    is_file,
    is_folder,
    is_hidden,
    list_images,
)
from ptm.data.labels import class_numbers, one_of
from ptm.data.partial import refuse_but
from ptm.data.path_labels import labels_of_paths
from ptm.data.tables import Table, no_source, select_rows
from ptm.errors import DataError, Gathered, Problem, listing, refuse

# What folders of splits are called: train, Validation, test_data, val2017, train-images.
_SPLITS = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|eval)([\W_\d].*)?", re.IGNORECASE
)
# Images that nothing here reads: their users would take them for examples.
_OTHER_IMAGES = (
    ".jxl",
    ".svg",
    ".raw",
    ".dng",
    ".nef",
    ".cr2",
    ".psd",
    ".exr",
    ".hdr",
    ".dcm",
)
_FORKS = "._"  # before the names of what macOS keeps of a file on other systems' disks
_LEFTOVERS = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini")


def read_imagefolder(source: Path, split: str | None, splits_there: str, label: str | None = None) -> Table:
    """A folder a class, with its images in it or in folders below; hidden ones are left out. ``label``: instead, a
    regular expression, and what it finds in the path of an image below ``source``. The digest covers names, sizes and
    bytes of all files."""
    root = source / split if split else source
    if not source.is_dir():
        raise no_source(source, "there is no such folder")
    if not root.is_dir():
        cure = "correct data.train, data.eval, data.test or --split"
        raise DataError("there is no such folder", where=root, expected=splits_there, cure=cure)
    if label is not None:
        return _labelled_by_name(source, root, label)
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    if not classes:
        there = f"a folder a class, with its images in it; there is: {contents(root)}"
        raise DataError("no folder in it", where=root, expected=there)
    _refuse_splits(root, classes)
    listed = list_images(root, classes)
    if 0 in listed.counts:
        raise DataError(
            "no image in it",
            where=root / classes[listed.counts.index(0)],
            expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}",
            cure="add images or remove the folder",
        )
    labels = Coded(np.repeat(np.arange(len(classes)), listed.counts), classes)
    return _table(listed.hashed(root), {"label": labels}, tuple(classes))


def _table(
    files: Files,
    columns: Mapping[str, Sequence[Any]],
    classes: tuple[str, ...] | None = None,
    label: str = "",
) -> Table:
    columns = {"image": files, **columns}
    return Table(columns, lambda row: str(files[row]), digest_below(files, label), classes)


def _labelled_by_name(source: Path, root: Path, label: str) -> Table:
    listed = list_images(root)
    if not len(listed.names):
        expected = f"files that end in {', '.join(IMAGE_SUFFIXES)}; there is: {contents(root)}"
        raise DataError("no image in this folder", where=root, expected=expected)
    gathered = Gathered()
    files = listed.hashed(root)
    labels = labels_of_paths(files, source, label, gathered)
    if len(labels) < len(files):
        files = files.select(np.fromiter(labels, dtype=np.int64))
    column = Builder()
    column.extend([*labels.values()])
    table = _table(files, {"label": column.column()}, label=label)
    refuse_but(gathered.problems, table, "files")
    return table


def read_images(source: Path, split: str) -> Table | None:
    """The images in a folder without folders, which say no class; None for any other."""
    root = source / split
    if not root.is_dir():
        return None
    with os.scandir(root) as entries:
        if any(is_folder(entry) and not is_hidden(entry.name) for entry in entries):
            return None
    listed = list_images(root)
    return _table(listed.hashed(root), {}) if len(listed.names) else None


def _refuse_splits(root: Path, folders: Sequence[str]) -> None:
    """DataError where folders are splits with classes in them, which would be learned as the classes."""
    splits = [name for name in folders if _SPLITS.fullmatch(name) and _only_folders(root / name)]
    if not splits:
        return
    train = next((name for name in splits if name.lower().startswith("train")), splits[0])
    other = next((name for name in splits if name != train), "20%")
    evaluated = train if other == "20%" else other
    raise DataError(
        f"holds splits ({', '.join(splits)}) with a folder a class in each, not a folder a class",
        where=root,
        expected="a folder a class, or the splits named in data.train and data.eval",
        cure=f"--set data.train={train} --set data.eval={other} (ptm eval: --split {evaluated})",
    )


def alike_inside(root: Path) -> Problem | None:
    """A warning where the folders, taken for classes, all hold the same folders: these may be the classes."""
    if not root.is_dir():
        return None
    folders = [root / name for name in sorted(_folders_in(root))]
    inside = _folders_in(folders[0]) if len(folders) > 1 else set()
    if len(inside) < 2 or any(_folders_in(folder) != inside for folder in folders[1:]):
        return None
    if not all(map(_only_folders, folders)):
        return None
    return Problem(
        f"the folders {listing(folder.name for folder in folders)} are the classes, and each holds the same "
        f"folders: {listing(sorted(inside))}",
        str(root),
        cure="if those are the classes, name the splits: data.train, data.eval",
    )


def _folders_in(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if is_folder(entry) and not is_hidden(entry.name)}


def _only_folders(folder: Path) -> bool:
    some = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_folder(entry):
                some = some or not entry.name.startswith(".")
            elif has_image_name(entry.name) and is_file(entry):
                return False
    return some


def require_classes(root: Path, folders: Sequence[str], labels: tuple[str, ...]) -> None:
    """DataError, once a folder, for those in ``root`` that are no class: not again for each image in them."""
    numbers = class_numbers(folders, labels, tuple(folders))
    cure = "rename or remove the folder, or add the name to data.labels"
    unknown = (
        Problem(f"the folder is not one of the {len(labels)} labels", str(root / name), one_of(labels), cure)
        for name in folders
        if numbers[name] is None
    )
    refuse(unknown, noun="folders")


def left_out(folder: Path) -> Problem | None:
    """A warning of the files in a folder that are no images by their names, with how many of each kind there are."""
    return _left_out(folder, _others(folder).left_out)


def not_used(folder: Path) -> list[Problem]:
    """What :func:`left_out` and :func:`leftovers` say of a folder, which is looked through once."""
    others = _others(folder)
    said = _left_out(folder, others.left_out), _leftovers(folder, others.leftovers)
    return [problem for problem in said if problem is not None]


def _left_out(folder: Path, counts: Counter[str]) -> Problem | None:
    if not counts:
        return None
    images = any(suffix in _OTHER_IMAGES for suffix in counts)
    return Problem(
        f"{counts.total()} files are left out: {', '.join(f'{n} {suffix}' for suffix, n in counts.most_common(8))}",
        str(folder),
        f"images that end in {', '.join(IMAGE_SUFFIXES)}",
        "convert them to JPEG or PNG, if they are to be used" if images else "",
    )


def beside_folders(root: Path) -> Problem | None:
    """A warning of images that lie beside the folders of the classes: they are of none."""
    if not root.is_dir():
        return None
    with os.scandir(root) as entries:
        beside = sorted(
            root / entry.name for entry in entries if has_image_name(entry.name) and is_file(entry)
        )
    if not beside:
        return None
    what = f"{len(beside)} images beside the folders of the classes are left out"
    cure = "move them into the folder of their class; or data.label finds the label in the name of a file"
    return Problem(what, str(beside[0]), cure=cure)


def leftovers(folder: Path) -> Problem | None:
    """What is to be told of the files in a folder that an operating system left there: nothing reads them."""
    return _leftovers(folder, _others(folder).leftovers)


def _leftovers(folder: Path, kinds: Counter[str]) -> Problem | None:
    if not kinds:
        return None
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return Problem(
        f"{kinds.total()} files that an operating system left behind are skipped: {counted}", str(folder)
    )


class _Others(NamedTuple):
    left_out: Counter[str]  # files by suffix
    leftovers: Counter[str]  # files by what they are called


def _others(folder: Path) -> _Others:
    """The files in a folder and in all folders in it that are no images by their names: 0.7 µs an image."""
    others = _Others(Counter(), Counter())
    places = [(str(folder), False, False)]
    while places:
        place, hidden, archived = places.pop()
        try:
            entries = os.scandir(place)
        except OSError:  # whoever reads it says so
            continue
        with entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    places.append((entry.path, hidden or is_hidden(name), archived or name == ARCHIVE))
                elif (archived or not has_image_name(name)) and is_file(entry):
                    kind = ARCHIVE if archived else _leftover(name)
                    if kind is not None:
                        others.leftovers[kind] += 1
                    elif not hidden and not is_hidden(name):
                        others.left_out[Path(name).suffix.lower() or "no suffix"] += 1
    return others


def _leftover(name: str) -> str | None:
    """What a file of an operating system is called; None for any other file."""
    if name == ARCHIVE:
        return ARCHIVE
    if name.startswith(_FORKS):
        return f"{_FORKS}*"
    return name if name.lower() in _LEFTOVERS else None


def contents(folder: Path) -> str:
    """What is in a folder, for a message: folders by name, files by kind."""
    entries = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
    folders = [f"{entry.name}/" for entry in entries if entry.is_dir()]
    counts = Counter(entry.suffix.lower() or entry.name for entry in entries if not entry.is_dir())
    files = [f"{n} {suffix} file{'s' if n > 1 else ''}" for suffix, n in counts.most_common(4)]
    return ", ".join([listing(folders), *files] if folders else files) or "nothing"


def is_image(path: Path, folder: Path) -> bool:
    return is_image_name(path, folder) and path.is_file()


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and the folders in it, sorted. Raises DataError for what cannot be read."""
    return files_among(path for path in below(folder) if is_image_name(path, folder))


def is_image_name(path: Path, folder: Path) -> bool:
    return has_image_name(path.name) and not any(map(is_hidden, path.relative_to(folder).parts))


def with_image_files(table: Table, column: str, path: Path) -> Table:
    """``table``, of the file at ``path``, with its relative image paths made absolute, and the bytes of these images in
    its digest. Images that stand in the table itself stay as they are. Raises PartlyRead for files that are not there.
    """
    folder = path.parent
    files = files_named(table.columns[column], path)
    if files is not None:
        sha = hashlib.sha256(table.digest.encode() + files.digests.tobytes())
        return replace(table, columns={**table.columns, column: files}, digest=sha.hexdigest())
    images: list[Any] = []
    there: list[int] = []
    problems: list[Problem] = []
    digest = hashlib.sha256(table.digest.encode())
    named = False
    for row, value in enumerate(table.columns[column]):
        name = _named(value)
        if name is None:
            images.append(value)
            there.append(row)
            continue
        named, image = True, folder / name
        images.append(image)
        if not name or not image.is_file():
            what = f"there is no image {name!r}" if name else "no image is named"
            problems.append(
                Problem(
                    what,
                    table.where(row),
                    f"a file relative to {folder}, or an absolute path",
                    "correct the cell, or remove the row",
                )
            )
        else:
            there.append(row)
            if not problems:
                digest.update(_bytes_digest(image))
    columns = {**table.columns, column: images}
    whole = replace(table, columns=columns, digest=digest.hexdigest() if named else table.digest)
    if problems:
        refuse_but(problems, select_rows(whole, there))
    return whole


def _named(value: Any) -> str | None:
    """The path in a cell; None where the cell holds the image, or something that is none."""
    if isinstance(value, Mapping):  # as ``datasets`` writes images
        value = None if value.get("bytes") else value.get("path")
    return value if isinstance(value, str) else None


def _bytes_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
