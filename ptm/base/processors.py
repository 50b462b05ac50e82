"""What of this machine a process may use, found out without importing torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def core_count() -> int:
    """CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_count(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> int:
    """GPUs of NVIDIA that this process may use: those the system has, or ``CUDA_VISIBLE_DEVICES`` of them."""
    present = sum(path.name.removeprefix("nvidia").isdecimal() for path in devices.glob("nvidia*"))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    names = [name.strip() for name in visible.split(",")]
    # What stands after an unknown one is not used either (CUDA C++ Programming Guide).
    known = next((place for place, name in enumerate(names) if not name or name == "-1"), len(names))
    return min(present, known)
