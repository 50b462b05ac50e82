"""export.json: what an export is, how far it is from its model, and what it costs. Written and read here alone.

docs/export.md describes every key. ``schema`` counts changes of the format.
"""

from __future__ import annotations

from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptm.base import files
from ptm.base.regular import open_regular
from ptm.config.expect import Expectation

SCHEMA = 1
RECORD = "export.json"

Format = Literal["onnx", "torch"]
Quantization = Literal["int8", "bf16"]

_READ = ConfigDict(extra="ignore")  # a newer ptm may have written more
_MOST_BYTES = 16_000_000


@dataclass(frozen=True, kw_only=True, config=_READ)
class Side:
    """A model, or its export: ``bytes`` are those of its weights' file on the disk. ``latency_ms``: batch size → median
    and 95th percentile; ``peak_bytes``: batch size → memory beyond what the process had before the model was loaded.
    Both are empty where nothing was measured."""

    metrics: dict[str, float]
    bytes: int
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_READ)
class Comparison:
    """An export against its model on the same examples. Differences are those of logits; ``equal_answers`` is the
    share of answers (of examples, words, tokens, pixels) that are the same, None where a number is predicted.
    ``worse``: by how much ``metric`` got worse; of metrics of which the lowest is best, as a fraction."""

    examples: int
    largest_difference: float
    mean_difference: float
    equal_answers: float | None
    metric: str
    worse: float
    tolerance: float


@dataclass(frozen=True, kw_only=True, config=_READ)
class Vocabulary:
    """Tokens of the model and of its export; ``more``: so many were kept that no text used."""

    before: int
    after: int
    more: int


@dataclass(frozen=True, kw_only=True, config=_READ)
class ExportRecord:
    """export.json. ``before`` is the run's model, ``after`` what was exported."""

    ptm: str
    task: str
    format: Format
    quantize: Quantization | None
    calibration: Literal["dynamic", "static"] | None
    calibration_examples: int
    opset: int | None
    graph: str  # the file
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    run: str
    parameters: int
    threads: int
    before: Side
    after: Side
    comparison: Comparison
    vocabulary: Vocabulary | None = None  # None: as it was
    expect: tuple[Expectation, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The content of the file, the schema first."""
        content = asdict(self)
        return {"schema": content.pop("schema"), **content}


_ADAPTER = TypeAdapter(ExportRecord)


def write_record(directory: Path, record: ExportRecord) -> None:
    """Raises StorageError."""
    files.write_json(directory / RECORD, record.as_dict())


def read_record(directory: Path) -> ExportRecord:
    """Raises OSError where there is none, ValueError for what no ptm has written."""
    with open_regular(directory / RECORD) as file:
        content: bytes = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
    try:
        return _ADAPTER.validate_python(files.parse_json(content))
    except (ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
