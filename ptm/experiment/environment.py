"""What a bug report needs to know of a machine: versions, hardware, variables; nothing that names a person or a key."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ptm
from ptm.base.cache import root_directory
from ptm.base.network import offline, reachable
from ptm.base.processors import core_count, gpu_count
from ptm.errors import PtmError

SCHEMA = 1
# What decides about ptm and the libraries below it. Tokens and passwords are not among them.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HTTPS_PROXY",
    "LANG",
    "LC_ALL",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PTM_CACHE",
    "PTM_CACHE_LIMIT_GB",
    "PTM_HASH_ALL",
    "PTM_OFFLINE",
    "PTM_PEER_TIMEOUT",
    "PYTHONPATH",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
)
_ADDRESSES = ("HF_ENDPOINT", "HTTPS_PROXY")
_DISTRIBUTIONS = ("ptm-finetune", "ptm")  # as it is called now, and as it was
_REQUIRED_WITH_EXTRA = "extra =="


def environment() -> dict[str, Any]:
    """The record, as ``ptm env --json`` prints it."""
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "schema": SCHEMA,
        "ptm": ptm.__version__,
        "installed_in": str(Path(ptm.__file__).parent),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": core_count(),
        "memory_gb": _memory_gb(),
        "gpus": gpus,
        "gpu_devices": gpu_count(),
        "cuda": torch.version.cuda,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "packages": _packages(),
        "variables": {name: _shown(name, os.environ[name]) for name in _VARIABLES if name in os.environ},
        "cache": _cache(),
        "network": "forbidden" if offline() else "reachable" if reachable() else "not reachable",
    }


def _packages() -> dict[str, dict[str, str | None]]:
    """Versions of what ptm requires, and of its extras, None for what is not installed."""
    requirements: list[str] = []  # of a source that is not installed
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            requirements = requirements or metadata.requires(name) or []
    groups: dict[str, dict[str, str | None]] = {"required": {}, "extras": {}}
    for requirement in requirements:
        name = _name(requirement)
        if name in _DISTRIBUTIONS:
            continue
        kind = "extras" if _REQUIRED_WITH_EXTRA in requirement else "required"
        if name not in groups["required"]:
            groups[kind][name] = _version(name)
    return groups


def _name(requirement: str) -> str:
    """``torch>=2.11; extra == "x"`` → ``torch``."""
    end = next((n for n, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
    return requirement[:end]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _shown(name: str, value: str) -> str:
    """An address without the name and password in it, and without what may be a token behind it."""
    if name in _ADDRESSES and "//" not in value:
        _, at, place = value.rpartition("@")
        return f"…@{place}" if at else value
    if "//" not in value:
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return "…"
    _, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"…{at}{host}" if at else host, query="", fragment=""))


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError):
        return None


def _cache() -> dict[str, Any]:
    try:
        root = root_directory("auto")
        present = next(path for path in (root, *root.parents) if path.exists())
        return {"teachers": str(root), "free_gb": round(shutil.disk_usage(present).free / 1e9, 1)}
    except (PtmError, OSError) as error:
        return {"problem": str(error)}
