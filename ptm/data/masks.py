"""``masks:FOLDER``: a folder of images and one of masks with the same file stems, checked before anything starts.

A mask is an image of one channel, or of a palette, whose values are classes. Masks are small next to what a
wrong one costs: all of them are decoded once here, so that a value without a class has a path and a count.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.attributes import path_attributes
from ptm.data.examples import Dataset, Examples
from ptm.data.image_files import IMAGE_SUFFIXES, contents
from ptm.data.image_headers import read_header, unreadable
from ptm.data.label_warnings import untaught_warning
from ptm.data.labels import choose_labels
from ptm.data.splits import make_dataset, read_splits
from ptm.data.tables import no_source
from ptm.errors import ConfigError, DataError, Problem, listing, refuse

IGNORED = 255  # the class of pixels that do not count
UNKNOWN = 254  # of pixels that count, though nobody has said what they are
FOLDERS = (("image", "label"), ("image", "mask"), ("images", "labels"), ("images", "masks"))

_FORMATS = ("PNG", "BMP", "TIFF", "PPM")  # without loss
_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")
_MOST_VALUES = 64  # with more different values, a mask is a picture
_MOST_PIXELS = 89_478_485  # Pillow's own threshold, where it only warns
_REPLACE = "replace the file, or remove the pair"


@dataclass(frozen=True)
class Mask:
    """One mask file: ``values[c]`` stands for class c, ``ignored`` for no class. ``pixels`` are counts a class."""

    path: Path
    values: tuple[int, ...]
    ignored: int | None
    size: tuple[int, int]  # width, height
    pixels: tuple[int, ...]

    def classes(self) -> np.ndarray:
        """Class numbers, uint8 [height, width]; IGNORED where nothing counts."""
        table = np.full(256, IGNORED, dtype=np.uint8)
        table[list(self.values)] = np.arange(len(self.values), dtype=np.uint8)
        classes: np.ndarray = table[read_values(self.path)]
        return classes


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
    mask: Path | None
    size: tuple[int, int]
    counts: Mapping[int, int]  # pixels a value


@dataclass(frozen=True)
class _Split:
    """Pairs by rising name, and the SHA-256 over names, sizes and bytes of all their files."""

    pairs: tuple[_Pair, ...]
    digest: str

    @property
    def labelled(self) -> bool:
        return self.pairs[0].mask is not None


def load_masks(
    data: DataSpec, *, labels: tuple[str, ...] | None = None, train: bool = True, unlabelled: bool = False
) -> Dataset:
    """Columns ``image`` (paths) and ``mask`` (:class:`Mask`), no targets. ``labels`` are a trained model's own.
    ``unlabelled``: the training split may be images alone; then it has :class:`NoMask`.

    Raises ConfigError for a split that is not there, DataError for images without masks (and the reverse), files
    that cannot be read, sizes that differ, and values that have no class.
    """
    source = Path(data.source.partition(":")[2])

    def read(name: str | None, split: str) -> _Split:
        images = split == "train" and not data.held_out and train and unlabelled
        return (_read_images(source, name) if images else None) or _read_split(source, name)

    splits = read_splits(data, read, train=train)
    pairs = splits.first.pairs if splits.first.labelled else splits.eval.pairs
    values_there = sorted({value for pair in pairs for value in pair.counts} - {data.ignore_value})
    names, values = label_values(data, labels, occurring=values_there, where=str(_folder_of(pairs[0])))
    warnings: list[Problem] = []

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


def label_values(
    data: DataSpec, labels: tuple[str, ...] | None, *, occurring: Sequence[int], where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Label names, and the value in a mask of each.

    Where neither the config nor a trained model names labels, they are named by their values. Values:
    ``data.mask_values``, else a model's names where these are numbers, else 0, 1, 2, …; where nothing is said, those
    that are ``occurring`` in the masks.
    """
    names = choose_labels(
        data.labels, labels, None, lambda: tuple(map(str, data.mask_values or _few(occurring, where)))
    )
    values = data.mask_values
    if values is None:
        numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
        named_by_value = data.labels is None and len(numbers) == len(names)
        values = tuple(numbers) if named_by_value else tuple(range(len(names)))
    if len(values) != len(names):
        raise ConfigError(
            f"{len(values)} mask values for {len(names)} labels ({listing(names)})",
            where="data.mask_values",
            expected="the value of each label, in the order of the labels",
        )
    if len(names) < 2:
        raise DataError(
            f"every pixel that counts has the value {names[0]}" if names else "no pixel counts",
            where=where,
            expected="at least two classes",
        )
    if len(set(values)) < len(values) or data.ignore_value in values or len(values) > UNKNOWN:
        raise ConfigError(
            f"mask values {', '.join(map(str, values))}"
            + (f", ignored {data.ignore_value}" if data.ignore_value is not None else ""),
            where="data.mask_values",
            expected=f"at most {UNKNOWN} different numbers, and data.ignore_value none of them",
        )
    return names, values


