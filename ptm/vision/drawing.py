"""Predictions drawn into their images, as PNG files."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

_GOLDEN_ANGLE = 0.618034  # turns
_OPACITY = 0.5  # of a mask painted over its image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def colour(number: int) -> tuple[int, int, int]:
    """Of a class that is drawn: steps of the golden angle on the colour wheel, so that any few are far apart."""
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN_ANGLE) % 1, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(number: int) -> tuple[int, int, int]:
    """Of a class in a drawn mask: the first is black."""
    return colour(number) if number else (0, 0, 0)


def draw_boxes(image: Image.Image, boxes: Sequence[tuple[Any, str, float]], labels: Sequence[str]) -> bytes:
    """The image with each box, a (corners, label, score), its label and its score; a colour a label."""
    from torchvision.utils import draw_bounding_boxes

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if boxes:
        pixels = draw_bounding_boxes(
            pixels,
            torch.tensor([corners for corners, _, _ in boxes]),
            labels=[f"{label} {score:.2f}" for _, label, score in boxes],
            colors=[colour(labels.index(label)) for _, label, _ in boxes],
            width=max(1, round(min(pixels.shape[1:]) / 200)),
        )
    return png(Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def paint_classes(image: Image.Image, classes: np.ndarray, labels: Sequence[str]) -> bytes:
    """The image with ``classes``, uint8 [height, width], painted over it: every class but the first in a colour."""
    from torchvision.transforms.functional import pil_to_tensor
    from torchvision.utils import draw_segmentation_masks

    layers = torch.from_numpy(classes) == torch.arange(1, len(labels))[:, None, None]
    colours = [shade(number) for number in range(1, len(labels))]
    painted = draw_segmentation_masks(pil_to_tensor(image), layers, alpha=_OPACITY, colors=colours)
    return png(Image.fromarray(painted.permute(1, 2, 0).numpy()))


def mask_png(classes: np.ndarray, values: Sequence[int]) -> bytes:
    """A palette PNG of ``classes``, uint8 [height, width]: ``values[c]`` stands for class c, as in the training masks;
    it shows the colours of :func:`paint_classes`."""
    image = Image.fromarray(np.array(values, dtype=np.uint8)[classes])
    palette = np.zeros((256, 3), dtype=np.uint8)
    for number, value in enumerate(values):
        palette[value] = shade(number)
    image.putpalette(palette.tobytes())
    return png(image)


def read_mask_png(content: bytes, values: Sequence[int]) -> np.ndarray:
    """The classes, uint8 [height, width], of what :func:`mask_png` wrote."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(values)] = np.arange(len(values), dtype=np.uint8)
    classes: np.ndarray = table[np.asarray(Image.open(io.BytesIO(content)))]
    return classes
