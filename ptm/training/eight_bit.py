"""AdamW that keeps its two moments in eight bits each (Dettmers et al. 2022, arXiv:2110.02861): the package
bitsandbytes."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from ptm.base.extras import install, nothing_fetched, require_package
from ptm.config.spec import TrainSpec
from ptm.errors import Problem

PACKAGE, EXTRA = "bitsandbytes", "8bit"
NAME = "adamw8bit"  # as configs have it
BLOCK = 256  # numbers that share a scale, so that one that is large costs its block alone its precision
_FEWEST = 4096  # numbers of a parameter whose moments are worth eight bits; those of smaller ones stay fp32
_LEVELS = 256


def missing(train: TrainSpec) -> list[Problem]:
    """The package, if it is asked for and is not there."""
    if train.optimizer != NAME or find_spec(PACKAGE) is not None:
        return []
    return [
        Problem(
            f"{NAME} needs the package {PACKAGE}", "train.optimizer", "it to be installed", install(EXTRA)
        )
    ]


def adamw(groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
    """Over these groups. Raises ConfigError where the package is not there."""
    require_package(PACKAGE, EXTRA, "train.optimizer")
    with nothing_fetched():
        made: Any = import_module("bitsandbytes.optim").AdamW8bit
    optimizer: torch.optim.Optimizer = made(groups, lr=learning_rate)
    return optimizer


def state_numbers(size: int) -> int:
    """What it keeps of a parameter of ``size`` numbers, in numbers of four bytes: two moments, and of large parameters
    a scale a block and a table of levels each."""
    if size < _FEWEST:
        return 2 * size
    return -(-size // 2) + 2 * (-(-size // BLOCK) + _LEVELS)


def state_forms(size: int, shape: list[int]) -> dict[str, tuple[torch.dtype, list[int]]]:
    """Type and shape by the names of what it keeps of a parameter of so many numbers and this shape."""
    forms: dict[str, tuple[torch.dtype, list[int]]] = {"step": (torch.int64, [])}
    for moment in "12":
        forms[f"state{moment}"] = (torch.uint8, shape)
        forms[f"qmap{moment}"] = (torch.float32, [_LEVELS])
        forms[f"absmax{moment}"] = (torch.float32, [-(-size // BLOCK)])
    return forms
