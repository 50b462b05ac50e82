"""What a detector sees of an image and its boxes, which always move together; both upright, whatever EXIF says."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from ptm.base.seeds import VIEW, mix
from ptm.data import heif
from ptm.data.examples import Examples
from ptm.data.image_reading import AS_STORED, ImageReading, at_page
from ptm.data.instances import Rle, decoded
from ptm.errors import DataError, Problem, refuse
from ptm.vision.images import FORMATS, Fits, decode, require_pixels
from ptm.vision.preprocessing import BoxPreprocessing

_ORIENTATION = 0x0112  # the EXIF tag
Target = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes fp32 [k, 4], classes int64 [k], crowd bool [k]


def fits_scale(preprocessing: BoxPreprocessing) -> Fits:
    """Raises Misfit for sizes of images of which scaling to ``longest_side`` leaves nothing."""
    p = preprocessing

    def fits(width: int, height: int) -> None:
        shorter, longer = sorted((width, height))
        scale = min(p.image_size / shorter, p.longest_side / longer)
        sides = (int(width * scale), int(height * scale))
        require_pixels(*sides, f"with no side longer than {p.longest_side} pixels")

    return fits


@dataclass(frozen=True)
class BoxViewMaker:
    """Epoch and ids to views: for each id pixels uint8 [height, width, 3] and its target.

    A training view is a pure function of (seed, epoch, id). ``decoded``: all images, if they are kept. ``learning``:
    leave crowds out. ``masks``: of each image a run-length code a box; then a view ends with masks uint8 [k, height,
    width].
    """

    images: Sequence[Any]
    where: Callable[[int], str]
    targets: Sequence[Target]
    augment: str
    seed: int
    decoded: Sequence[np.ndarray] | None
    learning: bool
    reading: ImageReading = AS_STORED
    masks: Sequence[Sequence[Rle]] | None = None

    @property
    def cheap(self) -> bool:
        return self.decoded is not None and self.augment == "none"

    def __call__(self, epoch: int, ids: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        return [self._view(epoch, index) for index in ids.tolist()]

    def _view(self, epoch: int, index: int) -> tuple[np.ndarray, ...]:
        boxes, classes, crowd = self.targets[index]
        codes = [] if self.masks is None else self.masks[index]
        if self.learning:
            codes = [code for code, many in zip(codes, crowd, strict=False) if not many]
            boxes, classes, crowd = boxes[~crowd], classes[~crowd], crowd[~crowd]
        if self.decoded is None:
            pixels = np.array(decode(self.images[index], self.where(index), reading=self.reading))
        else:
            pixels = self.decoded[index]
        masks = None if self.masks is None else decoded(codes, (pixels.shape[1], pixels.shape[0]))
        if self.augment != "none":
            seed = mix(self.seed, VIEW, epoch, index)
            pixels, boxes, classes, masks = self._random(pixels, boxes, classes, masks, seed)
            crowd = np.zeros(len(classes), dtype=bool)
        return (pixels, boxes, classes, crowd) if masks is None else (pixels, boxes, classes, crowd, masks)

    def _random(
        self, pixels: np.ndarray, boxes: np.ndarray, classes: np.ndarray, masks: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Half of them mirrored; ``crop``: first a part of the image that overlaps the objects more or less (SSD,
        arXiv:1512.02325, 2.2). torchvision draws from torch's global generator, which is put back."""
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(boxes), format="XYXY", canvas_size=image.shape[-2:]
            ),
            "labels": torch.from_numpy(classes),
        }
        if masks is not None:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(masks))
        steps: list[nn.Module] = [v2.RandomHorizontalFlip()]
        if self.augment == "crop" and len(boxes):  # a part is chosen by what it leaves of the boxes
            steps = [v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(), *steps]
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would reseed the GPU as well, in the middle of a run.
            torch.default_generator.manual_seed(seed)
            image, target = v2.Compose(steps)(image, target)
        corners = target["boxes"].as_subclass(Tensor)
        classes, cut = target["labels"].numpy(), None if masks is None else target["masks"].numpy()
        return image.permute(1, 2, 0).numpy(), *_seen(corners.numpy(), classes, cut)


