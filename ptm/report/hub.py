"""The card of a model for a hub: its metadata in the hub's format, and no path of this machine.

The format: https://huggingface.co/docs/hub/model-cards#model-card-metadata; results are a ``model-index``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptm.config.paths import MODEL_KINDS
from ptm.config.tasks import TASKS
from ptm.report.inputs import RunFiles, mapping, number

# What ``owner/name`` may be on a hub; it goes into code that a reader is to copy.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# An absolute path of two parts or more, none of an address.
_PATH = re.compile(r"(?<![\w/.])/(?!/)[^\s`\"'|<>(),:]+")
# The hub's names of tasks that it calls otherwise.
_TASKS = {
    "masked-lm": "fill-mask",
    "text-similarity": "sentence-similarity",
    "causal-lm": "text-generation",
    "instance-segmentation": "image-segmentation",
    "semantic-segmentation": "image-segmentation",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a hub is told of a model besides its results. ``licence``: an identifier as the hub has it; ``base``: the
    model on the hub that it was made from; ``quantized``: whether it is an export of fewer bits."""

    name: str  # owner/name
    task: str
    licence: str | None = None
    base: str | None = None
    quantized: bool = False
    source: str = ""  # data.source
    split: str = ""
    metrics: Mapping[str, float]


def published(run: RunFiles, name: str, licence: str | None) -> Published:
    """``run``: as :func:`ptm.report.inputs.read_run` reads it."""
    metrics = {key: number(value) for key, value in run.result("metrics").items()}
    split = "test" if run.tested else "eval"
    return Published(
        name=name,
        task=str(run.results.get("task") or ""),
        licence=licence,
        base=hub_model(run.config),
        source=str(run.spec("data", "source") or ""),
        split=str(run.spec("data", split) or ""),
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
    )


def of_export(model: Published, metrics: Mapping[str, float], quantize: str | None) -> Published:
    """An export of a run's model: its own metrics."""
    return replace(model, metrics=metrics, quantized=quantize is not None)


def hub_model(config: Mapping[str, Any]) -> str | None:
    """The model on the hub that a config begins with; None where it is a directory, a package, or new."""
    model = mapping(config.get("model"))
    name = str(model.get("name") or "")
    task = TASKS.get(str(config.get("task")))
    if task is None or task.modality != "text" or model.get("weights") == "none":
        return None
    if name.startswith((*MODEL_KINDS, ".", "/", "~")) or Path(name).exists():
        return None
    return name if REPOSITORY.fullmatch(name) or re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) else None


def metadata(model: Published) -> str:
    """The head of a README.md, with its two lines of dashes."""
    from huggingface_hub import EvalResult, ModelCardData

    kind = _TASKS.get(model.task, model.task)
    descriptor = TASKS.get(model.task)
    where, _, place = model.source.partition(":")
    on_hub = where == "hub"
    dataset = place.split("@")[0] if on_hub else Path(place).name or where or "unknown"
    results = [
        EvalResult(
            task_type=kind,
            dataset_type=dataset if on_hub else where or "unknown",
            dataset_name=dataset,
            dataset_split=public(model.split) or None,
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in model.metrics.items()
    ]
    loaded = descriptor is not None and bool(descriptor.transformers_pipeline)
    library = "transformers" if loaded else "sentence-transformers" if kind == "sentence-similarity" else None
    data = ModelCardData(
        base_model=model.base,
        license=model.licence,
        pipeline_tag=kind,
        library_name=library,
        tags=["ptm"],
        datasets="/".join(dataset.split("/")[:2]) if on_hub else None,
        model_name=model.name.partition("/")[2] if results else None,
        eval_results=results or None,
        base_model_relation=("quantized" if model.quantized else "finetune") if model.base else None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def public(text: str) -> str:
    """Without the folders of this machine: of an absolute path its last name stays."""
    return _PATH.sub(lambda found: found[0] if not _of_this_machine(found[0]) else _last(found[0]), text)


def private_paths(text: str) -> Iterator[str]:
    """Absolute paths of this machine in a text."""
    return (found[0] for found in _PATH.finditer(text) if _of_this_machine(found[0]))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _of_this_machine(path: str) -> bool:
    """Whether its first two folders are there: a label such as ``/m/0x`` is no path."""
    parts = Path(path.replace("\\", "")).parts  # Markdown escapes
    return len(parts) > 2 and Path(*parts[:3]).exists()
