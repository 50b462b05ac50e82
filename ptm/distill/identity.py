"""What decides the outputs of a frozen network, and so the name of the store that keeps them."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch

from ptm.config.data_section import LABEL
from ptm.config.folds import is_share
from ptm.config.label_types import CLASS
from ptm.config.spec import DataSpec, RunSpec
from ptm.data.examples import Dataset
from ptm.pipeline import Pipeline, Split
from ptm.training.runtime import Runtime


def store_identity(
    spec: RunSpec, data: Dataset, split: Split, pipeline: Pipeline, weights: str, runtime: Runtime
) -> dict[str, Any]:
    """Everything that decides what ``pipeline`` gives for a split; ``weights`` is the digest of its tensors.

    Outputs are computed in blocks of ``train.eval_batch_size`` examples; how they are padded decides the last bits. The
    keys are a format: with others, no store of an earlier version would be found.
    """
    return {
        "weights": weights,
        "reading": pipeline.output_fingerprint,
        "view": pipeline.input_fingerprint,
        "data": data_identity(spec, data, split),
        "arithmetic": arithmetic(runtime),
        "block": block_size(spec),
    }


def block_size(spec: RunSpec) -> int:
    """Examples that a teacher is run on at once."""
    return spec.train.eval_batch_size


def data_identity(spec: RunSpec, data: Dataset, split: Split) -> dict[str, Any]:
    """Which examples a split has, and in what order."""
    section = spec.data
    held_out = section.eval if is_share(section.eval) else None
    return {
        "split": split,
        "digest": data.digests[split],
        "columns": [section.text, section.text_pair, section.image, section.label or LABEL],
        **({} if section.label_type == CLASS.name else {"label_type": section.label_type}),
        "labels": list(data.labels),
        "held_out": held_out,
        "limit": section.max_train_examples if split == "train" else section.max_eval_examples,
        **({"per_class": section.per_class} if split == "train" and section.per_class else {}),
        **_shared_otherwise(section),
    }


def _shared_otherwise(section: DataSpec) -> dict[str, Any]:
    """What more decides which examples are held out; without it, the stores of earlier versions are found."""
    if not section.held_out:
        return {}
    test = {"test": section.test} if "test" in section.held_out else {}
    keys = {"split_by": section.split_by, "stratify": section.stratify}
    return test | {key: value for key, value in keys.items() if value is not None}


def arithmetic(runtime: Runtime) -> dict[str, Any]:
    """What decides the last bits of a forward pass on this machine."""
    cuda = runtime.device.type == "cuda"
    return {
        "torch": str(torch.__version__),
        "transformers": metadata.version("transformers"),
        "device": torch.cuda.get_device_name(runtime.device) if cuda else "cpu",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": runtime.threads,
        "precision": runtime.precision,
    }


def store_description(spec: RunSpec, teacher: str, split: Split) -> dict[str, Any]:
    """For people (``ptm cache list``): names, which decide nothing."""
    return {"teacher": teacher, "data": spec.data.source, "split": split}
