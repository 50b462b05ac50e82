"""The contract between the engine and the tasks. The engine knows nothing else of them.

A pipeline owns one model and two sets of examples, and can turn example ids into batches, a batch into a
loss, and outputs into metrics. It draws no random numbers of its own: the order of examples comes from
:mod:`ptm.training.order`, and a training view of an example is a function of (seed, epoch, id) alone.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Required, TypedDict, cast

import numpy as np
import torch
from torch import Tensor, nn

from ptm.base.console import Reporter
from ptm.config.model_ref import ModelRef
from ptm.config.spec import GenerateSpec, RunSpec, TrainSpec
from ptm.config.tasks import TASKS
from ptm.data.examples import Dataset, Examples
from ptm.data.input_lines import LeftOut
from ptm.data.inputs import Source
from ptm.errors import Problem
from ptm.models.weights import LoadReport

Split = Literal["train", "eval"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few examples, ready for the model.

    ``ids`` are the stable ids of the examples, int64 [n]; ``inputs`` what the model needs: tensors whose first
    dimension is n, or lists of n of them; ``targets`` the labels, int64 [n] of a classifier, or what else a task
    learns from (masks, boxes); None where there are none.
    """

    ids: np.ndarray
    inputs: dict[str, Any]
    targets: Any

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``; copies overlap with computation when the memory is pinned."""
        if device.type == "cpu":
            return self
        return replace(self, inputs=_moved(self.inputs, device), targets=_moved(self.targets, device))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        if (value.device.type, device.type) == ("cpu", "cuda") and not value.is_pinned():
            value = value.pin_memory()  # of other memory the CPU would wait for the copy
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: _moved(inner, device) for name, inner in value.items()}
    return [_moved(inner, device) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a forward pass gives: the loss as a **sum** over ``count`` things, never as a mean.

    The engine adds sums and counts over micro-batches and processes and divides once. ``count`` is the number of
    examples (or tokens, or pixels) in ``loss_sum``. ``logits`` are [rows, classes] in fp32: a row an example, or, where
    ``per_example`` of the pipeline is false, a row each token or pixel that counts; ``targets`` int64 [rows] are then
    what they should say. ``predictions`` is what a task's metrics need besides: boxes, written texts.
    """

    loss_sum: Tensor
    count: int
    logits: Tensor | None = None
    targets: Tensor | None = None
    predictions: Any = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # named loss sums for the log (detached)
    features: Mapping[str, Tensor] = field(default_factory=dict)  # what ``forward`` was asked for by name


def class_logits(output: Output) -> Tensor:
    """The logits of a pass that has some."""
    assert output.logits is not None
    return output.logits


@dataclass(frozen=True)
class ReadRows:
    """``ids``, int64 [n], rising: the rows of the embedding ``module`` that training batches can ask for."""

    module: str
    ids: np.ndarray


class EntityRow(TypedDict):
    """An entity in a text: ``start`` and ``end`` are characters of ``input`` where that is a text, else of its words
    with a blank between each two; ``score`` is the mean probability of its words' tags."""

    text: str
    kind: str
    start: int
    end: int
    score: float


class Prediction(TypedDict, total=False):
    """A line of predictions.jsonl: what a model makes of one evaluated example. docs/run_directory.md has the keys of
    each task; ``where`` and ``input`` are added when it is written."""

    id: Required[int]
    where: str
    input: Any
    # Classifiers: a name, a list of names, or a number; of the prediction alike.
    label: str | list[str] | float
    prediction: str | list[str] | float | None
    prediction_set: list[str]  # with --coverage: labels, the most probable first
    # By label; of tags and boxes, one each in their order.
    scores: dict[str, float] | list[float] | list[float | None]
    # Token classification: a tag a word.
    words: list[str]
    tags: list[str | None]
    predicted_tags: list[str | None]
    entities: list[EntityRow]
    # Question answering: characters of the context, None where there is no answer; the accepted answers, and what
    # SQuAD's measures say of this one.
    answer: str
    start: int | None
    end: int | None
    probability: float
    answers: list[str]
    exact_match: float
    f1: float
    # Language models; ``right`` of tokens, and of pixels.
    loss: float
    tokens: int
    right: int
    # Translation, and texts that are completed.
    source: str
    target: str
    # Similarity: the cosine of a pair, the place of its second text among all, a text as numbers.
    similarity: float
    rank: int
    embedding: list[float]
    # Detection: [x0, y0, x1, y1] in pixels of the image as it is shown.
    boxes: list[list[float]]
    labels: list[str]
    target_boxes: list[list[float]]
    target_labels: list[str]
    # Instances: run-length codes of COCO's, one a box.
    masks: list[dict[str, Any]]
    target_masks: list[dict[str, Any]]
    # Segmentation.
    shares: dict[str, float]
    iou: dict[str, float]
    pixels: int
    mask_png: str


