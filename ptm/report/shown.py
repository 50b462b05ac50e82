"""What a page shows of single examples, kept beside it: whoever writes the page again has neither data nor model."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.report.inputs import mapping, read_json

FILE = "shown.json"
DRAWING_PIXELS = 360  # longer side of a drawn prediction
_PNG = b"\x89PNG\r\n\x1a\n"

Examples = Callable[[int], dict[str, Any]]
Drawings = Callable[[int, Mapping[str, Any]], bytes | None]
Insights = Callable[[int, str], dict[str, Any]]


@dataclass(frozen=True)
class Views:
    """``examples(id)``: ``{"text" | "image_png", "where"}`` of an evaluated example; ``drawings(id, prediction)``: a
    PNG of it with the prediction drawn in, or None; ``insights(id, label)``: :meth:`ptm.pipeline.Pipeline.insight`."""

    examples: Examples
    drawings: Drawings
    insights: Insights


class Recorder:
    """``views``: the same as those given, with drawings no larger than a page shows them; what they show is kept."""

    def __init__(self, views: Views) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._of = views
        self.views = Views(self._example, self._drawing, self._insight)

    def write(self, run: Path) -> None:
        files.write_file(run / FILE, json.dumps(self._rows, ensure_ascii=False).encode("utf-8", "replace"))

    def _keep(self, index: int, part: str, content: Mapping[str, Any]) -> None:
        self._rows.setdefault(str(index), {})[part] = {name: _written(v) for name, v in content.items()}

    def _example(self, index: int) -> dict[str, Any]:
        content = self._of.examples(index)
        self._keep(index, "example", content)
        return content

    def _drawing(self, index: int, prediction: Mapping[str, Any]) -> bytes | None:
        drawing = _thumbnail(self._of.drawings(index, prediction))
        self._keep(index, "drawing", {"drawing_png": drawing})
        return drawing

    def _insight(self, index: int, label: str) -> dict[str, Any]:
        content = self._of.insights(index, label)
        self._keep(index, "insight", {"label": label, **content})
        return content


def kept_views(run: Path, notes: list[str]) -> Views | None:
    """What was shown when the run ended; None of a run that kept nothing. The file may come from a stranger: pictures
    in it are PNG or left out, and no more is made of the rest than text and numbers."""
    if not (run / FILE).is_file():
        return None
    rows = read_json(run / FILE, notes)

    def part(index: int, name: str) -> Mapping[str, Any]:
        return mapping(mapping(rows.get(str(index))).get(name))

    def example(index: int) -> dict[str, Any]:
        return {name: _read(name, value) for name, value in part(index, "example").items()}

    def drawing(index: int, prediction: Mapping[str, Any]) -> bytes | None:
        png: bytes | None = _read("drawing_png", part(index, "drawing").get("drawing_png"))
        return png

    def insight(index: int, label: str) -> dict[str, Any]:
        content = part(index, "insight")
        if content.get("label") != label:
            return {}
        return {name: _read(name, value) for name, value in content.items()}

    return Views(example, drawing, insight)


def _written(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _read(name: str, value: Any) -> Any:
    if name.endswith("_png"):
        try:
            png = base64.b64decode(value if isinstance(value, str) else "", validate=True)
        except (binascii.Error, ValueError):
            return None
        return png if png.startswith(_PNG) else None
    if name == "words":
        pairs = value if isinstance(value, list) else []
        return [(str(pair[0]), float(pair[1])) for pair in pairs if _is_evidence(pair)]
    return value if isinstance(value, str | int | float) else None


def _is_evidence(pair: Any) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], int | float):
        return False
    try:
        return math.isfinite(pair[1])
    except OverflowError:
        return False


def _thumbnail(png: bytes | None) -> bytes | None:
    if png is None:
        return None
    from PIL import Image

    image = Image.open(io.BytesIO(png))
    image.thumbnail((DRAWING_PIXELS, DRAWING_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
