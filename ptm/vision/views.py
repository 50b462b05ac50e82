"""What a network sees of an image: one evaluation view, and a training view for each (seed, epoch, id).

What fits in 1 GiB is decoded once, and batches are cut out of one array; random crops above 96 pixels, and
all that does not fit, are decoded again each time, in worker processes if there are any. Either way a view
is a pure function of (seed, epoch, id): it does not matter who makes it, when, or beside what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from ptm.base.seeds import VIEW, mix, uniforms
from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.vision.augmentation import Augmentation, Mixture, erase, mixture
from ptm.vision.images import Fits, decode, require_pixels
from ptm.vision.preprocessing import SMALL, Preprocessing

MEMORY_LIMIT = 1 << 30  # bytes of decoded pixels of one split that are kept


def view_name(preprocessing: Preprocessing, augmentation: Augmentation) -> str:
    """Everything that determines pixels, and nothing else: mean and std are applied later, by each model."""
    p = preprocessing
    resize = "direct" if p.resize is None else p.resize
    return f"image_size={p.image_size} resize={resize} interpolation={p.interpolation} augment={augmentation.name}"


def fits_memory(count: int, image_size: int, augment: str) -> bool:
    """Whether all evaluation views are kept. Training views of large images are cut from the originals."""
    return count * 3 * image_size**2 <= MEMORY_LIMIT and (augment == "none" or image_size <= SMALL)


def fits_view(preprocessing: Preprocessing) -> Fits:
    """Raises Misfit for sizes of images that :func:`evaluation_view` would make too large: a strip of 1 x 60,000 pixels
    becomes 256 x 15,360,000."""
    p = preprocessing

    def fits(width: int, height: int) -> None:
        side = p.image_size if p.resize is None else p.resize
        scale = 1.0 if p.resize is None else max(width, height) / min(width, height)
        require_pixels(side, int(side * scale), f"resized to {side} pixels, its shorter side,")

    return fits


def evaluation_view(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [s, s, 3]: the same pixels as torchvision's preset for the weights."""
    p = preprocessing
    mode = InterpolationMode(p.interpolation)
    if p.resize is None:
        if image.size != (p.image_size, p.image_size):
            image = v2.functional.resize(image, [p.image_size, p.image_size], mode)
    else:
        image = v2.functional.center_crop(v2.functional.resize(image, [p.resize], mode), [p.image_size])
    return np.asarray(image)


def shift_and_mirror(pixels: np.ndarray, draws: np.ndarray, *, mirror: bool) -> np.ndarray:
    """Pad by 1/8 with black, crop at random, mirror half of them (He et al. 2015, arXiv:1512.03385, 4.2).

    pixels: uint8 [n, s, s, 3]; draws: three numbers in [0, 1) an image (down, right, mirror).
    """
    n, side = pixels.shape[:2]
    pad = max(1, side // 8)
    padded = np.zeros((n, side + 2 * pad, side + 2 * pad, 3), dtype=np.uint8)
    padded[:, pad:-pad, pad:-pad] = pixels
    offsets = (draws[:, :2] * (2 * pad + 1)).astype(np.int64)
    windows = sliding_window_view(padded, (side, side), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)  # no copy
    cut: np.ndarray = windows[np.arange(n), offsets[:, 0], offsets[:, 1]]  # [n, s, s, 3]
    if mirror:
        flipped = draws[:, 2] < 0.5
        cut[flipped] = cut[flipped, :, ::-1]
    return cut


@dataclass(frozen=True)
class ImageViewMaker:
    """Epoch and ids to a batch of views. ``pixels``: all evaluation views, uint8 [n, s, s, 3], if kept."""

    images: Sequence[Any]
    where: Callable[[int], str]
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int
    pixels: np.ndarray | None = None
    reading: ImageReading = AS_STORED

    @property
    def cheap(self) -> bool:
        """Whether a batch takes microseconds, so that a worker process would only add the way to it."""
        return self.pixels is not None and not self.augmentation.per_image()

    def __call__(self, epoch: int, ids: np.ndarray) -> np.ndarray:
        """uint8 [n, s, s, 3]."""
        batch = self._views(epoch, ids)
        if not self.augmentation.mixes:
            return batch
        how = self.mixture(epoch, ids)
        return how.pixels(batch, self._views(epoch, how.partners))

    def mixture(self, epoch: int, ids: np.ndarray) -> Mixture:
        """What each image is mixed with."""
        side = self.preprocessing.image_size
        return mixture(self.augmentation, ids, len(self.images), side, self.seed, epoch)

    def _views(self, epoch: int, ids: np.ndarray) -> np.ndarray:
        augment, each = self.augmentation, bool(self.augmentation.per_image())
        if augment.views == "none" or self.preprocessing.image_size <= SMALL:
            batch = self._evaluation_views(ids)
            if augment.views != "none":
                draws = uniforms(self.seed, epoch, ids, 3)
                batch = shift_and_mirror(batch, draws, mirror=augment.views != "crop")
            if each:
                views = (Image.fromarray(view) for view in batch)
                batch = np.stack([self._draw(view, epoch, i) for view, i in zip(views, ids, strict=True)])
        else:
            batch = np.stack(
                [
                    self._draw(decode(self.images[i], self.where(i), reading=self.reading), epoch, i)
                    for i in map(int, ids)
                ]
            )
        if augment.random_erasing:
            batch = erase(batch, ids, augment.random_erasing, self.seed, epoch)
        return batch

    def _evaluation_views(self, ids: np.ndarray) -> np.ndarray:
        if self.pixels is not None:
            views: np.ndarray = self.pixels[ids]
            return views
        fits = fits_view(self.preprocessing)
        decoded = (decode(self.images[i], self.where(i), fits, self.reading) for i in map(int, ids))
        return np.stack([evaluation_view(image, self.preprocessing) for image in decoded])

    def _draw(self, image: Image.Image, epoch: int, index: int) -> np.ndarray:
        """A random view of one image. torchvision draws from torch's global generator, which is put back."""
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would reseed the GPU as well, in the middle of a run.
            torch.default_generator.manual_seed(mix(self.seed, VIEW, epoch, int(index)))
            return np.asarray(self._transform(image))

    @cached_property
    def _transform(self) -> Callable[[Image.Image], Image.Image]:
        steps: list[torch.nn.Module] = []
        if self.preprocessing.image_size > SMALL and self.augmentation.views != "none":
            mode = InterpolationMode(self.preprocessing.interpolation)
            steps.append(v2.RandomResizedCrop(self.preprocessing.image_size, interpolation=mode))
            if self.augmentation.views != "crop":
                steps.append(v2.RandomHorizontalFlip())
        composed: Callable[[Image.Image], Image.Image] = v2.Compose([*steps, *self.augmentation.per_image()])
        return composed
