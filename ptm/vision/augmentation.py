"""What is done to training images beyond cutting and mirroring them: colours, erased parts, mixtures of two.

All of it is a function of (seed, epoch, id): which partner an image is mixed with does not depend on the batch, so that
a teacher sees the same mixtures as its student, whoever makes them, and when.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms import v2

from ptm.base.seeds import ERASE, MIX, mix, uniforms
from ptm.config.spec import DataSpec

_AREA = (0.02, 1 / 3)  # of an image that is erased, as in the paper
_ASPECT = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Augmentation:
    """``views``: ``data.augment``; the others as the keys of their names, 0 for none."""

    views: str = "none"
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, data: DataSpec) -> Augmentation:
        return cls(
            data.augment,
            data.color_jitter or 0.0,
            data.random_erasing or 0.0,
            data.mixup or 0.0,
            data.cutmix or 0.0,
        )

    @property
    def name(self) -> str:
        """What decides pixels, for fingerprints."""
        more = {key: getattr(self, key) for key in ("color_jitter", "random_erasing", "mixup", "cutmix")}
        return " ".join([self.views, *(f"{key}={value:g}" for key, value in more.items() if value)])

    @property
    def random(self) -> bool:
        """Whether a view depends on seed and epoch."""
        return self.name != "none"

    @property
    def mixes(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def per_image(self) -> list[torch.nn.Module]:
        """Transforms of torchvision that each image goes through, after it was cut and mirrored."""
        steps: list[torch.nn.Module] = []
        if self.views == "trivial":
            steps.append(v2.TrivialAugmentWide())  # Müller and Hutter 2021, arXiv:2103.10158
        if self.views == "randaugment":
            steps.append(
                v2.RandAugment()
            )  # Cubuk et al. 2019, arXiv:1909.13719: two operations of magnitude 9
        if self.color_jitter:
            s = self.color_jitter
            steps.append(v2.ColorJitter(brightness=s, contrast=s, saturation=s))
        return steps


def erase(pixels: np.ndarray, ids: np.ndarray, probability: float, seed: int, epoch: int) -> np.ndarray:
    """Of some of the images, uint8 [n, s, s, 3], a rectangle becomes the image's mean colour (Zhong et al. 2017,
    arXiv:1708.04896, alg. 1; there it becomes noise, or a mean)."""
    side = pixels.shape[1]
    chance, area, aspect, down, right = uniforms(mix(seed, ERASE), epoch, ids, 5).T
    size = (_AREA[0] + area * (_AREA[1] - _AREA[0])) * side * side
    ratio = np.exp(np.log(_ASPECT[0]) + aspect * (np.log(_ASPECT[1]) - np.log(_ASPECT[0])))
    heights = np.clip(np.sqrt(size * ratio).round(), 1, side).astype(int)
    widths = np.clip(np.sqrt(size / ratio).round(), 1, side).astype(int)
    tops, lefts = (down * (side - heights + 1)).astype(int), (right * (side - widths + 1)).astype(int)
    erased = pixels.copy()
    for row in np.flatnonzero(chance < probability).tolist():
        mean = pixels[row].mean((0, 1)).round().astype(np.uint8)
        erased[row, tops[row] : tops[row] + heights[row], lefts[row] : lefts[row] + widths[row]] = mean
    return erased


@dataclass(frozen=True)
class Mixture:
    """``partners``: int64 [n], ids of the images that the others are mixed with; ``shares``: float64 [n], what is left
    of each image; ``boxes``: int64 [n, 4] (top, bottom, left, right), what is pasted of the partner, of cut images;
    empty boxes of mixed ones."""

    partners: np.ndarray
    shares: np.ndarray
    boxes: np.ndarray

    def pixels(self, own: np.ndarray, others: np.ndarray) -> np.ndarray:
        """uint8 [n, s, s, 3] of both."""
        share = self.shares[:, None, None, None].astype(np.float32)
        mixed: np.ndarray = (share * own + (1 - share) * others).round().astype(np.uint8)
        for row, (top, bottom, left, right) in enumerate(self.boxes.tolist()):
            if bottom > top:
                mixed[row] = own[row]
                mixed[row, top:bottom, left:right] = others[row, top:bottom, left:right]
        return mixed

    def targets(self, own: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Shares of classes, float32 [n, classes], of both."""
        share = self.shares[:, None].astype(np.float32)
        mixed: np.ndarray = share * own + (1 - share) * others
        return mixed


def mixture(how: Augmentation, ids: np.ndarray, size: int, side: int, seed: int, epoch: int) -> Mixture:
    """MixUp (Zhang et al. 2017, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899) of images ``ids``
    among ``size``, ``side`` pixels wide. Where both are asked for, each image goes through one of them. An epoch's
    partners are a permutation of its images."""
    from scipy.stats import beta

    rng = np.random.Generator(np.random.Philox(key=mix(seed, MIX, epoch)))
    partners = rng.permutation(size)[ids]
    place, coin, down, right = uniforms(mix(seed, MIX), epoch, ids, 4).T
    cuts = coin < 0.5 if how.mixup and how.cutmix else np.full(len(ids), bool(how.cutmix))
    alpha = np.where(cuts, how.cutmix or 1.0, how.mixup or 1.0)
    shares = beta.ppf(place, alpha, alpha)
    half = np.sqrt(1 - shares) * side / 2
    ends = [
        np.clip((centre * side + sign * half).round(), 0, side).astype(np.int64)
        for centre in (down, right)
        for sign in (-1, 1)
    ]
    boxes = np.where(cuts[:, None], np.stack(ends, axis=1), 0)
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    return Mixture(partners, np.where(cuts, 1 - areas / side**2, shares), boxes)