def _seen(
    boxes: np.ndarray, classes: np.ndarray, masks: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """After a cut: boxes no larger than what their masks still show, without those that show nothing."""
    if masks is None or not len(masks):
        return boxes, classes, masks
    seen = masks.any(axis=(1, 2))
    boxes, classes, masks = boxes[seen], classes[seen], masks[seen]
    if not len(masks):
        return boxes, classes, masks
    around = masks_to_boxes(torch.from_numpy(masks)).numpy() + np.array([0, 0, 1, 1], np.float32)
    # A box ends where its polygon does, within the outermost pixels.
    close = np.abs(around - boxes) < 1
    return np.where(close, boxes, around).astype(np.float32), classes, masks


def upright(boxes: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Boxes [k, 4] on the stored pixels, of ``size`` (width, height), where they come to stand when the image is turned
    as its EXIF ``orientation`` (1 to 8, anything else means 1) says."""
    width, height = size
    x, y = boxes[:, [0, 2]], boxes[:, [1, 3]]
    if orientation in (2, 3, 7, 8):
        x = width - x[:, ::-1]
    if orientation in (3, 4, 6, 7):
        y = height - y[:, ::-1]
    if orientation in (5, 6, 7, 8):
        x, y = y, x
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)


def upright_targets(
    examples: Examples, headers: Sequence[tuple[int, int, int]], drawn_on: Literal["upright", "stored"] | None
) -> list[Target]:
    """Boxes where the image is shown upright. ``drawn_on`` says which pixels they refer to.

    None: the annotation's size says it, that of the stored pixels or that of the upright image. Where these are the
    same (turned by 180°, mirrored, or square), it says nothing, and boxes raise DataError; so does a size that is
    neither.
    """
    columns = examples.columns
    if "boxes" not in columns:
        none = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
        return [none] * len(examples)
    targets: list[Target] = []
    problems: list[Problem] = []
    for index, (width, height, orientation) in enumerate(headers):
        boxes, stated = columns["boxes"][index], tuple(columns["size"][index])
        upright_size = (height, width) if orientation >= 5 else (width, height)
        if drawn_on is None and orientation != 1 and upright_size == (width, height) == stated and len(boxes):
            problems.append(_ambiguous(examples.where(index), orientation))
        elif stated in ((width, height), upright_size):
            stored = (
                stated == (width, height) if drawn_on is None or orientation == 1 else drawn_on == "stored"
            )
            boxes = upright(boxes, (width, height), orientation) if stored else boxes
        else:
            problems.append(
                Problem(
                    f"the image has {width}x{height} pixels, its annotation says {stated[0]}x{stated[1]}",
                    examples.where(index),
                    "the same size in both, or boxes may be at the wrong places",
                    "correct the annotation or replace the image",
                )
            )
        targets.append((boxes, columns["classes"][index], columns["crowd"][index]))
    refuse(problems, noun="images")
    return targets


def _ambiguous(where: str, orientation: int) -> Problem:
    return Problem(
        f"its EXIF orientation is {orientation}, and its boxes may refer to the stored pixels or to the image as it is "
        "shown: both have the size that the annotation gives",
        where,
        "data.boxes: upright (drawn on the image as it is shown) or stored (on the pixels as they lie in the file)",
        "look at one of these images with its boxes, then --set data.boxes=upright or --set data.boxes=stored",
    )


def read_header(item: Path | bytes, page: int | None = None) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation. ``item``: a file, or what is in one."""
    try:
        formats = (heif.FORMAT,) if heif.prepare(item) else FORMATS
        with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=formats) as image:
            at_page(image, page)
            orientation = image.getexif().get(_ORIENTATION, 1)
            return image.width, image.height, orientation if orientation in range(1, 9) else 1
    except Exception as error:  # a hostile or broken file can raise anything; none of it is a bug of ours
        raise DataError(
            f"its EXIF data cannot be read: {error}",
            where="" if isinstance(item, bytes) else item,
            cure="replace the image",
        ) from None


def decode_each(
    images: Sequence[Any], where: Callable[[int], str], threads: int, reading: ImageReading = AS_STORED
) -> list[np.ndarray]:
    """uint8 [height, width, 3] each; DataError names the unreadable ones."""

    def pixels(row: int) -> np.ndarray | tuple[Problem, ...]:
        try:
            return np.array(decode(images[row], where(row), reading=reading))
        except DataError as error:
            return error.problems

    with ThreadPoolExecutor(threads) as pool:  # closed again before any worker process is forked
        results = list(pool.map(pixels, range(len(images))))
    problems = (problem for result in results if isinstance(result, tuple) for problem in result)
    refuse(problems, noun="images")
    return [result for result in results if isinstance(result, np.ndarray)]
