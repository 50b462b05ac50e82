"""What must hold between the keys of ``data:`` that say how images and masks are read."""

from __future__ import annotations

from collections.abc import Iterator

from ptm.config.spec import RunSpec

Complaints = Iterator[tuple[tuple[str, ...], str, str]]  # key path, what, cure


def check_masks(spec: RunSpec) -> Complaints:
    """Keys of masks that mean nothing where classes have names, or the other way round."""
    data, kind = spec.data, spec.data.source.partition(":")[0]
    named = data.mask_colors is not None or kind in ("labelme", "coco")
    for key in ("mask_values", "ignore_value"):
        if named and getattr(data, key) is not None:
            yield (
                ("data", key),
                f"{key} is for masks of numbers; here classes have names",
                "use ignore_label" if key == "ignore_value" else "remove it: labels says the order",
            )
    if data.ignore_label is not None and not named:
        what = "ignore_label is for classes with names (mask_colors, labelme:, coco:)"
        yield ("data", "ignore_label"), what, "use ignore_value"
    if data.mask_colors is not None and kind != "masks":
        yield ("data", "mask_colors"), f"{kind}: has shapes, not colours", "remove it"


def check_reading(spec: RunSpec) -> Complaints:
    """What black and white are."""
    limits = spec.data.image_range
    if limits is None:
        return
    if len(limits) != 2:
        what = f"image_range has {len(limits)} number{'' if len(limits) == 1 else 's'}"
        yield ("data", "image_range"), what, "give two: the value that is black, and the one that is white"
    elif not limits[0] < limits[1]:
        yield ("data", "image_range"), f"{limits[0]:g} is not below {limits[1]:g}", "give black before white"
