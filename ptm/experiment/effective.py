"""The config of a run as it is written down: with what the model and the task decided for keys that were left open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptm.config.spec import RunSpec
from ptm.pipeline import Pipeline


def effective_spec(spec: RunSpec, pipeline: Pipeline) -> RunSpec:
    """``spec`` with every value that training uses. It builds the same pipeline again.

    Keys of :data:`ptm.run.directory.DECIDED_KEYS` are filled in; what the machine decides (``runtime``) stands in the
    manifest.
    """
    data: dict[str, Any] = {
        key: value for key, value in pipeline.effective_data.items() if getattr(spec.data, key) is None
    }
    return replace(
        spec,
        data=replace(spec.data, **data),
        train=replace(spec.train, micro_batch_size=spec.train.forward_size),
        generate=spec.generate or pipeline.effective_generate,
    )
