"""Predictions drawn into their images, as PNG files."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_GOLDEN_ANGLE = 0.618034  # turns
_GAP, _LINE, _LEAST_WIDTH = 4, 15, 160  # pixels: between two pictures, of a line of text, of a panel
_OPACITY = 0.5  # of a mask painted over its image


def png(image: Image.Image) -> bytes:
    """Marked as ptm's, so that a later drawing knows what it may replace
    (:func:`ptm.experiment.outputs.refuse_other_picture`)."""
    buffer, mark = io.BytesIO(), PngInfo()
    mark.add_text("Software", "ptm")
    image.save(buffer, "PNG", pnginfo=mark)
    return buffer.getvalue()


def colour(number: int) -> tuple[int, int, int]:
    """Of a class that is drawn: steps of the golden angle on the colour wheel, so that any few are far apart."""
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN_ANGLE) % 1, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(number: int) -> tuple[int, int, int]:
    """Of a class in a drawn mask: the first is black."""
    return colour(number) if number else (0, 0, 0)


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[tuple[Any, str, float]],
    labels: Sequence[str],
    truth: Sequence[Any] = (),
) -> bytes:
    """The image with each box, a (corners, label, score), its label and its score; a colour a label. ``truth``: corners
    of what is there, in white. Lines have dark edges and labels a ground, so that they show on any picture."""
    from torchvision.utils import draw_bounding_boxes

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    width = max(1, round(min(pixels.shape[1:]) / 200))
    colours = [colour(labels.index(label)) for _, label, _ in boxes]
    corners = torch.tensor([corners for corners, _, _ in boxes]).reshape(-1, 4)
    there = torch.tensor([list(each) for each in truth]).reshape(-1, 4)
    if len(there):
        pixels = draw_bounding_boxes(pixels, there, colors="black", width=width + 2)
        pixels = draw_bounding_boxes(pixels, there, colors="white", width=width)
    if boxes:
        pixels = draw_bounding_boxes(pixels, corners, colors="black", width=width + 2)
        pixels = draw_bounding_boxes(
            pixels,
            corners,
            labels=[f"{label} {score:.2f}" for _, label, score in boxes],
            colors=colours,
            width=width,
            label_colors=["black"] * len(boxes),
            label_background_colors=colours,
            fill_labels=True,
        )
    return png(Image.fromarray(pixels.permute(1, 2, 0).numpy()))


def draw_instances(
    image: Image.Image,
    boxes: Sequence[tuple[Any, str, float]],
    masks: np.ndarray,
    labels: Sequence[str],
    truth: np.ndarray,
) -> bytes:
    """As :func:`draw_boxes`, with the pixels of each box painted in its colour. ``masks``: uint8 [k, height, width],
    one a box; ``truth``: those of what is there, whose outlines are drawn in white."""
    from torchvision.utils import draw_segmentation_masks

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if len(masks):
        colours = [colour(labels.index(label)) for _, label, _ in boxes]
        found = torch.from_numpy(masks).bool()
        pixels = draw_segmentation_masks(pixels, found, alpha=_OPACITY, colors=colours)
    width = max(1, round(min(pixels.shape[1:]) / 200))
    for mask in torch.from_numpy(truth).bool():
        pixels = torch.where(_outline(mask, width + 1), torch.zeros_like(pixels), pixels)
        pixels = torch.where(_outline(mask, width), torch.full_like(pixels, 255), pixels)
    return draw_boxes(Image.fromarray(pixels.permute(1, 2, 0).numpy()), boxes, labels)


def _outline(mask: torch.Tensor, width: int) -> torch.Tensor:
    """The pixels outside of a mask, bool [height, width], that are at most ``width`` pixels away from it."""
    grown = torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * width + 1, stride=1, padding=width)
    return (grown[0, 0] > 0) & ~mask


def with_truth(
    image: Image.Image, predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str], ignored: int
) -> bytes:
    """Side by side: the image with the true classes, uint8 [height, width], painted over it, and with those that are
    predicted; below, the colour of each label. ``ignored``: the class of pixels that do not count; they are grey."""
    from PIL import ImageDraw

    painted = [
        np.array(Image.open(io.BytesIO(paint_classes(image, classes, labels))))
        for classes in (truth, predicted)
    ]
    painted[0][truth == ignored] = 128
    sides = [Image.fromarray(pixels) for pixels in painted]
    width = max(2 * image.width + _GAP, _LEAST_WIDTH)
    entries = [(shade(number), name) for number, name in enumerate(labels)]
    rows = _legend_rows(entries, width)
    panel = Image.new("RGB", (width, image.height + _LINE * (1 + len(rows))), "white")
    draw = ImageDraw.Draw(panel)
    for place, (side, title) in enumerate(zip(sides, ("true", "predicted"), strict=True)):
        left = place * (image.width + _GAP)
        panel.paste(side, (left, _LINE))
        draw.text((left + 2, 1), title, fill="black")
    for row, cells in enumerate(rows):
        top = _LINE + image.height + row * _LINE
        for left, paint, name in cells:
            draw.rectangle((left, top + 3, left + 10, top + 12), fill=paint, outline="black")
            draw.text((left + 14, top + 1), name, fill="black")
    return png(panel)


def _legend_rows(
    entries: Sequence[tuple[tuple[int, int, int], str]], width: int
) -> list[list[tuple[int, tuple[int, int, int], str]]]:
    """(left, colour, name) of each entry, a list a line."""
    rows: list[list[tuple[int, tuple[int, int, int], str]]] = [[]]
    left = 2
    for paint, name in entries:
        needed = 24 + 7 * len(name)
        if left + needed > width and rows[-1]:
            rows.append([])
            left = 2
        rows[-1].append((left, paint, name))
        left += needed
    return rows


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
