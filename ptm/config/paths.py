"""Which values of a spec are paths, and what they are relative to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ptm.config.keys import AND
from ptm.config.spec import DataSpec, DistillSpec, ModelSpec, RunSpec, TeacherSpec
from ptm.config.tasks import FILE_SOURCES

MODEL_KINDS = ("package:", "new:", "timm:", "smp:", "libreyolo:")  # before the colon of a model's name
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".th", ".pt", ".bin")

_Model = TypeVar("_Model", ModelSpec, TeacherSpec)
BaseOf = Callable[..., Path]


def resolve_paths(spec: RunSpec, base_of: BaseOf, cwd: Path) -> RunSpec:
    """The same spec with absolute paths. ``base_of``: what the path of a key is relative to, an absolute folder;
    ``cwd``: what the output is."""

    def resolved(part: _Model, key: str) -> _Model:
        name = _model_name(part.name, base_of(key, "name"))
        return replace(part, name=name, weights=_weights(part.weights, base_of(key, "weights")))

    return replace(
        spec,
        model=_parts(resolved(spec.model, "model"), base_of),
        teacher=_teacher(resolved(spec.teacher, "teacher"), base_of("teacher", "others"))
        if spec.teacher
        else None,
        distill=_distill(spec.distill, base_of("distill", "store")),
        data=_data(spec.data, base_of),
        output=_absolute(spec.output, cwd),
    )


def _data(data: DataSpec, base_of: BaseOf) -> DataSpec:
    colors = data.mask_colors
    if isinstance(colors, str):
        colors = _absolute(colors, base_of("data", "mask_colors"))
    return replace(data, source=_source(data.source, base_of("data", "source")), mask_colors=colors)


def _teacher(teacher: TeacherSpec, base: Path) -> TeacherSpec:
    return replace(teacher, others=tuple(_model_name(name, base) for name in teacher.others))


def _parts(model: ModelSpec, base_of: BaseOf) -> ModelSpec:
    """The paths of a tokenizer and a decoder of their own."""
    tokenizer = model.tokenizer
    if tokenizer not in (None, "train"):
        tokenizer = _model_name(tokenizer, base_of("model", "tokenizer"))
    decoder = model.decoder and _model_name(model.decoder, base_of("model", "decoder"))
    return replace(model, tokenizer=tokenizer, decoder=decoder)


def _distill(distill: DistillSpec | None, base: Path) -> DistillSpec | None:
    if distill is None or distill.store in ("auto", "off"):
        return distill
    return replace(distill, store=_absolute(distill.store, base))


def _source(source: str, base: Path) -> str:
    kind, _, place = source.partition(":")
    if kind not in FILE_SOURCES:
        return source
    places = [place] if _exists(base / place.strip()) else place.split(AND)
    return f"{kind}:{AND.join(_absolute(part.strip(), base) for part in places)}"


def _model_name(name: str, base: Path) -> str:
    if name.startswith(MODEL_KINDS):
        return name
    is_path = name in (".", "..") or name.startswith(("./", "../", "/", "~"))
    return _absolute(name, base) if is_path or ("/" in name and _exists(base / name)) else name


def _weights(weights: str, base: Path) -> str:
    is_path = "/" in weights or weights.lower().endswith(_WEIGHT_SUFFIXES)
    return _absolute(weights, base) if is_path and not weights.startswith(MODEL_KINDS) else weights


def _absolute(path: str, base: Path) -> str:
    full = base / os.path.expanduser(path)  # noqa: PTH111 - leaves an unknown ~user as it is
    # `..` behind a symbolic link leads elsewhere than it looks; other links stay as the user named them.
    return os.path.realpath(full) if ".." in full.parts else str(full)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
