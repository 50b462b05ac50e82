"""Files, bytes and arrays to RGB images, whatever their mode; what cannot be decoded is refused by row.

Pillow decodes, because its resize is the reference that published ImageNet accuracies were measured with.
Only common raster formats are tried: others (EPS) would start external programs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ptm.base.regular import endless
from ptm.data import heif
from ptm.data.image_headers import several_pages
from ptm.data.image_reading import AS_STORED, ImageReading, SeveralPages, Unfit, at_page, grey_levels
from ptm.errors import DataError, Problem, refuse

MAX_PIXELS = 89_478_485  # Pillow's own threshold, where it only warns: 256 MB a decoded image

Fits = Callable[[int, int], None]  # raises Misfit for images of this width and height

_TWELVE_BITS = 1 << 12
_CHUNK = 256  # images a task of the thread pool
_SMALL_FILE = 4096  # bytes

Image.init()  # formats asked for by name are not loaded on demand
_NAMES = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _NAMES if name in Image.OPEN)  # AVIF needs a library
# Refused below with a proper message; the warning would only be noise before it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Misfit(ValueError):
    """An image that can be decoded, but not be made an input of the network: its text says why."""


def any_size(width: int, height: int) -> None:
    """Every image fits."""


def require_pixels(width: int, height: int, what: str) -> None:
    """Raise Misfit where an image would be made as large as this, or would have no pixel left."""
    if not 0 < width * height <= MAX_PIXELS:
        raise Misfit(f"{what} it has {width}x{height} pixels")


def decode(item: Any, where: str, fits: Fits = any_size, reading: ImageReading = AS_STORED) -> Image.Image:
    """The image as RGB, upright. ``item``: path, encoded bytes, ``{"bytes", "path"}``, uint8 [h, w(, 3)].

    Raises DataError, also for an image that is not decoded because it does not ``fit``.
    """
    try:
        if isinstance(item, np.ndarray):
            image = at_page(Image.fromarray(_as_pixels(item)), reading.page)
            fits(*image.size)
            return to_rgb(image, reading.limits)
        with stream_of(item) as stream:
            image = _open(stream, reading.page)
            fits(*image.size)
            image.load()  # nothing is decoded before
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image, reading.limits)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # a hostile or broken file can raise anything; none of it is a bug of ours
        raise DataError(_unreadable(item, where, error)) from None


def to_rgb(image: Image.Image, limits: tuple[float, float] | None = None) -> Image.Image:
    """Any mode to RGB: 16 bits scaled to 8, palettes and CMYK converted, transparency laid over white. ``limits``: the
    values that are black and white, see :func:`ptm.data.image_reading.grey_levels`."""
    if limits is not None:
        return Image.fromarray(grey_levels(image, limits)).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # Pillow's own conversion would cut off at 255
        values = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unfit(
            "its values are floating-point numbers without a defined white",
            "an image in 8 or 16 bits, or the values that are black and white",
            "say them: data.image_range: [low, high]",
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def check_headers(
    images: Sequence[Any],
    where: Callable[[int], str],
    threads: int,
    fits: Fits = any_size,
    page: int | None = None,
) -> None:
    """Open every image without decoding it (0.1 ms each); DataError names what is none, too large, or does not fit."""

    def check(rows: range) -> list[Problem]:
        problems = []
        for row in rows:
            item = images[row]
            try:
                if isinstance(item, np.ndarray):
                    fits(*_as_pixels(item).shape[1::-1])
                    continue
                with stream_of(item) as stream:
                    fits(*_open(stream, page).size)
            except Exception as error:  # as in decode
                problems.append(_unreadable(item, where(row), error))
        return problems

    refuse(_in_threads(check, len(images), threads), noun="images")


def find_unreadable(
    images: Sequence[Any],
    where: Callable[[int], str],
    threads: int,
    advance: Callable[[int], None],
    fits: Fits = any_size,
    reading: ImageReading = AS_STORED,
) -> list[Problem]:
    """Decode every image whole, and keep none: what is cut short shows at its end only. ``advance`` is told how many
    are done."""
    done = 0

    def check(rows: range) -> tuple[int, list[Problem]]:
        problems: list[Problem] = []
        for row in rows:
            try:
                decode(images[row], where(row), fits, reading)
            except DataError as error:
                problems += error.problems
        return len(rows), problems

    unreadable: list[Problem] = []
    with ThreadPoolExecutor(threads) as pool:
        for count, problems in pool.map(check, _chunks(len(images), threads)):
            done += count
            unreadable += problems
            advance(done)
    return unreadable


def few_bits(item: Any, page: int | None = None) -> int | None:
    """The highest value of a picture of 16 bits a channel that uses 12 of them or fewer; None for any other."""
    if isinstance(item, np.ndarray):
        return None
    try:
        with stream_of(item) as stream, _open(stream, page) as image:
            highest = int(np.asarray(image).max()) if image.mode.startswith("I") else 0
    except Exception:  # told by whoever decodes it
        return None
    return highest if 255 < highest < _TWELVE_BITS else None


def mode_of(item: Any, page: int | None = None) -> str:
    """What Pillow calls the channels of an image as it is stored: ``RGB``, ``L``, ``RGBA``, ``P``, ``CMYK``, …; "" for
    what cannot be opened."""
    try:
        with stream_of(item) as stream, _open(stream, page) as image:
            return str(image.mode)
    except Exception:  # told by whoever decodes it
        return ""


def decode_all(
    images: Sequence[Any],
    where: Callable[[int], str],
    view: Callable[[Image.Image], np.ndarray],
    image_size: int,
    threads: int,
    fits: Fits = any_size,
    reading: ImageReading = AS_STORED,
) -> np.ndarray:
    """``view`` of every image, uint8 [n, image_size, image_size, 3]; DataError names the unreadable ones.

    Pillow decodes and resizes outside the interpreter lock, so threads help with photographs. Pictures of a kilobyte
    spend most of their time inside it, and wait for each other: 20,000 of 32x32 take 2.3 s, and 3.5 s in 16 threads.
    """
    pixels = np.empty((len(images), image_size, image_size, 3), dtype=np.uint8)

    def fill(rows: range) -> list[Problem]:
        problems: list[Problem] = []
        for row in rows:
            try:
                pixels[row] = view(decode(images[row], where(row), fits, reading))
            except DataError as error:
                problems += error.problems
        return problems

    middle = len(images) // 2
    small = len(images) > 0 and all(_is_small(images[i]) for i in (0, middle))
    refuse(_in_threads(fill, len(images), 1 if small else threads), noun="images")
    return pixels


def _in_threads(work: Callable[[range], list[Problem]], count: int, threads: int) -> list[Problem]:
    with ThreadPoolExecutor(threads) as pool:  # closed again before any worker process is forked
        return [problem for problems in pool.map(work, _chunks(count, threads)) for problem in problems]


def _chunks(count: int, threads: int) -> list[range]:
    chunk = max(1, min(_CHUNK, count // (4 * threads)))
    return [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def stream_of(item: Any) -> io.BufferedIOBase:
    """The encoded bytes of an image. Raises OSError or ValueError where there are none."""
    if isinstance(item, Mapping):
        item = item.get("bytes") or item.get("path")
    if isinstance(item, (bytes, bytearray)):
        return io.BytesIO(item)
    if isinstance(item, (str, Path)):
        if kind := endless(Path(item)):
            raise ValueError(f"is {kind}, not an image")
        return Path(item).open("rb")
    raise ValueError(
        "there is no image in this row" if item is None else f"a {type(item).__name__} is no image"
    )


def _open(stream: io.BufferedIOBase, page: int | None = None) -> Image.Image:
    # Any bytes may look like a TGA, which has no mark of its own; so its name must say it.
    targa = str(getattr(stream, "name", "")).lower().endswith(".tga")
    formats = ("TGA",) if targa else (heif.FORMAT,) if heif.prepare(stream) else FORMATS
    image: Image.Image = Image.open(stream, formats=formats)  # type: ignore[arg-type]
    _require_size(image)
    image = at_page(image, page)
    _require_size(image)  # pages of a TIFF may differ
    return image


def _require_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")


def _as_pixels(array: np.ndarray) -> np.ndarray:
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,))
        or not array.size
    ):
        raise ValueError(f"an array of {array.dtype} {list(array.shape)} is no image")
    return array


def _unreadable(item: Any, where: str, error: Exception) -> Problem:
    if isinstance(error, SeveralPages):
        return several_pages(error, where, Path(item).name if isinstance(item, str | Path) else "FILE")
    if isinstance(error, Unfit):
        return error.problem(where)
    if isinstance(error, UnidentifiedImageError):
        what = "is not an image" if _length(item) else "is empty"
    elif isinstance(error, Misfit):
        return Problem(
            str(error),
            where,
            f"an image that has from 1 to {MAX_PIXELS:,} pixels when it is resized",
            "cut the image or leave it out, or choose another data.image_size",
        )
    elif isinstance(error, OSError) and error.strerror:
        what = f"cannot be opened: {error.strerror}"
    else:
        what = f"cannot be decoded: {error or type(error).__name__}"
    return Problem(
        what,
        where,
        "an image in 8 or 16 bits, RGB or convertible to it, as JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000, "
        "AVIF, HEIC or TGA",
        "replace or remove the image" if where == str(item) else "replace the image or remove the row",
    )


def _is_small(item: Any) -> bool:
    """Whether decoding an image takes about as long as the interpreter's part of it."""
    if isinstance(item, np.ndarray):
        return True
    try:
        with stream_of(item) as stream:
            return len(stream.read(_SMALL_FILE)) < _SMALL_FILE
    except (OSError, ValueError):
        return False


def _length(item: Any) -> int:
    try:
        with stream_of(item) as stream:
            return len(stream.read(1))
    except (OSError, ValueError):
        return 0
