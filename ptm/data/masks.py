"""Images with masks, checked before anything starts: ``masks:FOLDER``, a folder of images and one of masks with the
same file stems, and shapes that are drawn on images (``labelme:``, ``coco:``).

A mask is an image of one channel, or of a palette, whose values are classes, or one of colours. Masks are small next to
what a wrong one costs: all of them are decoded once here, so that a value without a class has a path and a count.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.attributes import path_attributes
from ptm.data.drawings import DrawnSplit, read_coco_drawings, read_labelme
from ptm.data.entries import below, files_among
from ptm.data.examples import Dataset, Examples
from ptm.data.file_digests import digests_of_paths
from ptm.data.image_files import contents, leftovers
from ptm.data.image_headers import read_header
from ptm.data.image_listing import IMAGE_SUFFIXES
from ptm.data.label_warnings import untaught_warning
from ptm.data.mask_colors import Color, read_colors
from ptm.data.mask_files import (
    IGNORED,
    REPLACE,
    ColorFile,
    Key,
    Stored,
    ValueFile,
)
from ptm.data.mask_labels import UNKNOWN, label_values, named_labels
from ptm.data.partial import refuse_but
from ptm.data.polygons import BACKGROUND
from ptm.data.splits import make_dataset, read_splits
from ptm.data.tables import no_source
from ptm.errors import DataError, Problem, listing, refuse

__all__ = ["FOLDERS", "IGNORED", "UNKNOWN", "Mask", "NoMask", "load_masks", "mask_folders"]

FOLDERS = (
    ("image", "label"),
    ("image", "mask"),
    ("images", "labels"),
    ("images", "masks"),
    ("JPEGImages", "SegmentationClass"),  # Pascal VOC's, as CVAT exports masks
)

DRAWN: Mapping[str, Callable[[Path, str | None, int | None], DrawnSplit]] = {
    "labelme": read_labelme,
    "coco": read_coco_drawings,
}


@dataclass(frozen=True)
class Mask:
    """One mask: ``keys[c]`` stands for class c, all else for no class. ``pixels`` are counts a class."""

    stored: Stored
    keys: tuple[Key, ...]
    size: tuple[int, int]  # width, height
    pixels: tuple[int, ...]

    @property
    def values(self) -> tuple[int, ...]:
        """The value of each class in a mask that is written: as it was read, or its number."""
        return tuple(key if isinstance(key, int) else place for place, key in enumerate(self.keys))

    def classes(self) -> np.ndarray:
        """Class numbers, uint8 [height, width]; IGNORED where nothing counts."""
        return self.stored.numbers(self.keys)


@dataclass(frozen=True)
class NoMask:
    """In the place of a mask, of an image that a student learns from its teacher alone. ``size``: width, height."""

    size: tuple[int, int]
    pixels: tuple[int, ...]  # 0 a class

    def classes(self) -> np.ndarray:
        """UNKNOWN everywhere, uint8 [height, width]."""
        return np.full(self.size[::-1], UNKNOWN, dtype=np.uint8)


@dataclass(frozen=True)
class _Pair:
    image: Path
    stored: Stored | None
    size: tuple[int, int]
    counts: Mapping[Key, int]  # pixels a key
    where: Path


@dataclass(frozen=True)
class _Split:
    """Pairs by rising name, and the SHA-256 over names, sizes and bytes of all their files. ``names``: of the classes
    that a file states."""

    pairs: tuple[_Pair, ...]
    digest: str
    names: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def labelled(self) -> bool:
        return self.pairs[0].stored is not None


def mask_folders(root: Path) -> set[Path]:
    """Folders of images in ``root`` that are no inputs but masks: those beside a folder of images, by their names."""
    pairs = (*FOLDERS, ("JPEGImages", "SegmentationObject"))
    folders = [path for path in (root, *below(root)) if path.is_dir()]
    return {folder / masks for folder in folders for images, masks in pairs if (folder / images).is_dir()}


def load_masks(
    data: DataSpec, *, labels: tuple[str, ...] | None = None, train: bool = True, unlabelled: bool = False
) -> Dataset:
    """Columns ``image`` (paths) and ``mask`` (:class:`Mask`), no targets. ``labels`` are a trained model's own.
    ``unlabelled``: the training split may be images alone; then it has :class:`NoMask`.

    Raises ConfigError for a split that is not there, DataError for images without masks (and the reverse), files
    that cannot be read, sizes that differ, and values that have no class.
    """
    kind, _, place = data.source.partition(":")
    source = Path(place)
    colors = None if data.mask_colors is None else read_colors(data.mask_colors)

    def read(name: str | None, split: str) -> _Split:
        if kind in DRAWN:
            return _drawn(DRAWN[kind](source, name, data.page))
        images = split == "train" and not data.held_out and train and unlabelled
        bare = _read_images(source, name, data.page) if images else None
        return bare or _read_split(source, name, colors, data.page)

    splits = read_splits(data, read, train=train)
    if splits.unread and colors is None and kind not in DRAWN and data.mask_values is None:
        raise DataError(splits.unread)  # which values are classes, all masks together say
    pairs = splits.first.pairs if splits.first.labelled else splits.eval.pairs
    names: tuple[str, ...]
    values: tuple[Key, ...]
    if colors is not None or kind in DRAWN:
        pairs_there = [pair for table in splits.tables for pair in table.pairs]
        there = {str(key) for pair in pairs_there for key in pair.counts}
        stated = [name for table in splits.tables for name in table.names] if colors is None else [*colors]
        names = values = named_labels(data, labels, there, stated)
    else:
        occurring = sorted({int(value) for pair in pairs for value in pair.counts} - {data.ignore_value})
        names, values = label_values(data, labels, occurring=occurring, where=str(pairs[0].where.parent))
    warnings = [problem for table in splits.tables for problem in table.warnings]
    skipped = leftovers(source)
    warnings += [] if skipped is None else [skipped]

    def check_train(examples: Examples) -> None:
        if isinstance(examples.columns["mask"][0], NoMask):
            return
        untaught = _untaught(examples, names, str(source))
        warnings.extend(untaught_warning(untaught, names, data.max_train_examples is not None))

    dataset = make_dataset(
        data,
        splits,
        names,
        lambda split: _examples(split.pairs, values, data),
        train=train,
        check_train=check_train,
    )
    return replace(dataset, warnings=(*warnings, *dataset.warnings))


def _drawn(split: DrawnSplit) -> _Split:
    pairs = []
    for image, drawing in split.drawings.items():
        keys = tuple(dict.fromkeys([BACKGROUND, *(shape.label for shape in drawing.shapes)]))
        numbers, counts = np.unique(drawing.numbers(keys), return_counts=True)
        found = {keys[number]: int(count) for number, count in zip(numbers, counts, strict=True)}
        pairs.append(_Pair(image, drawing, drawing.size, found, image))
    return _Split(tuple(pairs), split.digest, split.names, split.warnings)


def _read_split(
    source: Path, split: str | None, colors: Mapping[str, Color] | None, page: int | None
) -> _Split:
    images, masks = _folders(source, split)
    by_stem = [_by_stem(folder) for folder in (images, masks)]
    alone = [path for stem, path in by_stem[0].items() if stem not in by_stem[1]]
    orphans = [path for stem, path in by_stem[1].items() if stem not in by_stem[0]]
    problems = [Problem("has no mask", str(p), f"a mask {masks / p.stem}.png", "add it") for p in alone]
    problems += [
        Problem("has no image", str(p), f"an image of that name in {images}", "add it") for p in orphans
    ]
    if not by_stem[0]:
        refuse(problems, noun="files")
        raise DataError(
            "no image in it", where=images, expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    pairs: list[_Pair] = []
    paths: list[Path] = []
    for stem in sorted(by_stem[0].keys() & by_stem[1].keys()):
        image, mask = by_stem[0][stem], by_stem[1][stem]
        paths += [image, mask]
        try:
            pairs.append(_pair(image, mask, colors, page))
        except DataError as error:
            problems += error.problems
    digest = _digest(source, paths)
    if colors is not None:
        digest = hashlib.sha256(f"{digest} {colors}".encode()).hexdigest()
    read = _Split(tuple(pairs), digest)
    refuse_but(problems, read, "files")
    return read


def _read_images(source: Path, split: str | None, page: int | None) -> _Split | None:
    """Images without masks: in ``image/`` or ``images/``, or in the folder itself; None where there are masks."""
    root = source / split if split else source
    if any((root / mask).is_dir() for _, mask in FOLDERS):
        return None
    folders = [root / image for image, _ in FOLDERS if (root / image).is_dir()] or [root]
    images = _by_stem(folders[0]) if folders[0].is_dir() else {}
    pairs: list[_Pair] = []
    problems: list[Problem] = []
    for image in images.values():
        try:
            pairs.append(_Pair(image, None, _upright_size(image, page), {}, image))
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="files")
    return _Split(tuple(pairs), _digest(source, [*images.values()])) if pairs else None


def _digest(source: Path, paths: Sequence[Path]) -> str:
    """SHA-256 over names, sizes and bytes."""
    digest = hashlib.sha256()
    contents, sizes = digests_of_paths(paths)
    for path, size, content in zip(paths, sizes.tolist(), contents, strict=True):
        digest.update(os.fsencode(f"{path.relative_to(source)}\0{size}\0") + content.tobytes())
    return digest.hexdigest()


def _folders(source: Path, split: str | None) -> tuple[Path, Path]:
    root = source / split if split else source
    if not source.is_dir():
        raise no_source(source, "there is no such folder")
    pairs = [(root / a, root / b) for a, b in FOLDERS if (root / a).is_dir() and (root / b).is_dir()]
    if pairs:
        return pairs[0]
    at = root if root.is_dir() else source
    raise DataError(
        f"no split {split!r}" if split else "no folders of images and masks",
        where=source,
        expected=f"{' or '.join(f'{a}/ and {b}/' for a, b in FOLDERS)} in {root}",
        cure=f"there is in {at}: {contents(at)}; name the folder in data.source, a split in data.train "
        "and data.eval, or hold out a fraction: eval: 20%",
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    paths = files_among(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    stems = Counter(path.stem for path in paths)
    doubled = [path for path in paths if stems[path.stem] > 1]
    refuse(
        (
            Problem("shares its stem with another file", str(path), "one file a stem", "rename it")
            for path in doubled
        ),
        noun="files",
    )
    return {path.stem: path for path in paths}


def _upright_size(image: Path, page: int | None) -> tuple[int, int]:
    """Width and height. Raises DataError for what is no image, or stored turned."""
    header = read_header(image, cure=REPLACE, page=page)
    if header.orientation != 1:
        raise DataError(
            "is stored turned (its EXIF orientation says so), and its mask may be turned or not",
            where=image,
            expected="images and masks that are stored upright",
            cure=f"mogrify -auto-orient {image.name}",
        )
    return header.size


def _pair(image: Path, mask: Path, colors: Mapping[str, Color] | None, page: int | None) -> _Pair:
    """Both files' sizes, and the mask's values or the names of its colours. Raises DataError."""
    size = _upright_size(image, page)
    stored = ValueFile(mask, page) if colors is None else ColorFile(mask, colors, page)
    numbers = stored.read()
    height, width = numbers.shape
    if size != (width, height):
        raise DataError(
            f"is {width}x{height}, its image {size[0]}x{size[1]}",
            where=mask,
            expected="image and mask of one size",
            cure="export the mask at the image's size, without smoothing",
        )
    names: Sequence[Key] = range(256) if colors is None else [*colors]
    occurring, counts = np.unique(numbers, return_counts=True)
    found = {names[number]: int(count) for number, count in zip(occurring, counts, strict=True)}
    return _Pair(image, stored, size, found, mask)


def _examples(pairs: Sequence[_Pair], keys: tuple[Key, ...], data: DataSpec) -> Examples:
    """Raises DataError for values without a class and for masks in which nothing counts."""
    ignored = {data.ignore_value, data.ignore_label}
    named = not isinstance(keys[0], int)
    cure = "list the value of each label in data.mask_values, or leave one out with data.ignore_value"
    if named:
        cure = "name it in data.labels, or leave it out with data.ignore_label"
    problems: list[Problem] = []
    for pair in pairs:
        if pair.stored is None:
            continue
        foreign = {key: count for key, count in pair.counts.items() if key not in (*keys, *ignored)}
        if foreign:
            counts = listing((f"{key} ({count} pixels)" for key, count in foreign.items()), most=5)
            what = f"holds {'names' if named else 'values'} without a class: {counts}"
            expected = f"the {'names' if named else 'values'} {listing(keys)}"
            problems.append(Problem(what, str(pair.where), expected, cure))
        elif not pair.counts.keys() - ignored:
            problems.append(Problem("every pixel of it is ignored", str(pair.where), cure="remove the pair"))
    refuse(problems, noun="files")
    masks = [
        NoMask(p.size, (0,) * len(keys))
        if p.stored is None
        else Mask(p.stored, keys, p.size, tuple(p.counts.get(key, 0) for key in keys))
        for p in pairs
    ]
    images = [pair.image for pair in pairs]
    attributes = path_attributes(data, images)
    return Examples(
        {"image": images, "mask": masks}, None, lambda row: str(images[row]), attributes=attributes
    )


def _untaught(examples: Examples, labels: tuple[str, ...], where: str) -> list[str]:
    """The classes without a pixel. Raises DataError where there are not two that have some."""
    counts = np.sum([mask.pixels for mask in examples.columns["mask"]], axis=0)
    empty = [name for name, count in zip(labels, counts, strict=True) if count == 0]
    if len(empty) > len(labels) - 2:
        raise DataError(
            f"no pixel of the training masks has the label {', '.join(empty)}",
            where=where,
            expected="at least two classes to learn",
            cure="correct data.mask_values, or add masks",
        )
    return empty