class Metrics(Protocol):
    """Collects outputs of an evaluation, in any order and in several processes, then computes."""

    def update(self, batch: Batch, output: Output) -> None: ...

    def merge(self, others: Sequence[Metrics]) -> Metrics:
        """One that saw what this and all others saw; example order does not matter."""
        ...

    def compute(self) -> dict[str, float]:
        """Names to values, ``loss`` first where evaluating gives one. An empty evaluation raises DataError."""
        ...

    def predictions(self) -> Iterator[Prediction]:
        """One an evaluated example, by rising id: ``id``, and of a classifier ``label`` (if known), ``prediction``,
        ``scores`` (label name → probability); of other tasks what they predict, as JSON takes it."""
        ...


class Pipeline(ABC):
    """What a task gives the engine. The attributes with a value are what most tasks have."""

    model: nn.Module
    labels: tuple[str, ...]  # () where a task has none
    load_report: LoadReport  # what was loaded, what is new, what was left over
    head: tuple[str, ...] = ()  # prefixes of the names of the head's parameters
    embeddings: tuple[str, ...] = ()  # the same for the embeddings; () where there are none
    random_views: bool = False  # whether training batches depend on the epoch and the seed
    # For distillation, and for storing what a frozen network says:
    per_example: bool = True  # whether logits have a row an example; else a store cannot keep them
    distillable: bool = True  # whether there are logits
    input_fingerprint: str = ""  # two pipelines with the same one over the same data can share batches
    output_fingerprint: str = (
        ""  # what decides outputs besides weights and inputs: architecture, order of outputs
    )
    reads: str = ""  # what its preprocessing makes of an example, in words
    told: tuple[str, ...] = ()  # what it took from files beside the model, a line each
    decisions: Any = None  # :class:`ptm.metrics.decisions.Decisions` of a classifier that has them
    # Of a detection that is written or drawn, of a label in a prediction set; None: as usual, no sets.
    least_score: float | None = None
    head_input: str = ""  # the feature that is all the head reads, so that a frozen one runs once; "" if none
    # What keys of the config that were left open came to: those of ``data:``, and ``generate:``.
    effective_data: Mapping[str, Any] = {}
    effective_generate: GenerateSpec | None = None
    feature_names: tuple[str, ...] = ()  # what ``forward`` gives besides logits: "pooled", "hidden.1", …

    _data: Dataset

    @property
    def new_parameters(self) -> frozenset[str]:
        """Names of what did not come with the weights, and learns whatever else is frozen: an output layer for other
        labels, a pooler, a feature pyramid. Empty at a random start, where nothing came."""
        return frozenset(self.load_report.new) if self.load_report.loaded else frozenset()

    @property
    def learns_with_adapter(self) -> tuple[str, ...]:
        """Prefixes of the names of what is trained in full beside an adapter: the head, and what is new below it."""
        head = tuple(self.head)
        below = {name for name in self.new_parameters if not (head and name.startswith(head))}
        return (*head, *sorted({f"{name.rpartition('.')[0]}." if "." in name else name for name in below}))

    def _examples(self, split: Split) -> Examples:
        """The examples that a pipeline was built over, for its own use."""
        examples = self._data.train if split == "train" else self._data.eval
        assert examples is not None, "this pipeline was built for evaluation only"
        return examples

    @abstractmethod
    def size(self, split: Split) -> int:
        """Number of examples; ids are 0 … size-1."""

    def lengths(self, split: Split) -> np.ndarray | None:
        """Tokens an example, int [size], for grouping by length; None where all cost the same."""
        return None

    def sampled_classes(self, train: TrainSpec) -> np.ndarray | None:
        """Class numbers of the training examples, int64 [n], where ``train.sampling`` goes by them; else None."""
        return self._examples("train").targets if train.sampling == "balanced" else None

    @abstractmethod
    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        """A batch for each array of ids in ``plan``, in that order, on the CPU. ``train`` is augmented."""

    def read_rows(self) -> ReadRows | None:
        """Which rows of the embeddings of words learn; None where any may, or where there are none."""
        return None

    def set_workers(self, workers: int) -> bool:
        """Make training views in so many processes from the next plan on. False where none are used."""
        return False

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch, requested: Sequence[str] = ()) -> Output:
        """Loss and logits of ``model`` (this pipeline's, or one wrapped around it) on a batch.

        ``requested``: names out of ``feature_names``, given as ``features``: fp [n, d] for "pooled", [n, tokens, d]
        of texts, [n, channels, h, w] of images. Without targets the loss is 0.
        """

    def evaluate_batch(self, model: nn.Module, batch: Batch) -> Output:
        """As ``forward``, with ``predictions`` where the metrics need them: a text is written, boxes are found."""
        return self.decided(batch, self.forward(model, batch))

    def decided(self, batch: Batch, output: Output) -> Output:
        """``output`` of a batch by ``decisions``; as it is where a task has none."""
        return output

    def forward_head(self, batch: Batch, head_input: Tensor) -> Output:
        """As ``forward``, from the feature ``head_input`` on: [n, width]."""
        raise NotImplementedError(f"{type(self).__name__} has no head_input")

    def notes(self) -> list[str]:
        """What should be known of the data beside this model before the first step, a line each: what is cut."""
        return []

    def unreadable_inputs(self, reporter: Reporter, rank: int, ranks: int) -> list[Problem]:
        """What of the inputs cannot be read, though it could be opened when the pipeline was built. Each of ``ranks``
        processes looks at its share; [] where all was read then."""
        return []

    def domain_warnings(self) -> list[str]:
        """What of the data does not suit the weights: many unknown words, another image size. [] when all is well."""
        return []

    @abstractmethod
    def new_metrics(self) -> Metrics: ...

    @abstractmethod
    def example(self, split: Split, index: int) -> dict[str, Any]:
        """What to show of an example: ``{"text": …}`` or ``{"image_png": bytes}``, and ``where`` it is."""

    def named_example(self, split: Split, index: int) -> dict[str, Any]:
        """``where`` an example is, and its text if it has one: as :meth:`example`, without a picture to draw."""
        return self.example(split, index)

    @abstractmethod
    def save_model(self, directory: Path) -> None:
        """All a stranger needs to use the model: weights, and tokenizer or preprocessing, and label names."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """For the record: data digests, counts a class, padding waste, preprocessing."""

    @abstractmethod
    def with_examples(self, examples: Examples) -> Pipeline:
        """The same model over other evaluation examples, which may have no targets: ``ptm predict``."""

    def evaluating(self, examples: Examples) -> Pipeline:
        """The same model over other evaluation examples with what is to be said of them: the test split. What cannot be
        used is refused here, as when a pipeline is built."""
        return self.with_examples(examples)

    def example_rows(self) -> np.ndarray:
        """int64 [size("eval")]: of which row of the evaluation examples each id is."""
        return np.arange(self.size("eval"))

    def attribute(self, name: str) -> list[str]:
        """What :attr:`ptm.data.examples.Examples.attributes` say of each evaluated id."""
        values = self._examples("eval").attributes[name]
        return [values[row] for row in self.example_rows().tolist()]

    def insight(self, index: int, label: str) -> dict[str, Any]:
        """What in evaluation example ``index`` speaks for ``label``: ``heat_png`` and, in words, ``heat_place`` of an
        image; ``words`` of a text with what each adds to the score. {} where nothing can be said."""
        return {}

    def insight_operations(self, index: int) -> float:
        """Additions and multiplications that it takes, roughly; 0 where it is no more than an evaluation."""
        return 0.0

    @property
    def drawing_note(self) -> str:
        """What is left out of drawings, and what their colours mean; "" where that goes without saying."""
        return ""

    def render_prediction(self, index: int, prediction: Mapping[str, Any]) -> bytes | None:
        """PNG of evaluation example ``index`` with its prediction drawn in; None for tasks that draw nothing."""
        return None


class TaskModule(Protocol):
    """What the module of a task offers (:attr:`ptm.config.tasks.Task.module`); the same five functions for all."""

    def missing(self, spec: RunSpec, /) -> list[Problem]:
        """What must be downloaded and cannot be."""
        ...

    def load_data(
        self, spec: RunSpec, /, *, labels: tuple[str, ...] | None = None, train: bool = True
    ) -> Dataset:
        """The examples. ``labels``: those of a trained model; ``train=False``: evaluation examples only."""
        ...

    def stored_labels(self, name: str, /) -> tuple[str, ...] | None:
        """The label names that a local model was saved with; None where there are none."""
        ...

    def build(self, spec: RunSpec, data: Dataset, /, *, model: ModelRef, complete: bool) -> Pipeline:
        """The pipeline of ``model``. ``complete``: no part of it may be random (a teacher, an evaluation)."""
        ...

    def read_inputs(
        self, spec: RunSpec, paths: Sequence[Source], left_out: LeftOut | None = None, /
    ) -> Iterator[Examples]:
        """What ``ptm predict`` was given, without targets, in pieces that fit into memory (:mod:`ptm.data.inputs`).
        Rows that cannot be read are told to ``left_out`` instead of being refused, where that is given."""
        ...


def task_module(task: str) -> TaskModule:
    """The module of a task, imported now. ``tests/test_pipeline.py`` holds each against the protocol, with mypy."""
    return cast(TaskModule, importlib.import_module(TASKS[task].module))
