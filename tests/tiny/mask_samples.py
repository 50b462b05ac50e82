"""Images with masks, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

VALUES = (0, 100, 200)  # background, disc, box
IGNORED = 255


def picture(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [h, w, 3] and its mask: a red disc and a blue box on grey, a row of pixels at the top ignored."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    mask[top : top + height // 3, left : left + width // 3] = VALUES[2]
    cy, cx = rng.integers(height // 3, height), rng.integers(width // 3, width)
    mask[np.hypot(y - cy, x - cx) < height / 4] = VALUES[1]
    colours = {VALUES[0]: (90, 90, 90), VALUES[1]: (220, 60, 60), VALUES[2]: (60, 60, 220)}
    pixels = np.zeros((height, width, 3))
    for value, colour in colours.items():
        pixels[mask == value] = colour
    noisy = (pixels + rng.normal(0, 20, pixels.shape)).clip(0, 255).astype(np.uint8)
    mask[0] = IGNORED
    return noisy, mask


def write_masks(folder: Path, side: int = 32) -> Path:
    """16 pairs in ``train/image`` and ``train/label``, 6 in ``val``: of ``side``, every third a little wider."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 6)):
        for name in ("image", "label"):
            (folder / split / name).mkdir(parents=True)
        for index in range(count):
            height, width = (side - 2, side + 12) if index % 3 == 2 else (side, side)
            pixels, mask = picture(rng, height, width)
            Image.fromarray(pixels).save(folder / split / "image" / f"{index:02d}.png")
            Image.fromarray(mask).save(folder / split / "label" / f"{index:02d}.png")
    return folder
