"""The pipeline of a task over the graph of an export, in the place of a network's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptm.config.model_ref import ModelRef
from ptm.config.spec import RunSpec
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    QUESTION_ANSWERING,
    SEMANTIC_SEGMENTATION,
    TEXT_CLASSIFICATION,
    TEXT_SIMILARITY,
    TOKEN_CLASSIFICATION,
)
from ptm.data.examples import Dataset
from ptm.errors import ConfigError
from ptm.export.directory import DESCRIPTION, GRAPHS
from ptm.export.record import ExportRecord
from ptm.export.session import OnnxModel, ShapeOf, require_inputs
from ptm.export.untrusted import read_graph
from ptm.pipeline import Pipeline, TaskModule
from ptm.training.runtime import Runtime


def require_readable_format(directory: Path, record: ExportRecord) -> None:
    """ConfigError for a .pt2, whoever wrote it: a seal can be written by anyone, and a program of torch.export is
    pickled in parts and names operators of libraries, which nothing holds back once torch loads it."""
    if record.format != "onnx":
        raise ConfigError(
            "this export is in torch's format, which ptm writes and does not read: it may come from a stranger, and "
            "torch checks nothing of what it loads",
            where=directory / GRAPHS[record.format],
            expected="an export in ONNX",
            cure="export the run again with --format onnx; in code of your own, torch.export.load reads it",
        )


_INPUTS = {"text": ("input_ids", "attention_mask", "token_type_ids"), "image": ("pixels",)}


def load_graph(directory: Path, record: ExportRecord, spec: RunSpec, runtime: Runtime) -> OnnxModel:
    """The graph of an export, ready to compute. Raises ModelError for one that ptm does not load, ConfigError for the
    format of torch."""
    require_readable_format(directory, record)
    place = directory / record.graph
    model = OnnxModel(read_graph(place), threads=runtime.threads, where=place)
    require_inputs(model, record.inputs, _INPUTS[spec.descriptor.modality], place)
    return model


def _shape_of(spec: RunSpec, network: Any, outputs: int) -> ShapeOf:
    """What the network, whose weights are not there, would give. ``outputs``: of one over images."""
    if spec.task == SEMANTIC_SEGMENTATION.name:
        return lambda shape: (shape[0], outputs, *shape[2:])
    if spec.task == IMAGE_CLASSIFICATION.name:
        return lambda shape: (shape[0], outputs)
    if spec.task == TEXT_CLASSIFICATION.name:
        return lambda shape: (shape[0], network.config.num_labels)
    if spec.task == TEXT_SIMILARITY.name:
        return lambda shape: (shape[0], network.config.hidden_size)
    if spec.task == QUESTION_ANSWERING.name:
        return lambda shape: (*shape, 2)
    words = spec.task == TOKEN_CLASSIFICATION.name
    width = network.config.num_labels if words else network.get_input_embeddings().num_embeddings
    return lambda shape: (*shape, width)


def open_pipeline(
    directory: Path, record: ExportRecord, spec: RunSpec, data: Dataset, task: TaskModule, runtime: Runtime
) -> Pipeline:
    """The task's pipeline over ``data``, whose forward passes are those of the graph."""
    graph = load_graph(directory, record, spec, runtime)
    ref = ModelRef(name=str(directory.resolve() / DESCRIPTION), bare=True)
    pipeline = task.build(spec, data, model=ref, complete=True)
    labels = task.stored_labels(ref.name) or pipeline.labels
    graph.shape_of = _shape_of(spec, pipeline.model, spec.label_type.outputs(labels))
    pipeline.model = graph
    return pipeline
