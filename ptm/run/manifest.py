"""manifest.json: what a run was made of, so that next year's difference has a name. Written and read here alone.

docs/run_directory.md describes every key; :mod:`ptm.run.provenance` fills it in. No torch in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.run.results import SCHEMA

_READ = ConfigDict(extra="ignore")  # a newer ptm may have written more
_ADDED = (
    "digests.models.",
    "digests.data.train_labelled",
)  # that a record of an earlier version says nothing of
_INPUTS = ("packages", "python", "hardware", "runtime", "digests")  # what the bits of a run depend on


@dataclass(frozen=True, kw_only=True, config=_READ)
class Hardware:
    """The machine. ``cpu_capability``: the instruction set that torch chose."""

    platform: str
    cpu: str
    cores: int | None
    cpu_capability: str
    gpu: str | None
    cuda: str | None


@dataclass(frozen=True, kw_only=True, config=_READ)
class RuntimeRecord:
    """How the run was computed. ``environment``: variables that decide on threads and instruction sets."""

    device: str
    precision: str
    threads: int
    processes: int
    deterministic: bool
    interop_threads: int
    environment: dict[str, str | None]


@dataclass(frozen=True, kw_only=True, config=_READ)
class Digests:
    """SHA-256 of the config, of each split, of the starting weights by role (model, teacher, teacher 2, …) and, by role
    too, of what decides outputs besides them (``models``): tokenizer, architecture, what is done to images. Of a
    training with unlabelled examples, ``data`` has ``train_labelled``, those of train that have a label."""

    config: str
    data: dict[str, str]
    weights: dict[str, str]
    models: dict[str, str] = field(default_factory=dict)  # empty in records of earlier versions


@dataclass(frozen=True, kw_only=True, config=_READ)
class Manifest:
    """manifest.json."""

    ptm: str
    task: str
    created: str
    command: str
    python: str
    packages: dict[str, str | None]
    hardware: Hardware
    runtime: RuntimeRecord
    torch_build: str
    seed: int
    git: dict[str, Any] | None
    digests: Digests
    data: dict[str, Any] = field(default_factory=dict)  # Pipeline.describe
    weights: dict[str, Any] = field(default_factory=dict)  # what of the model was loaded, what is new
    labels: tuple[str, ...] = ()
    data_files: dict[str, str] = field(default_factory=dict)  # SHA-256 of local files
    loaded: dict[str, str] = field(default_factory=dict)  # SHA-256 of the tensors that were loaded, by role
    revisions: dict[str, str | None] = field(default_factory=dict)  # commits of models from a hub, by role
    drift: tuple[str, ...] = ()  # inputs that changed between two parts of the run
    extended: tuple[tuple[int, int], ...] = ()  # (epochs before, epochs after) of each extension
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return asdict(self)


_ADAPTER = TypeAdapter(Manifest)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Raises StorageError."""
    files.write_json(path, manifest.as_dict())


def read_manifest(path: Path) -> Manifest | None:
    """None when there is no such file, or something else in its place."""
    try:
        return _ADAPTER.validate_python(files.parse_json(read_bytes(path)))
    except (OSError, ValueError, ValidationError, RecursionError):
        return None


def changes(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Recorded inputs that differ, as ``packages.torch: 2.13.0 → 2.14.1``. The config has messages of its own."""
    a, b = (flat({key: side.as_dict()[key] for key in _INPUTS}) for side in (old, new))
    names = [name for name in sorted({*a, *b}) if name != "digests.config" and a.get(name) != b.get(name)]
    told = [name for name in names if name in a or not name.startswith(_ADDED)]
    return tuple(f"{name}: {a.get(name)} → {b.get(name)}" for name in told)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one, with dotted names: ``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves
