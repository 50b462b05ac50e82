"""Files of masks: an image of numbers, or of colours, to an array of numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from ptm.data.image_headers import several_pages, unreadable
from ptm.data.image_reading import SeveralPages, Unfit, at_page
from ptm.data.mask_colors import Color, written
from ptm.errors import DataError, listing

IGNORED = 255  # the class of pixels that do not count
REPLACE = "replace the file, or remove the pair"
_FORMATS = ("PNG", "BMP", "TIFF", "PPM")  # without loss
_MODES = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")
_COLORED = ("RGB", "P", "RGBA", "L", "1")
_MOST_PIXELS = 89_478_485  # Pillow's own threshold, where it only warns


def read_values(path: Path, page: int | None = None) -> np.ndarray:
    """What is stored in a mask, uint8 [height, width]; ``page``: of one with pages. Raises DataError for what is no
    mask."""
    values = _read(path, "a mask as PNG: one channel, whose values are classes", page)
    if values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise DataError(
            f"holds the value {int(values.max())}",
            where=path,
            expected="values from 0 to 255",
            cure="number the classes 0, 1, 2, …",
        )
    return values.astype(np.uint8)


def read_color_numbers(path: Path, colors: Sequence[Color], page: int | None = None) -> np.ndarray:
    """Which of ``colors`` each pixel has, uint8 [height, width]; a palette counts as its colours. Raises DataError for
    another colour, with a pixel that has it."""
    pixels = _read(path, "a mask as PNG, whose colours are classes", page, colored=True)
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colors], dtype=np.int32)
    order = np.argsort(known)
    place = np.searchsorted(known[order], codes).clip(0, len(known) - 1)
    numbers: np.ndarray = order[place].astype(np.uint8)
    wrong = known[numbers] != codes
    if wrong.any():
        y, x = (int(part[0]) for part in np.nonzero(wrong))
        others = {tuple(int(v) for v in pixel) for pixel in np.unique(pixels[wrong], axis=0)[:6]}
        red, green, blue = (int(value) for value in pixels[y, x])
        raise DataError(
            f"the pixel x {x}, y {y} has the colour {written((red, green, blue))}, which is none of a class; so have "
            f"{int(wrong.sum())} pixels in all",
            where=path,
            expected=f"one of {listing(map(written, colors))}",
            cure="name it in data.mask_colors"
            if len(others) <= 5
            else "export the mask anew as PNG, without smoothing: it has colours between those of classes",
        )
    return numbers


def color_counts(path: Path) -> dict[str, int]:
    """Pixels of each colour of a mask in colours; none of one with a single channel or a palette. Raises DataError."""
    if read_mode(path) != "RGB":
        return {}
    pixels = _read(path, "a mask as PNG", colored=True)
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return {written((int(r), int(g), int(b))): int(n) for (r, g, b), n in zip(colors, counts, strict=True)}


def read_mode(path: Path) -> str:
    """What Pillow calls its channels; "" of what is no image."""
    try:
        with Image.open(path) as image:
            return str(image.mode)
    except Exception:  # a broken file can raise anything
        return ""


def _read(path: Path, expected: str, page: int | None = None, *, colored: bool = False) -> np.ndarray:
    """The stored values [height, width], or colours [height, width, 3]. A mask of one page is it, whatever page the
    images have."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                at_page(image, page if getattr(image, "is_animated", False) else None)
                _check_kind(image, path, _COLORED if colored else _MODES)
                return np.asarray(image.convert("RGB") if colored else image)
    except DataError:
        raise
    except Unfit as error:
        raise DataError(error.problem(str(path))) from None
    except SeveralPages as error:
        raise DataError(several_pages(error, str(path), path.name)) from None
    except Exception as error:  # a broken file can raise anything; none of it is a bug of ours
        raise DataError(unreadable(path, error, expected, REPLACE)) from None


def _check_kind(image: Image.Image, path: Path, modes: Sequence[str]) -> None:
    if image.format not in _FORMATS:
        raise DataError(
            f"is a {image.format}",
            where=path,
            expected=f"a mask as {', '.join(_FORMATS)}: other formats change values, and a value is a class",
            cure="export the masks anew as PNG; converting the file keeps the changed values",
        )
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(f"{image.width}x{image.height} pixels are more than {_MOST_PIXELS}", where=path)
    if image.mode not in modes:
        channels = [np.asarray(channel) for channel in image.split()[:3]]
        grey = len(channels) == 3 and all(np.array_equal(channels[0], other) for other in channels[1:])
        name = path.name if re.fullmatch(r"[\w.-]+", path.name) else "FILE"
        line = f"python -c \"from PIL import Image; Image.open('{name}').getchannel(0).save('{name}')\""
        raise DataError(
            f"has the channels {image.mode}",
            where=path,
            expected="one channel, or a palette, whose values are classes",
            cure=f"its first channel says it all: {line}"
            if grey or image.mode == "LA"
            else 'say which colour is which class: data.mask_colors: {name: "#rrggbb"}, or a file of colours',
        )


Key = int | str  # what stands for a class: a value in a mask, or the name of a colour or of a shape


class Stored(Protocol):
    """Where a mask comes from."""

    def numbers(self, keys: Sequence[Key]) -> np.ndarray:
        """Which of ``keys`` each pixel has, uint8 [height, width]; IGNORED for any other."""
        ...


@dataclass(frozen=True)
class ValueFile:
    """A file whose values are keys."""

    path: Path
    page: int | None = None

    def read(self) -> np.ndarray:
        """The values, uint8 [height, width]."""
        return read_values(self.path, self.page)

    def numbers(self, keys: Sequence[Key]) -> np.ndarray:
        """See :class:`Stored`."""
        table = np.full(256, IGNORED, dtype=np.uint8)
        table[[int(key) for key in keys]] = np.arange(len(keys), dtype=np.uint8)
        numbers: np.ndarray = table[self.read()]
        return numbers


@dataclass(frozen=True)
class ColorFile:
    """A file whose colours have names."""

    path: Path
    colors: Mapping[str, Color]
    page: int | None = None

    def read(self) -> np.ndarray:
        """Which of the colours each pixel has, uint8 [height, width]."""
        return read_color_numbers(self.path, [*self.colors.values()], self.page)

    def numbers(self, keys: Sequence[Key]) -> np.ndarray:
        """See :class:`Stored`."""
        places = {key: place for place, key in enumerate(keys)}
        table = np.array([places.get(name, IGNORED) for name in self.colors], dtype=np.uint8)
        numbers: np.ndarray = table[self.read()]
        return numbers
