"""What a segmentation network sees of an image and its mask, which always move together.

One of two scales, for training and evaluation alike. Whole: the longer side of an image becomes ``image_size``.
Own scale: training cuts squares of ``image_size`` out of the image as it is, evaluation takes all of it; for
microscopy, where a pixel means a length. Sides are padded to multiples of 32, which encoders and decoders can halve
five times, with a grey that normalisation brings near zero and, in training, with pixels that do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ptm.base.seeds import uniforms
from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.data.masks import IGNORED, Mask
from ptm.vision.images import decode

MULTIPLE = 32  # pixels
# Red, green, blue of padding: the mean of ImageNet, the same for a teacher and its student.
FILL = (124, 116, 104)

Pair = tuple[np.ndarray, np.ndarray | None]


def padded_side(side: int) -> int:
    """The next multiple of 32."""
    return -(-side // MULTIPLE) * MULTIPLE


def fit_whole(image: Image.Image, side: int) -> Image.Image:
    """An image whose longer side is ``side``, bilinear with antialiasing; the shorter one has at least a pixel."""
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    return image if size == image.size else image.resize((size[0], size[1]), Image.Resampling.BILINEAR)


def fit_mask(classes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Classes on another grid, nearest neighbour; uint8 [height, width]."""
    if classes.shape == (height, width):
        return classes
    return np.asarray(Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST))


def pad(image: np.ndarray, height: int, width: int, fill: Sequence[int]) -> np.ndarray:
    """``fill`` to the right of an image and below it; [height, width, channels]."""
    if image.shape[:2] == (height, width):
        return image
    padded = np.empty((height, width, image.shape[2]), dtype=image.dtype)
    padded[:] = fill
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def cut_square(
    view: np.ndarray, side: int, draws: np.ndarray, *, mirror: bool, fill: Sequence[int]
) -> np.ndarray:
    """A square of ``side`` pixels out of [height, width, channels] at a place that ``draws`` (down, right, mirror)
    give. An image that is not larger is padded by an eighth first, as in :func:`ptm.vision.views.shift_and_mirror`;
    what lies outside of the image is ``fill``."""
    tops = [_offset(length, side, draw) for length, draw in zip(view.shape[:2], draws[:2], strict=True)]
    square = np.empty((side, side, view.shape[2]), dtype=view.dtype)
    square[:] = fill
    (top, left), (height, width) = tops, view.shape[:2]
    inside = view[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    down, right = max(0, -top), max(0, -left)
    square[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return square[:, ::-1] if mirror and draws[2] < 0.5 else square


def _offset(length: int, side: int, draw: float) -> int:
    """Where a window of ``side`` begins: inside the image, or, around a small one, where it still holds most of it."""
    margin = max(1, side // 8) if length <= side else 0
    lowest, highest = min(0, length - side) - margin, max(0, length - side) + margin
    return lowest + int(draw * (highest - lowest + 1))


@dataclass(frozen=True)
class PairReader:
    """Images at the network's scale, uint8 [h, w, 3], with their masks as they are, uint8 classes [h0, w0].

    ``decoded``: all of them, decoded once. ``whole``: the longer side that an image is brought to; None: its own.
    """

    images: Sequence[Any]
    masks: Sequence[Mask] | None
    where: Callable[[int], str]
    whole: int | None
    decoded: Sequence[Pair] | None = None
    reading: ImageReading = AS_STORED

    def __call__(self, index: int) -> Pair:
        return self.decoded[index] if self.decoded is not None else self.read(index)

    def read(self, index: int) -> Pair:
        image = decode(self.images[index], self.where(index), reading=self.reading)
        scaled = image if self.whole is None else fit_whole(image, self.whole)
        return np.asarray(scaled), None if self.masks is None else self.masks[index].classes()


@dataclass(frozen=True)
class SquareViewMaker:
    """Epoch and ids to training views, uint8 [n, side, side, 4]: red, green, blue, class (IGNORED: none).

    A view is a function of (seed, epoch, id) alone. ``augment``: none (the whole image, padded), crop, standard.
    """

    reader: PairReader
    image_size: int
    augment: str
    seed: int

    @property
    def cheap(self) -> bool:
        return self.reader.decoded is not None

    def __call__(self, epoch: int, ids: np.ndarray) -> np.ndarray:
        side = padded_side(self.image_size)
        outside = (*FILL, IGNORED)
        draws = uniforms(self.seed, epoch, ids, 3)
        squares = []
        for index, draw in zip(ids.tolist(), draws, strict=True):
            pixels, classes = self.reader(index)
            assert classes is not None
            view = np.dstack([pixels, fit_mask(classes, *pixels.shape[:2])])
            if self.augment != "none":
                mirror = self.augment != "crop"
                view = cut_square(view, self.image_size, draw, mirror=mirror, fill=outside)
            squares.append(pad(view, side, side, outside))
        return np.stack(squares)
