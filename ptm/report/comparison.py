"""A comparison of runs as one page, with the examples that one side got right and the other did not."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ptm.base.regular import read_bytes
from ptm.config.evaluation import shown_metric
from ptm.report.batch import spread_text
from ptm.report.page import render_template

# The beginning of a page: what ptm may replace.
PAGE_MARK = b'<!doctype html>\n<html lang="en" data-by="ptm compare">'
_PICTURE_PIXELS = 96  # longer side
_LARGEST_PICTURE = 50_000_000  # bytes of a file that is looked at


def comparison_page(record: Mapping[str, Any], *, pictures: bool = False) -> str:
    """HTML that loads nothing from elsewhere. ``pictures``: with those that the records name, wherever they lie; a
    record that was received may name any picture of its reader's."""
    names = dict.fromkeys(name for side in record["sides"] for name in side["metrics"])
    return render_template(
        "compare.html.j2",
        {
            "title": " against ".join(side["name"] for side in record["sides"]),
            "record": record,
            "metrics": list(names),
            "pictures": _pictures(record) if pictures else {},
            "spread": spread_text,
            "shown": partial(shown_name, record),
        },
    )


def shown_name(record: Mapping[str, Any], metric: str) -> str:
    """A metric with the label that it is of; with those of all sides, where they differ."""
    labels = dict.fromkeys(side.get("positive_label") for side in record["sides"])
    return " / ".join(dict.fromkeys(shown_metric(metric, label) for label in labels))


def _pictures(record: Mapping[str, Any]) -> dict[str, str]:
    """Where an example is a picture file that is still there: its place → a data: address."""
    flips = [row["flips"] for row in record["comparisons"] if row["flips"]]
    examples = [example for both in flips for side in both.values() for example in side["examples"]]
    places = dict.fromkeys(example["where"] for example in examples if isinstance(example.get("where"), str))
    return {place: address for place in places if (address := _picture(Path(place)))}


def _picture(path: Path) -> str:
    from PIL import Image

    from ptm.vision.images import FORMATS

    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_PICTURE:
            return ""
        # Others (EPS) would start external programs.
        image = Image.open(io.BytesIO(read_bytes(path)), formats=FORMATS)
        image.draft("RGB", (_PICTURE_PIXELS, _PICTURE_PIXELS))
        image.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG")
    except Exception:  # a broken file can raise anything; the page is made without its picture
        return ""
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
