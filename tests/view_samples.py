"""Images and view makers that the tests of vision share."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ptm.vision.augmentation import Augmentation
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.views import ImageViewMaker, evaluation_view


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def preprocessing(image_size: int) -> Preprocessing:
    resize = None if image_size <= 96 else image_size + 8
    return Preprocessing(
        image_size=image_size, resize=resize, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )


def view_maker(
    augment: str | Augmentation, image_size: int, *, decoded: bool = False, seed: int = 1, count: int = 12
) -> ImageViewMaker:
    images = [jpeg(picture(130, 110, seed=i)) for i in range(count)]
    how = Augmentation(augment) if isinstance(augment, str) else augment
    p = preprocessing(image_size)
    pixels = None
    if decoded:
        pixels = np.stack([evaluation_view(Image.open(io.BytesIO(image)), p) for image in images])
    return ImageViewMaker(images, lambda row: f"row {row}", p, how, seed, pixels)
