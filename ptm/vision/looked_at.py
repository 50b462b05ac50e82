"""Images that were decoded whole once, and could be, are not looked at again while their files stay the same bytes.

Training decodes them again and again; that none fails in the middle of a run is seen before the first step. What
decides it is the digest of the data, which each start computes anew from all bytes, how images are read, Pillow's
version, and ptm's own code for it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ptm.base import array_cache
from ptm.data import heif, image_reading
from ptm.data.examples import Dataset
from ptm.data.file_column import Files
from ptm.data.image_reading import ImageReading
from ptm.vision.augmentation import Augmentation
from ptm.vision.preprocessing import Preprocessing
from ptm.vision.views import view_name

WORTH_KEEPING = 1.0  # seconds that looking at all images took
LEAST_IMAGES = 2000  # whose headers are kept: 0.4 s to read them
Header = tuple[int, int, int]  # width, height as stored, EXIF's orientation
_MODULES = (
    *(Path(__file__).with_name(f"{name}.py") for name in ("box_views", "images", "views")),
    *(Path(str(module.__file__)) for module in (image_reading, heif)),
)


@dataclass(frozen=True)
class LookedAt:
    """``identity`` is None for data without a digest, which are looked at each time."""

    identity: Mapping[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether it was kept that all of these images can be decoded."""
        return self.identity is not None and array_cache.load(self.identity) is not None

    def once(self, look: Callable[[], None], source: str) -> None:
        """Look at all of them, which raises what is wrong, unless that was done; keep it where it took a second."""
        if self.done:
            return
        begun = time.perf_counter()
        look()
        if time.perf_counter() - begun > WORTH_KEEPING:
            self.keep({"images": "opened once", "data": source})

    def keep(self, about: Mapping[str, Any]) -> None:
        """All of them could be decoded. Where that cannot be kept, they are looked at again next time."""
        if self.identity is not None:
            array_cache.save(
                self.identity,
                {"split": "all", **about},
                array_cache.Content({"looked_at": np.ones(1, np.uint8)}, {}),
            )


def headers_looked_at(images: Sequence[Any], preprocessing: Preprocessing, reading: ImageReading) -> LookedAt:
    """What is known of the headers of these images: whether they fit what the network sees of them."""
    if not isinstance(images, Files):
        return LookedAt(None)
    how = view_name(preprocessing, Augmentation()) + reading.name
    return LookedAt({"headers of": images.digest, "how": how, **_made_by()})


def headers_read(
    data: Dataset, split: str, reading: ImageReading, fits: str, read: Callable[[], Sequence[Header]]
) -> np.ndarray:
    """What the headers of all images of a split say, int64 [n, 3]. ``read`` reads them, and raises what is wrong; of
    many images it is asked once, and again where the data, or ``fits``, what they have to fit, are others."""
    examples = {"train": data.train, "eval": data.eval, "test": data.test}[split]
    assert examples is not None
    of_images = looked_at(data, split, range(len(examples)), reading).identity
    if of_images is None or len(examples) < LEAST_IMAGES:
        return np.array(read(), dtype=np.int64).reshape(-1, 3)
    identity = {**of_images, "headers": fits}
    present = array_cache.load(identity)
    headers = None if present is None else present.arrays.get("headers")
    if headers is None or headers.shape != (len(examples), 3) or headers.dtype != np.dtype("<i8"):
        headers = np.array(read(), dtype="<i8").reshape(-1, 3)
        about = {"rows": "headers of images", "split": split}
        array_cache.save(identity, about, array_cache.Content({"headers": headers}, {}))
    return headers


def looked_at(data: Dataset, split: str, rows: range, reading: ImageReading) -> LookedAt:
    """What is known of these rows of a split."""
    digest = data.digests.get(split)
    if digest is None:
        return LookedAt(None)
    examples = {"train": data.train, "eval": data.eval, "test": data.test}[split]
    assert examples is not None
    which, images = hashlib.sha256(), examples.columns.get("image")
    if isinstance(images, Files):
        which.update(f"{images.digest} {rows}".encode())
    else:
        for row in rows:
            which.update(os.fsencode(f"{examples.where(row)}\0"))
    return LookedAt(
        {
            "images of": digest,
            "looked at": which.hexdigest(),
            "reading": reading.name,
            **_made_by(),
        }
    )


def _made_by() -> dict[str, Any]:
    return {"code": array_cache.code_digest(*_MODULES), "versions": [PIL.__version__, np.__version__]}
