"""settings.json: what predict.py of an export needs to know, in JSON alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptm.config.spec import RunSpec
from ptm.config.tasks import CAUSAL_LM, IMAGE_CLASSIFICATION, MASKED_LM, SEMANTIC_SEGMENTATION
from ptm.errors import ModelError
from ptm.metrics.decisions import Decisions
from ptm.text.blocks import ends_of
from ptm.text.models import position_limit

_SIXTEEN_BITS = {"black": 0, "scale": 1 / 256, "rounding": 0}
THRESHOLD = 0.5  # of a label's probability, where several may apply


def program_of(spec: RunSpec) -> bytes:
    """The text of predict.py for a task."""
    name = spec.task.replace("-", "_")
    return (Path(__file__).parent / "programs" / f"{name}.py").read_bytes()


def text_settings(
    spec: RunSpec,
    model: Any,
    tokenizer: Any,
    labels: tuple[str, ...],
    inputs: tuple[str, ...],
    decisions: Decisions | None = None,
    of_task: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """``labels`` by output. ``max_length``: tokens that a text is cut to. ``of_task``: what else its program needs.
    Raises ModelError for a tokenizer that the tokenizers package cannot load."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(
            "its tokenizer is not one of the tokenizers package",
            where=spec.model.name,
            expected="a model with tokenizer.json, which predict.py reads without transformers",
            cure="export a run whose model has a fast tokenizer",
        )
    settings: dict[str, Any] = {
        "task": spec.task,
        "label_type": spec.data.label_type,
        "labels": list(labels),
        **decision_settings(decisions, labels),
        "inputs": list(inputs),
        "pair": spec.data.text_pair is not None,
        "max_length": min(int(tokenizer.model_max_length), position_limit(model)),
        "pad_id": int(tokenizer.pad_token_id or 0),
        "pad_token": str(tokenizer.pad_token),
        **of_task,
    }
    if spec.task == MASKED_LM.name:
        settings["mask_id"] = int(tokenizer.mask_token_id)
    if spec.task == CAUSAL_LM.name:
        ends = ends_of(tokenizer)
        settings |= {"begin_id": ends.begin, "end_id": ends.end, "max_length": spec_length(spec, settings)}
    return settings


def spec_length(spec: RunSpec, settings: dict[str, Any]) -> int:
    """Tokens of a block of a language model."""
    return min(spec.data.max_length or settings["max_length"], int(settings["max_length"]))


def image_settings(
    spec: RunSpec, description: Path, inputs: tuple[str, ...], decisions: Decisions | None = None
) -> dict[str, Any]:
    """From ``model.json`` in ``description``."""
    saved = json.loads((description / "model.json").read_text(encoding="utf-8"))
    keys = {
        IMAGE_CLASSIFICATION.name: ("labels", "image_size", "resize", "interpolation", "mean", "std"),
        SEMANTIC_SEGMENTATION.name: ("labels", "image_size", "whole", "mean", "std", "mask_values"),
    }[spec.task]
    common = {
        "task": spec.task,
        "label_type": spec.data.label_type,
        **decision_settings(decisions, saved["labels"]),
        "inputs": list(inputs),
        **_reading_settings(spec),
    }
    return common | {key: saved[key] for key in keys}


def _reading_settings(spec: RunSpec) -> dict[str, float]:
    """Which page is read; and of pictures with more than 8 bits the value that is ``black``, the ``scale`` that brings
    values to 0 … 255, and what is added before fractions are cut off."""
    low, high = spec.data.image_range or (0, 0)
    levels = {"black": low, "scale": 255 / (high - low), "rounding": 0.5} if high > low else _SIXTEEN_BITS
    return {"page": spec.data.page or 0, **levels}


def decision_settings(decisions: Decisions | None, labels: Sequence[str]) -> dict[str, Any]:
    """``temperature``, by which logits are divided, and ``thresholds``: a probability an output. Where several may
    apply, those that reach theirs do; where one does, the one that is furthest above its own."""
    decided = decisions or Decisions()
    thresholds = dict(decided.thresholds)
    if len(thresholds) == 1:  # of two labels: the other one applies where this one does not
        ((label, threshold),) = thresholds.items()
        thresholds = {name: threshold if name == label else 1 - threshold for name in labels}
    return {
        "temperature": decided.temperature,
        "thresholds": [thresholds.get(label, THRESHOLD) for label in labels],
    }
