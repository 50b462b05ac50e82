"""manifest.json: what a run was made of, so that next year's difference has a name."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ptm import __version__
from ptm.data.examples import Dataset
from ptm.runtime import Runtime
from ptm.spec import RunSpec

_INPUTS = ("packages", "python", "hardware", "runtime", "digests")  # what the bits of a run depend on
_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
    "scikit-learn",
    "pillow",
)


def manifest(
    spec: RunSpec, config: str, data: Dataset, runtime: Runtime, weights: dict[str, str]
) -> dict[str, Any]:
    """Versions, hardware, threads, seed, git state, and digests of config, data and starting weights."""
    return {
        "ptm": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "hardware": {
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None,
            "cuda": torch.version.cuda if runtime.device.type == "cuda" else None,
        },
        "runtime": {
            "device": str(runtime.device),
            "precision": runtime.precision,
            "threads": runtime.threads,
            "processes": runtime.ranks,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
        "seed": spec.train.seed,
        "git": _git(),
        "digests": {
            "config": hashlib.sha256(config.encode()).hexdigest(),
            "data": dict(data.digests),
            "weights": weights,
        },
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Recorded inputs that differ, as ``packages.torch: 2.13.0 → 2.14.1``. The output's own path is none of them."""
    a, b = (_flat({key: manifest.get(key, {}) for key in _INPUTS}) for manifest in (old, new))
    names = [name for name in sorted({*a, *b}) if name != "digests.config" and a.get(name) != b.get(name)]
    return tuple(f"{name}: {a.get(name)} → {b.get(name)}" for name in names)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def read(path: Path) -> dict[str, Any]:
    """A manifest.json; {} when it is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 over all tensors of a model, names and bytes, in order."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the working directory's repository; None outside of one."""

    def run(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": run("rev-parse", "HEAD"), "dirty": bool(run("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
