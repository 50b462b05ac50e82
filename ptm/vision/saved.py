"""``model.json``: what the weights of a saved vision model do not say themselves, task by task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptm.base.files import utf8
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    INSTANCE_SEGMENTATION,
    OBJECT_DETECTION,
    SEMANTIC_SEGMENTATION,
    Task,
)
from ptm.errors import ModelError
from ptm.models.seals import require_intact, require_own_files
from ptm.vision.preprocessing import INTERPOLATIONS, BoxPreprocessing, MaskPreprocessing, Preprocessing

FILE = "model.json"
WEIGHTS = "model.safetensors"
FORMAT = 1

_MAX_BYTES = 16_000_000
_MAX_SIDE = 8192
_MAX_CLASSES = 1_000_000


def saved_directory(directory: Path) -> Path:
    """``directory``, or its ``model/``, whichever holds a ``model.json``; ModelError when neither does."""
    if not directory.is_dir():
        raise ModelError("there is no such directory", where=directory, cure="correct the name of the model")
    for place in (directory / "model", directory):
        if (place / FILE).is_file():
            require_own_files(place)
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


@dataclass(frozen=True, kw_only=True)
class SavedClassifier:
    """``architecture`` and ``width`` as in the spec, ``labels`` by output; () of a model whose output is a number."""

    architecture: str
    width: int | None
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def write(self, directory: Path) -> None:
        content = {"architecture": self.architecture, "width": self.width, "labels": list(self.labels)}
        _write(directory, IMAGE_CLASSIFICATION, content | asdict(self.preprocessing))


@dataclass(frozen=True, kw_only=True)
class SavedDetector:
    """``backbone`` is None where the architecture has but one.

    ``frozen_eps``: the epsilon of the backbone's frozen batch normalisation; None where it is an ordinary one.
    """

    architecture: str
    backbone: str | None
    frozen_eps: float | None
    labels: tuple[str, ...]
    preprocessing: BoxPreprocessing

    def write(self, directory: Path, anchors: Mapping[str, Any], *, masks: bool = False) -> None:
        """``masks``: it finds instances. ``anchors`` are for people and other programs; ptm computes them again."""
        content = {
            "architecture": self.architecture,
            "backbone": self.backbone,
            "frozen_eps": self.frozen_eps,
            "labels": list(self.labels),
            **asdict(self.preprocessing),
            "anchors": anchors,
        }
        _write(directory, INSTANCE_SEGMENTATION if masks else OBJECT_DETECTION, content)


@dataclass(frozen=True, kw_only=True)
class SavedSegmenter:
    """``labels`` by output; ``backbone`` is None where the architecture has but one."""

    architecture: str
    backbone: str | None
    labels: tuple[str, ...]
    preprocessing: MaskPreprocessing

    def write(self, directory: Path) -> None:
        content = {
            "architecture": self.architecture,
            "backbone": self.backbone,
            "labels": list(self.labels),
        }
        _write(directory, SEMANTIC_SEGMENTATION, content | asdict(self.preprocessing))


def read_classifier(directory: Path) -> SavedClassifier:
    """Read and check ``model.json``, whoever wrote it: a value that makes no sense is a ModelError."""
    fields = read_fields(directory, IMAGE_CLASSIFICATION)
    image_size = fields.whole("image_size", _MAX_SIDE)
    return SavedClassifier(
        architecture=fields.text("architecture"),
        width=fields.get("width", lambda v: v is None or _is_whole(v, 4096), "a whole number or null"),
        labels=() if fields.number else fields.labels(fewest=IMAGE_CLASSIFICATION.fewest_labels),
        preprocessing=Preprocessing(
            image_size=image_size,
            resize=fields.get(
                "resize",
                lambda v: v is None or (_is_whole(v, _MAX_SIDE) and v >= image_size),
                f"a whole number from 1 to {_MAX_SIDE}, not below image_size, or null",
            ),
            interpolation=fields.get(
                "interpolation", lambda v: v in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"
            ),
            mean=fields.mean(),
            std=fields.std(),
        ),
    )


def read_detector(directory: Path, masks: bool = False) -> SavedDetector:
    """As :func:`read_classifier`, of a detector; with ``masks`` of one that finds instances."""
    fields = read_fields(directory, INSTANCE_SEGMENTATION if masks else OBJECT_DETECTION)
    image_size = fields.whole("image_size", _MAX_SIDE)
    return SavedDetector(
        architecture=fields.text("architecture"),
        backbone=fields.backbone(),
        frozen_eps=fields.get(
            "frozen_eps",
            lambda v: v is None or (isinstance(v, float) and 0 <= v < 1),
            "null or a small number",
        ),
        labels=fields.labels(fewest=OBJECT_DETECTION.fewest_labels),
        preprocessing=BoxPreprocessing(
            image_size=image_size,
            longest_side=max(image_size, fields.whole("longest_side", _MAX_SIDE)),
            mean=fields.mean(),
            std=fields.std(),
        ),
    )


def read_segmenter(directory: Path) -> SavedSegmenter:
    """As :func:`read_classifier`, of a segmentation network."""
    fields = read_fields(directory, SEMANTIC_SEGMENTATION)
    labels = fields.labels(fewest=SEMANTIC_SEGMENTATION.fewest_labels)

    def is_values(values: Any) -> bool:
        whole = isinstance(values, list) and all(type(v) is int and 0 <= v <= 255 for v in values)
        return whole and len(set(values)) == len(values) == len(labels)

    mask_values = fields.get("mask_values", is_values, "a different number from 0 to 255 for each label")
    return SavedSegmenter(
        architecture=fields.text("architecture"),
        backbone=fields.backbone(),
        labels=labels,
        preprocessing=MaskPreprocessing(
            image_size=fields.whole("image_size", _MAX_SIDE),
            whole=fields.get("whole", lambda v: isinstance(v, bool), "true or false"),
            mean=fields.mean(),
            std=fields.std(),
            mask_values=tuple(mask_values),
        ),
    )


def _write(directory: Path, task: Task, content: Mapping[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, "task": task.name, **content}, indent=2, ensure_ascii=False)
    (directory / FILE).write_bytes(utf8(text + "\n"))


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

    @property
    def number(self) -> bool:
        """Whether the model has one output, which is a number: it has no names for it."""
        return self.content.get("labels") == []

    def labels(self, *, fewest: int) -> tuple[str, ...]:
        expected = f"{fewest} to {_MAX_CLASSES} different names"
        return tuple(self.get("labels", lambda v: _is_labels(v, fewest), expected))

    def backbone(self) -> str | None:
        expected = "the name of a network, or null"
        name = self.get("backbone", lambda v: v is None or isinstance(v, str), expected)
        return None if name is None else str(name)

    def mean(self) -> tuple[float, ...]:
        return tuple(self.get("mean", lambda v: _is_channels(v, -1000.0), "three numbers"))

    def std(self) -> tuple[float, ...]:
        return tuple(self.get("std", lambda v: _is_channels(v, 1e-6), "three positive numbers"))


def read_fields(directory: Path, task: Task) -> Fields:
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
    fields.get("task", lambda v: v in (None, task.name), f"a model of task {task.name}")
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
