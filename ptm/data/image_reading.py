"""How a picture is read from its file: which of several pages, and which of its values are black and white.

``data.page`` chooses a page, or a frame, by its number from 0. ``data.image_range: [low, high]`` is for pictures of one
channel with more than 8 bits, or with floating-point numbers: ``low`` becomes black, ``high`` white.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ptm.config.data_section import DataSpec
from ptm.errors import Problem


class Unfit(ValueError):
    """A picture that can be opened, but not be read as the config says."""

    def __init__(self, what: str, expected: str, cure: str) -> None:
        super().__init__(what)
        self.expected, self.cure = expected, cure

    def problem(self, where: str) -> Problem:
        """The same as a message."""
        return Problem(str(self), where, self.expected, self.cure)


class SeveralPages(ValueError):
    """An image file with pages or frames, of which nobody has said which one counts."""


@dataclass(frozen=True)
class ImageReading:
    """``page``: ``data.page``; ``limits``: ``data.image_range``."""

    page: int | None = None
    limits: tuple[float, float] | None = None

    @classmethod
    def of(cls, data: DataSpec) -> ImageReading:
        low_high = data.image_range
        return cls(data.page, None if low_high is None else (low_high[0], low_high[1]))

    @property
    def name(self) -> str:
        """What decides pixels, for fingerprints; "" where nothing is said."""
        page = "" if self.page is None else f" page={self.page}"
        return page + ("" if self.limits is None else " range={:g}..{:g}".format(*self.limits))


AS_STORED = ImageReading()


def at_page(image: Image.Image, page: int | None) -> Image.Image:
    """The image at its page. Raises SeveralPages where there are several and none is chosen (not for MPO, as telephones
    write it: its first picture is the photo), Unfit for a page that it has not."""
    if page is None:
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise SeveralPages(
                f"holds {getattr(image, 'n_frames', 'several')} pages or frames, and no word which one counts"
            )
        return image
    pages = getattr(image, "n_frames", 1)
    if page >= pages:
        raise Unfit(
            f"has {pages} page{'s' if pages > 1 else ''}, and data.page is {page}",
            f"a page from 0 to {pages - 1}: the first one has number 0",
            "choose another data.page, or leave the image out",
        )
    image.seek(page)
    return image


def grey_levels(image: Image.Image, limits: tuple[float, float]) -> np.ndarray:
    """Values from ``limits`` to 0 … 255, rounded: uint8 [height, width]. Raises Unfit for a picture in colours or of 8
    bits, and for values outside: none is cut off."""
    low, high = limits
    if not image.mode.startswith(("I", "F")):
        raise Unfit(
            f"has 8 bits a channel ({image.mode}), whose white is defined",
            "one channel of 16 bits or of floating-point numbers, as data.image_range says",
            "leave data.image_range out, or these images",
        )
    values = np.asarray(image, dtype=np.float64)
    least, most = float(values.min()), float(values.max())
    if not (low <= least and most <= high):  # also where a value is no number
        raise Unfit(
            f"its values go from {least:g} to {most:g}",
            f"values from {low:g} to {high:g}, as data.image_range says",
            "widen data.image_range for all of them, or replace the image",
        )
    levels: np.ndarray = np.floor((values - low) * (255 / (high - low)) + 0.5).astype(np.uint8)
    return levels
