"""results.json: what a run, or an evaluation, came to. Written and read here alone; its format is public.

docs/run_directory.md describes every key. ``schema`` counts changes of the format; a file without it was written
before there was a number, and reads the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.config.expect import Expectation
from ptm.config.slices import SliceMetric
from ptm.errors import ConfigError

SCHEMA = 1  # of results.json, manifest.json, metrics.jsonl and predictions.jsonl alike

Judged = Literal["eval", "test"]  # the splits that a finished run is measured on
Status = Literal["done", "interrupted", "failed"]
_READ = ConfigDict(extra="ignore")  # a newer ptm may have written more


@dataclass(frozen=True, kw_only=True, config=_READ)
class Throughput:
    """How many examples of which split were computed, in what time."""

    split: str | None
    examples: int
    seconds: float
    examples_per_second: float | None

    @staticmethod
    def of(split: str | None, examples: int, seconds: float) -> dict[str, Any]:
        """The fields, rounded as they are written."""
        rate = round(examples / seconds, 2) if seconds else None
        return {
            "split": split,
            "examples": examples,
            "seconds": round(seconds, 3),
            "examples_per_second": rate,
        }


@dataclass(frozen=True, kw_only=True, config=_READ)
class TrainSummary(Throughput):
    """What training took. ``padding_share``: padding among the computed tokens of the first epoch; ``processes``: those
    that shared the micro-batches of each batch, in the last part of a run that was resumed."""

    steps: int
    epochs: float
    padding_share: float | None = None
    processes: int = 1
    batch_size: int | None = None
    micro_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True, config=_READ)
class Best:
    """The evaluation whose weights became ``model/``."""

    metric: str
    mode: str
    value: float | None
    step: int | None


@dataclass(frozen=True, kw_only=True, config=_READ)
class ModelSize:
    """Name, parameters and bytes of a model; tensors that share their memory count once."""

    name: str
    parameters: int
    trainable_parameters: int
    bytes: int


@dataclass(frozen=True, kw_only=True, config=_READ)
class TeacherSummary(ModelSize):
    """A teacher, and what it reaches on the evaluation split."""

    metrics: dict[str, float]
    others: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, config=_READ)
class StoreSummary:
    """What the store of teacher outputs saved: ``hits`` outputs were found, ``misses`` computed."""

    used: bool
    hits: int
    misses: int
    hit_rate: float | None
    bytes: int
    precision: str
    top_k: int | None
    names: tuple[str, ...]
    reason: str = ""  # why there is none


@dataclass(frozen=True, kw_only=True, config=_READ)
class DistillSummary:
    """Where the time of a distillation went, in seconds, and what was stored."""

    teacher_seconds: float
    student_seconds: float
    store: StoreSummary
    views: dict[str, Any]


@dataclass(frozen=True, kw_only=True, config=_READ)
class BackboneSummary:
    """How often a frozen backbone was run, and how often its features were found in the store."""

    examples_used: int
    examples_computed: int
    seconds: float


@dataclass(frozen=True, kw_only=True, config=_READ)
class Slice:
    """A part of the evaluated examples, those with one value of a column or in one bin, and their metrics."""

    slice: str
    value: str
    examples: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True, config=_READ)
class SplitResults(Throughput):
    """What a model reaches on a split."""

    metrics: dict[str, float]
    constant: dict[str, float] = field(default_factory=dict)
    positive_label: str | None = None
    absent_labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, kw_only=True, config=_READ)
class Results:
    """results.json. What a kind of result does not have is None, and is left out of the file."""

    task: str
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    constant: dict[str, float] = field(default_factory=dict)  # what a constant answer reaches
    positive_label: str | None = None  # the one of two that ``f1`` is of
    absent_labels: tuple[str, ...] = ()  # that no evaluated example has
    warnings: tuple[str, ...] = ()  # of what was measured
    slices: tuple[Slice, ...] = ()  # metrics of parts of the examples
    test: SplitResults | None = None  # the same of the third split
    reason: str | None = None  # why it is not done
    best: Best | None = None
    train: TrainSummary | None = None
    eval: Throughput | None = None
    model: ModelSize | None = None
    teacher: TeacherSummary | None = None
    distill: DistillSummary | None = None
    backbone: BackboneSummary | None = None
    expect: tuple[Expectation, ...] = ()
    labels: tuple[str, ...] = ()
    prediction_digests: dict[str, str] | None = None  # SHA-256 of the file of each split
    output: str | None = None
    drift: tuple[str, ...] = ()
    extended: tuple[tuple[int, int], ...] = ()
    average: dict[str, Any] | None = None  # of weights: its decay, and metrics of those that were trained
    decisions: dict[str, Any] | None = None  # ptm.metrics.decisions
    prediction_sets: dict[str, Any] | None = None  # ptm.metrics.conformal
    verdict: dict[str, Any] | None = None  # ptm.experiment.verdict
    control: dict[str, Any] | None = None
    scorecard: dict[str, Any] | None = None  # ptm.experiment.scorecard
    exports: dict[str, Any] | None = None  # export.json of each, by the name of its folder
    schema: int = SCHEMA

    def metrics_of(self, split: Judged) -> dict[str, float]:
        """Empty where there is no such split."""
        if split == "eval":
            return self.metrics
        return {} if self.test is None else self.test.metrics

    def slices_of(self, split: Judged) -> tuple[Slice, ...]:
        """Those of its examples; empty where there is no such split."""
        if split == "eval":
            return self.slices
        return () if self.test is None else self.test.slices

    @property
    def judged(self) -> dict[str, float]:
        """The metrics that expectations and verdicts are about: those of the test, where there is one."""
        return self.metrics_of(self.judged_split)

    @property
    def judged_split(self) -> Judged:
        """On what they were measured."""
        return "eval" if self.test is None else "test"

    @property
    def missed(self) -> tuple[Expectation, ...]:
        """The bounds that were not met."""
        return tuple(bound for bound in self.expect if not bound.met)

    def as_dict(self) -> dict[str, Any]:
        """The content of the file in JSON's own types: the keys of this kind of result, null where it has nothing."""
        content = _plain(asdict(self))
        if self.status != "done":
            keys: tuple[str, ...] = ("schema", "task", "status", "reason", "metrics")
        elif self.train is None:
            keys = _EVALUATED
        else:
            added = [name for name in _ADDED if content.get(name) is not None]
            keys = (*_EVALUATED, *_TRAINED, *added)
        return {name: content.get(name) for name in keys}


