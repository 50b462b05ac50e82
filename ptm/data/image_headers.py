"""What the first bytes of an image file say: its size, and whether it is shown turned."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ptm.data import heif
from ptm.data.image_reading import SeveralPages, Unfit, at_page
from ptm.errors import DataError, Problem

_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Header:
    """``size``: width and height of the pixels as they are stored; ``orientation``: EXIF's, 1 to 8."""

    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the image as it is shown."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def read_header(path: Path, cure: str = "replace or remove the image", *, page: int | None = None) -> Header:
    """That of ``page``, of the first one where none is chosen. Nothing is decoded. Raises DataError for what is no
    image, or has no such page."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            heif.prepare(path)
            with Image.open(path) as image:
                if page is not None:
                    at_page(image, page)
                orientation = image.getexif().get(_ORIENTATION, 1)
                return Header(image.size, orientation if orientation in range(1, 9) else 1)
    except Unfit as error:
        raise DataError(error.problem(str(path))) from None
    except Exception as error:  # a broken file can raise anything; none of it is a bug of ours
        raise DataError(unreadable(path, error, "an image", cure)) from None


def several_pages(error: SeveralPages, where: str, name: str) -> Problem:
    """What is to be said of it, with a command that makes files of one page each."""
    name = name if re.fullmatch(r"[\w.-]+", name) else "FILE"
    line = (
        "from PIL import Image, ImageSequence; [page.convert('RGB').save(f'page{i}.png') "
        f"for i, page in enumerate(ImageSequence.Iterator(Image.open('{name}')))]"
    )
    cure = "choose one for all images: data.page (0 is the first)"
    if not name.lower().endswith((".heic", ".heif")):  # which a Pillow of its own does not open
        cure += f', or write each to a file of its own and keep those that count: python -c "{line}"'
    return Problem(str(error), where, "an image a file", cure)


def unreadable(path: Path, error: Exception, expected: str, cure: str) -> Problem:
    """Why a file could not be opened or decoded."""
    if isinstance(error, UnidentifiedImageError):
        what = "is not an image" if path.stat().st_size else "is empty"
    elif isinstance(error, OSError) and error.strerror:
        what = f"cannot be opened: {error.strerror}"
    else:
        what = f"cannot be decoded: {error or type(error).__name__}"
    return Problem(what, str(path), expected, cure)
