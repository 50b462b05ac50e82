"""``CONFIG.lock``: what an experiment was made of when it was pinned, and the refusal to start on anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.errors import ConfigError

FORMAT = 1
_PARTS = ("task", "labels", "data", "files", "weights", "revisions", "packages", "python")


def lock_path(config: Path) -> Path:
    """``bert_sst2.yaml`` → ``bert_sst2.lock``, beside it."""
    return config.with_suffix(".lock")


def read_lock(config: Path) -> dict[str, Any]:
    """The pins of a config. Raises ConfigError when there are none, or something else in their place."""
    path = lock_path(config)
    cure = f"make it with ptm lock {config}"
    try:
        pins = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError("there is no lock file", where=path, cure=cure) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot be read as JSON: {error}", where=path, cure=cure) from None
    if not isinstance(pins, dict) or pins.get("format") != FORMAT or not set(_PARTS) <= set(pins):
        raise ConfigError("is not a lock file of this version of ptm", where=path, cure=cure)
    return pins


def write_lock(config: Path, pins: Mapping[str, Any]) -> Path:
    """Write the pins beside the config. Raises StorageError."""
    path = lock_path(config)
    files.write_json(path, pins)
    return path


def pins_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's record is pinned: its inputs, not the machine.

    ``weights`` are the SHA-256 of all tensors that were loaded; new ones are a function of the seed.
    """
    return {
        "format": FORMAT,
        "task": manifest["task"],
        "labels": list(manifest["labels"]),
        "data": dict(manifest["digests"]["data"]),
        "files": dict(manifest["data_files"]),
        "weights": dict(manifest["loaded"]),
        "revisions": dict(manifest["revisions"]),
        "packages": dict(manifest["packages"]),
        "python": manifest["python"],
    }


def require_unchanged(
    pins: Mapping[str, Any], now: Mapping[str, Any], where: object, without: Sequence[str] = ()
) -> None:
    """Raise ConfigError with everything that is not as it was pinned. ``without``: names left out."""
    old, new = (flat({part: side.get(part) for part in _PARTS}) for side in (pins, now))
    changes = [
        f"{name}: {old.get(name)} → {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and not name.startswith(tuple(without))
    ]
    if changes:
        raise ConfigError(
            f"{len(changes)} inputs are not as they were pinned:\n    " + "\n    ".join(changes[:40]),
            where=where,
            expected="the same data, weights, labels and package versions",
            cure="restore them, or pin what is there now: ptm lock",
        )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one, with dotted names: ``{"a": {"b": 1}}`` → ``{"a.b": 1}``."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
