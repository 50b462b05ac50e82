"""What ``ptm bench`` tries in place of what a config says: one setting at a time, each as ``--set`` takes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptm.base.processors import core_count
from ptm.config.load import dump_config, parse_config
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError
from ptm.pipeline import Pipeline
from ptm.training.runtime import Runtime, bf16_units

_MOST_WORKERS = 4

ROUNDING = "the same training, rounded otherwise"
SAME = "the same bits"
OTHER_DRAWS = "the same training, with other random numbers"
OTHER_TRAINING = "another training: compare what it reaches, too"


@dataclass(frozen=True)
class Change:
    """``setting`` for ``--set``; ``effect``: what becomes of the training."""

    setting: str
    effect: str
    spec: RunSpec


def changes_of(spec: RunSpec, pipeline: Pipeline, runtime: Runtime, *, workers_work: bool) -> list[Change]:
    """Those that this config, this model and this machine take. ``workers_work``: whether images are decoded ahead."""
    text = dump_config(spec)
    changes = []
    for setting, effect in _settings(spec, pipeline, runtime, workers_work):
        try:
            changed = parse_config(text, "bench", [setting], base=Path.cwd(), cwd=Path.cwd())
        except ConfigError:  # the config rules it out
            continue
        changes.append(Change(setting, effect, changed))
    return changes


def _settings(
    spec: RunSpec, pipeline: Pipeline, runtime: Runtime, workers_work: bool
) -> Iterator[tuple[str, str]]:
    train, size = spec.train, pipeline.size("train")
    if runtime.precision != "bf16" and bf16_units(runtime.device):
        yield "runtime.precision=bf16", ROUNDING
    elif runtime.precision != "fp32":
        yield "runtime.precision=fp32", ROUNDING
    if runtime.device.type == "cuda" and not spec.runtime.cuda_graphs:
        yield "runtime.cuda_graphs=true", ROUNDING
    if runtime.device.type == "cpu":
        for threads in sorted({1, max(1, core_count() // 2), core_count()} - {runtime.threads}):
            yield f"runtime.threads={threads}", ROUNDING
    if workers_work:
        for workers in sorted({0, 1, min(_MOST_WORKERS, core_count())} - {spec.runtime.workers}):
            yield f"runtime.workers={workers}", SAME
    forward = min(train.forward_size, size)
    for pieces in (2, 4):
        if forward // pieces >= 2:
            yield f"train.micro_batch_size={forward // pieces}", OTHER_DRAWS
    if isinstance(train.micro_batch_size, int) and train.micro_batch_size < train.batch_size:
        yield "train.micro_batch_size=null", OTHER_DRAWS
    if pipeline.lengths("train") is not None:
        yield f"train.group_by_length={str(not train.group_by_length).lower()}", OTHER_DRAWS
    if 2 * train.batch_size <= size:
        yield f"train.batch_size={2 * train.batch_size}", OTHER_TRAINING
    if spec.model.freeze == "none" and spec.model.adapter is None and not train.unfreeze_every:
        if pipeline.embeddings:
            yield "model.freeze=embeddings", OTHER_TRAINING
        if pipeline.head:
            yield "model.freeze=backbone", OTHER_TRAINING