_ASIDE = ("constant", "positive_label", "absent_labels", "warnings")  # what stands beside the metrics
_EVALUATED = (
    *("schema", "task", "status", "metrics", *_ASIDE, "slices", "eval", "test"),
    *("model", "expect", "labels"),
)
_TRAINED = ("best", "train", "teacher", "distill", "backbone", "output", "drift", "extended")
# What only some runs have; all but the first four are added to a finished one, by a later step or command.
_ADDED = (
    *("prediction_digests", "average", "decisions", "prediction_sets"),
    *("verdict", "control", "scorecard", "exports"),
)
_ADAPTER = TypeAdapter(Results)


def write_results(path: Path, results: Results) -> None:
    """Raises StorageError."""
    files.write_json(path, results.as_dict())


def read_results(path: Path) -> Results | None:
    """None when there is no such file, or something else in its place."""
    try:
        return parse_results(files.parse_json(read_bytes(path)))
    except (OSError, ValueError, RecursionError):
        return None


def parse_results(content: Any) -> Results:
    """Raises ValueError for what no ptm has written."""
    _require_numbers(content)
    try:
        results = _ADAPTER.validate_python(content)
        consistent = all(bound.consistent for bound in results.expect)
    except (ValidationError, ConfigError) as error:
        raise ValueError(str(error)) from None
    if not consistent:
        raise ValueError("a bound is said to be met that is not, or the other way round")
    return results


def _require_numbers(content: Any) -> None:
    """ValueError for a metric that is no number: "nan" would pass for one, and no bound that is compared with it is
    ever missed."""
    sections = content if isinstance(content, Mapping) else {}
    teacher, best = sections.get("teacher"), sections.get("best")
    bounds = sections.get("expect")
    measured = [sections, test] if isinstance(test := sections.get("test"), Mapping) else [sections]
    tables = [split.get(key) for split in measured for key in ("metrics", "constant")]
    slices = [row for split in measured for row in split.get("slices") or () if isinstance(row, Mapping)]
    tables += [row.get("metrics") for row in slices]
    tables += [teacher.get("metrics")] if isinstance(teacher, Mapping) else []
    values = [value for table in tables if isinstance(table, Mapping) for value in table.values()]
    values += [best.get("value")] if isinstance(best, Mapping) else []
    values += [b.get("value") for b in bounds if isinstance(b, Mapping)] if isinstance(bounds, list) else []
    if any(isinstance(value, str | bool) for value in values):
        raise ValueError("a metric is no number")


def slice_metrics(slices: Iterable[Slice]) -> dict[str, float]:
    """Metrics of slices by the names that expectations have for them: ``accuracy[source=mobile]``."""
    return {
        str(SliceMetric(metric, row.slice, row.value)): value
        for row in slices
        for metric, value in row.metrics.items()
    }


_WHERE_THERE_ARE = ("reason", "others")  # keys inside that are left out where they are empty


def _plain(value: Any) -> Any:
    """Tuples as lists, mappings as dictionaries."""
    if isinstance(value, Mapping):
        present = {name: inner for name, inner in value.items() if inner or name not in _WHERE_THERE_ARE}
        return {name: _plain(inner) for name, inner in present.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