def _few(values: Sequence[int], where: str) -> Sequence[int]:
    """The values, or DataError where they are too many to be classes."""
    if len(values) > _MOST_VALUES:
        raise DataError(
            f"these masks hold {len(values)} different values",
            where=where,
            expected="a value a class",
            cure="do not smooth or scale masks; name the values that are classes in data.mask_values",
        )
    return values


def read_values(path: Path) -> np.ndarray:
    """What is stored in a mask, uint8 [height, width]. Raises DataError for what is no mask."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_kind(image, path)
                values = np.asarray(image)
    except DataError:
        raise
    except Exception as error:  # a broken file can raise anything; none of it is a bug of ours
        raise DataError(
            unreadable(path, error, "a mask as PNG: one channel, whose values are classes", _REPLACE)
        ) from None
    if values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise DataError(
            f"holds the value {int(values.max())}",
            where=path,
            expected="values from 0 to 255",
            cure="number the classes 0, 1, 2, …",
        )
    return values.astype(np.uint8)


def _check_kind(image: Image.Image, path: Path) -> None:
    if image.format not in _FORMATS:
        raise DataError(
            f"is a {image.format}",
            where=path,
            expected=f"a mask as {', '.join(_FORMATS)}: other formats change values, and a value is a class",
            cure="export the masks anew as PNG; converting the file keeps the changed values",
        )
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(f"{image.width}x{image.height} pixels are more than {_MOST_PIXELS}", where=path)
    if image.mode not in _MODES:
        channels = [np.asarray(channel) for channel in image.split()[:3]]
        grey = len(channels) == 3 and all(np.array_equal(channels[0], other) for other in channels[1:])
        line = f"python -c \"from PIL import Image; Image.open('{path.name}').getchannel(0).save('{path.name}')\""
        raise DataError(
            f"has the channels {image.mode}",
            where=path,
            expected="one channel, or a palette, whose values are classes",
            cure=f"its first channel says it all: {line}"
            if grey or image.mode == "LA"
            else "write a number for each colour into an image of one channel, and name them in data.mask_values",
        )


def _read_split(source: Path, split: str | None) -> _Split:
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
            pairs.append(_pair(image, mask))
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="files")
    return _Split(tuple(pairs), _digest(source, paths))


def _read_images(source: Path, split: str | None) -> _Split | None:
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
            pairs.append(_Pair(image, None, _upright_size(image), {}))
        except DataError as error:
            problems += error.problems
    refuse(problems, noun="files")
    return _Split(tuple(pairs), _digest(source, images.values())) if pairs else None


def _digest(source: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over names, sizes and bytes."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(f"{path.relative_to(source)}\0{path.stat().st_size}\0"))
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _folder_of(pair: _Pair) -> Path:
    return (pair.mask or pair.image).parent


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
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
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


def _upright_size(image: Path) -> tuple[int, int]:
    """Width and height. Raises DataError for what is no image, or stored turned."""
    header = read_header(image, cure=_REPLACE)
    if header.orientation != 1:
        raise DataError(
            "is stored turned (its EXIF orientation says so), and its mask may be turned or not",
            where=image,
            expected="images and masks that are stored upright",
            cure=f"mogrify -auto-orient {image.name}",
        )
    return header.size


def _pair(image: Path, mask: Path) -> _Pair:
    """Both files' sizes, and the mask's values. Raises DataError."""
    size = _upright_size(image)
    values = read_values(mask)
    height, width = values.shape
    if size != (width, height):
        raise DataError(
            f"is {width}x{height}, its image {size[0]}x{size[1]}",
            where=mask,
            expected="image and mask of one size",
            cure="export the mask at the image's size, without smoothing",
        )
    occurring, counts = np.unique(values, return_counts=True)
    return _Pair(image, mask, size, dict(zip(occurring.tolist(), counts.tolist(), strict=True)))


def _examples(pairs: Sequence[_Pair], values: tuple[int, ...], data: DataSpec) -> Examples:
    """Raises DataError for values without a class and for masks in which nothing counts."""
    ignored = data.ignore_value
    known = {*values, ignored}
    problems: list[Problem] = []
    for pair in pairs:
        if pair.mask is None:
            continue
        foreign = {value: count for value, count in pair.counts.items() if value not in known}
        if foreign:
            counts = listing((f"{value} ({count} pixels)" for value, count in foreign.items()), most=5)
            problems.append(
                Problem(
                    f"holds values without a class: {counts}",
                    str(pair.mask),
                    f"the values {listing(values)}",
                    "list the value of each label in data.mask_values, or leave one out with data.ignore_value",
                )
            )
        elif not pair.counts.keys() - {ignored}:
            problems.append(Problem("every pixel of it is ignored", str(pair.mask), cure="remove the pair"))
    refuse(problems, noun="files")
    masks = [
        NoMask(p.size, (0,) * len(values))
        if p.mask is None
        else Mask(p.mask, values, ignored, p.size, tuple(p.counts.get(value, 0) for value in values))
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
