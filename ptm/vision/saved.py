"""``model.json``: what the weights of a saved vision model do not say themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ptm.errors import ModelError
from ptm.models.seals import require_intact

FILE = "model.json"
WEIGHTS = "model.safetensors"
FORMAT = 1

SMALL = 96  # pixels; images up to this side are resized as they are, larger ones are resized and cropped
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_RATIO = 8 / 7  # 256 to 224, the resize before the centre crop since Krizhevsky et al. 2012

_MAX_BYTES = 16_000_000
MAX_SIDE = 8192
_MAX_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an RGB image to a network's input.

    Resize the shorter side to ``resize`` and cut a square of ``image_size`` from the middle (``resize`` None:
    resize both sides to ``image_size``), scale to [0, 1], subtract ``mean``, divide by ``std`` (by channel).
    """

    image_size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def at_size(self, image_size: int) -> Preprocessing:
        """The same for another input size: the same margin around the crop, none for small images."""
        if image_size == self.image_size:
            return self
        ratio = self.resize / self.image_size if self.resize else _RATIO
        resize = None if image_size <= SMALL else round(image_size * ratio)
        return replace(self, image_size=image_size, resize=resize)


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """The content of ``model.json``; ``architecture`` and ``width`` as in the spec, ``labels`` by output."""

    architecture: str
    width: int | None
    labels: tuple[str, ...]
    preprocessing: Preprocessing


def saved_directory(directory: Path) -> Path:
    """``directory``, or its ``model/``, whichever holds a ``model.json``; ModelError when neither does."""
    if not directory.is_dir():
        raise ModelError("there is no such directory", where=directory, cure="correct the name of the model")
    for place in (directory / "model", directory):
        if (place / FILE).is_file():
            require_intact(place)
            return place
    text = any((place / "config.json").is_file() for place in (directory / "model", directory))
    raise ModelError(
        "this is a text model" if text else "holds no finished model of an image task",
        where=directory,
        expected=f"the directory of a finished run (with model/{FILE} in it), or its model/",
        cure="choose the run of an image task"
        if text
        else "continue that run with --resume, until it is finished",
    )


def write_saved(directory: Path, saved: SavedModel) -> None:
    content = {
        "format": FORMAT,
        "task": "image-classification",
        "architecture": saved.architecture,
        "width": saved.width,
        "labels": list(saved.labels),
        **asdict(saved.preprocessing),
    }
    (directory / FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_saved(directory: Path) -> SavedModel:
    """Read and check ``model.json``, whoever wrote it: a value that makes no sense is a ModelError."""
    fields = read_fields(directory, "image-classification")
    image_size = fields.whole("image_size", MAX_SIDE)
    return SavedModel(
        architecture=fields.text("architecture"),
        width=fields.get("width", lambda v: v is None or _is_whole(v, 4096), "a whole number or null"),
        labels=fields.labels(fewest=2),
        preprocessing=Preprocessing(
            image_size=image_size,
            resize=fields.get(
                "resize",
                lambda v: v is None or (_is_whole(v, MAX_SIDE) and v >= image_size),
                f"a whole number from 1 to {MAX_SIDE}, not below image_size, or null",
            ),
            interpolation=fields.get(
                "interpolation", lambda v: v in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"
            ),
            mean=fields.channels("mean", least=-1000.0, expected="three numbers"),
            std=fields.channels("std", least=1e-6, expected="three positive numbers"),
        ),
    )


@dataclass(frozen=True)
class Fields:
    """The content of a ``model.json``, read with a check of each value; ModelError names the file and the key."""

    path: Path
    content: Mapping[str, Any]

    def get(self, key: str, check: Callable[[Any], bool], expected: str) -> Any:
        value = self.content.get(key)
        if not check(value):
            raise ModelError(f"{key} is {_short(value)}", where=self.path, expected=expected)
        return value

    def whole(self, key: str, most: int) -> int:
        return int(self.get(key, lambda v: _is_whole(v, most), f"a whole number from 1 to {most}"))

    def text(self, key: str) -> str:
        return str(self.get(key, lambda v: isinstance(v, str) and 0 < len(v) <= 100, "the name of a model"))

    def labels(self, *, fewest: int) -> tuple[str, ...]:
        expected = f"{fewest} to {_MAX_CLASSES} different names"
        return tuple(self.get("labels", lambda v: _is_labels(v, fewest), expected))

    def channels(self, key: str, *, least: float, expected: str) -> tuple[float, ...]:
        return tuple(self.get(key, lambda v: _is_channels(v, least), expected))


def read_fields(directory: Path, task: str) -> Fields:
    """``model.json`` of a model of ``task``. Raises ModelError for what cannot be read, or is another task's."""
    path = directory / FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=path) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(
            "is not the description of a saved model that this version of ptm knows",
            where=path,
            expected=f'an object with "format": {FORMAT}',
        )
    fields = Fields(path, content)
    fields.get("task", lambda v: v in (None, task), f"a model of task {task}")
    return fields


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_channels(value: Any, least: float) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and least <= v <= 1000 for v in value)
    )


def _is_labels(value: Any, fewest: int) -> bool:
    return (
        isinstance(value, list)
        and fewest <= len(value) <= _MAX_CLASSES
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
