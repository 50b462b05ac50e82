"""CONFIG.lock: what an experiment was made of when it was pinned, and the refusal to start on anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ptm.base import files
from ptm.base.regular import NotRegular, read_bytes
from ptm.errors import ConfigError
from ptm.run.manifest import Manifest, flat

FORMAT = 1


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Pins:
    """The inputs of a run, without the machine.

    ``weights`` are the SHA-256 of all tensors that were loaded, by role; new ones are a function of the seed.
    ``models`` those of what decides outputs besides them, by role: tokenizer and architecture.
    """

    task: str
    labels: tuple[str, ...]
    data: dict[str, str]
    files: dict[str, str]
    weights: dict[str, str]
    revisions: dict[str, str | None]
    packages: dict[str, str | None]
    python: str
    models: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @staticmethod
    def of(manifest: Manifest) -> Pins:
        return Pins(
            task=manifest.task,
            labels=manifest.labels,
            data=manifest.digests.data,
            files=manifest.data_files,
            weights=manifest.loaded,
            revisions=manifest.revisions,
            packages=manifest.packages,
            python=manifest.python,
            models=manifest.digests.models,
        )

    def as_dict(self) -> dict[str, Any]:
        return {"format": self.format, **{k: v for k, v in asdict(self).items() if k != "format"}}


_ADAPTER = TypeAdapter(Pins)


def lock_path(config: Path) -> Path:
    """``bert_sst2.yaml`` → ``bert_sst2.lock``, beside it."""
    return config.with_suffix(".lock")


def read_lock(config: Path) -> Pins:
    """The pins of a config. Raises ConfigError when there are none, or something else in their place."""
    path = lock_path(config)
    cure = f"make it with ptm lock {config}"
    try:
        content = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise ConfigError("there is no lock file", where=path, cure=cure) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot be read as JSON: {error}", where=path, cure=cure) from None
    try:
        pins = _ADAPTER.validate_python(content)
    except ValidationError:
        pins = None
    if pins is None or pins.format != FORMAT or "format" not in content:
        raise ConfigError("is not a lock file of this version of ptm", where=path, cure=cure)
    return pins


def require_lock_place(config: Path) -> None:
    """Raise ConfigError where the lock file of a config would replace the config itself, or somebody else's file."""
    path = lock_path(config)
    if path == config:
        raise ConfigError(
            "is named as its own lock file would be", where=config, cure=f"rename it: {config.stem}.yaml"
        )
    for suffix in (".yaml", ".yml"):
        other = config.with_suffix(suffix)
        if other != config and other.exists() and not other.samefile(config):
            raise ConfigError(
                f"{config.name} and {other.name} would have one lock file",
                where=path,
                cure="rename one of the two configs",
            )
    try:
        content = read_bytes(path)
        ours = not content.strip() or {"format", "task", "weights"} <= set(json.loads(content))
    except FileNotFoundError:
        return
    except NotRegular:
        return  # whoever writes there refuses it
    except (OSError, ValueError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise ConfigError(
            "holds what ptm did not write there", where=path, cure="rename the config, or remove that file"
        )


def write_lock(config: Path, pins: Pins) -> Path:
    """Write the pins beside the config. Raises StorageError."""
    path = lock_path(config)
    files.write_json(path, pins.as_dict())
    return path


def require_unchanged(pins: Pins, now: Pins, where: object, without: Sequence[str] = ()) -> None:
    """Raise ConfigError with everything that is not as it was pinned. ``without``: names left out."""
    old, new = (flat(side.as_dict()) for side in (pins, now))
    changes = [
        f"{name}: {old.get(name)} → {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and not name.startswith(tuple(without)) and not _unknown(name, old)
    ]
    if changes:
        raise ConfigError(
            f"{len(changes)} inputs are not as they were pinned:\n    " + "\n    ".join(changes[:40]),
            where=where,
            expected="the same data, weights, labels and package versions",
            cure="restore them, or pin what is there now: ptm lock",
        )


def _unknown(name: str, pinned: Mapping[str, Any]) -> bool:
    """Whether a lock says nothing of a commit: the model was none of a hub, or ptm did not know its commit then. The
    digests of its weights are compared either way. Nor do locks of earlier versions say what reads the texts."""
    return name.startswith(("revisions.", "models.", "data.train_labelled")) and pinned.get(name) is None
