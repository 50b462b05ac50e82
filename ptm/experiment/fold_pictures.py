"""The pictures of examples of a cross-validation, for its page."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import replace

from ptm.config.folds import fold_name
from ptm.config.spec import RunSpec
from ptm.errors import PtmError
from ptm.pipeline import task_module

_PICTURE_PIXELS = 96  # longer side


def pictures_of(spec: RunSpec, folds: int, places: Collection[str]) -> Mapping[str, str]:
    """Where an example stands → its picture as a data: address, for tasks over images. One fold and what it leaves are
    all examples. What cannot be read any more has none."""
    if not places or spec.descriptor.modality != "image":
        return {}
    from ptm.data.image_reading import ImageReading
    from ptm.vision.drawing import png
    from ptm.vision.images import decode

    found: dict[str, str] = {}
    try:
        first = replace(spec, data=replace(spec.data, eval=fold_name(1, folds), test=None))
        data = task_module(spec.task).load_data(first)
        for examples in (data.eval, data.train):
            for row in range(0 if examples is None else len(examples)):
                place = examples.where(row)  # type: ignore[union-attr]
                if place in places:
                    image = decode(examples.columns["image"][row], place, reading=ImageReading.of(spec.data))  # type: ignore[union-attr]
                    image.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS))
                    found[place] = f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
    except PtmError:  # changed since the folds were trained: the page is made without
        return found
    return found
