"""Data and models for ``configs/tiny/``: a module a config, named as it is with ``_`` for ``-``.

Each has ``make(folder)``, which writes what the config names as ``data/CONFIG/…`` into ``folder``, and
``strangers_state(model)``: the tensors of a saved ``model/`` by name, loaded without ptm, as a user of transformers or
torchvision would.
"""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from types import ModuleType

CONFIGS = Path(__file__).parents[2] / "configs" / "tiny"
NAMES = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"tiny.{name.replace('-', '_')}")


def prepare(name: str, folder: Path) -> Path:
    """A copy of the config in ``folder`` with its data beside it; returns its path."""
    target = folder / "data" / name
    target.mkdir(parents=True)
    module_of(name).make(target)
    return Path(shutil.copy(CONFIGS / f"{name}.yaml", folder))
