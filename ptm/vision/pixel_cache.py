"""Images that were decoded once are not decoded again: their pixels are kept in the cache by all that decides them.

That is the content of the image files, what the network sees of them, how they are read, Pillow's version, and ptm's
own code for it. Arrays need no decoding, and few images no time: neither is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ptm.base import array_cache
from ptm.data import heif, image_reading
from ptm.data.file_column import Files
from ptm.data.image_reading import ImageReading
from ptm.vision.augmentation import Augmentation
from ptm.vision.images import stream_of
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.views import view_name

# Of pixels, or of the files: 1,300 images of 32 x 32 pixels, or a few photographs, 0.2 s to decode.
LEAST_BYTES = 4_000_000
_PIXELS = "pixels"
# What makes pixels of files.
_MODULES = (
    *(Path(__file__).with_name(f"{name}.py") for name in ("images", "views", "preprocessing")),
    *(Path(str(module.__file__)) for module in (image_reading, heif)),
)


def decode_once(
    decode: Callable[[], np.ndarray],
    images: Sequence[Any],
    preprocessing: Preprocessing,
    reading: ImageReading,
    about: Mapping[str, Any] | None,
) -> tuple[np.ndarray, str]:
    """What ``decode`` makes of these images, uint8 [n, s, s, 3], by :func:`ptm.vision.views.evaluation_view`; and why
    it could not be kept ("" where it was, or was not to be).

    ``about`` is for people (``ptm cache list``); None keeps nothing. What comes from the cache is equal to the bit,
    mapped into memory, and can only be read.
    """
    side = preprocessing.image_size
    shape = (len(images), side, side, 3)
    if about is None:
        return decode(), ""
    view = view_name(preprocessing, Augmentation()) + reading.name
    identity = _identity(images, view)
    if identity is None or max(math.prod(shape), identity["bytes"]) < LEAST_BYTES:
        return decode(), ""
    present = array_cache.load(identity)
    if present is not None:
        pixels = present.arrays.get(_PIXELS)
        if pixels is not None and pixels.shape == shape and pixels.dtype == np.uint8:
            return pixels, ""
    pixels = decode()
    if images.changed() if isinstance(images, Files) else _identity(images, view) != identity:
        return pixels, "they changed while they were read"
    return pixels, array_cache.save(identity, about, array_cache.Content({_PIXELS: pixels}, {})) or ""


def _identity(images: Sequence[Any], view: str) -> dict[str, Any] | None:
    """All that decides the pixels of these images; None for arrays, and for what cannot be read."""
    if isinstance(images, Files):
        return _of_content(images.digest, int(images.sizes.sum()), view)
    sha, size = hashlib.sha256(), 0
    for image in images:
        if isinstance(image, np.ndarray):
            return None
        try:
            with stream_of(image) as stream:
                content = stream.read()
                # The one format that is told by the file's name.
                targa = str(getattr(stream, "name", "")).lower().endswith(".tga")
        except (OSError, ValueError):
            return None
        sha.update(f"{len(content)}{' TGA' * targa}\0".encode())
        sha.update(content)
        size += len(content)
    return _of_content(sha.hexdigest(), size, view)


def _of_content(images: str, size: int, view: str) -> dict[str, Any]:
    return {
        "bytes": size,
        "images": images,
        "view": view,
        "code": array_cache.code_digest(*_MODULES),
        "versions": [PIL.__version__, np.__version__],
    }
