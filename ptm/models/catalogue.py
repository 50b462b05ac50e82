"""How a model that ``model.name`` can name is listed, whatever it is for: ``ptm models``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BYTES_A_PARAMETER = 4  # of weights in fp32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model that ``model.name`` can name.

    ``parameters``: without an output layer for text models; ``file_bytes``: of the weights; ``giga_operations``:
    multiply-adds of a forward pass of one example, in 10^9. ``value``: the published figure named by ``metric``, in
    percent (BLEU in points), which ``source`` states.
    """

    task: str
    name: str
    parameters: int | None = None
    file_bytes: int | None = None
    giga_operations: float | None = None
    metric: str = ""
    value: float | None = None
    source: str = ""
    here: bool | None = None  # of weights in a package: whether it is installed
    trained: bool = False  # a run or an export: ``name`` is its directory

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "trained"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that are named by a pattern; ``count`` of them are known, where somebody counts."""

    tasks: tuple[str, ...]
    pattern: str
    example: str
    count: int | None = None
    missing: str = ""  # how to install what they need, where it is not here

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
