"""One thing that is said of a data set, with where it stands, and the splits of it as one sequence of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ptm.data.examples import Examples
from ptm.errors import Problem

Level = Literal["error", "warning", "note"]

# What each rule looks for, as SARIF describes it.
RULES: Mapping[str, str] = {
    "unusable": "Something of the config, the data or the models cannot be used",
    "reading": "What a run warns of before its first step",
    "overlap": "An example of a later split also stands in an earlier one",
    "near-overlap": "An example of a later split is nearly equal to one of an earlier split",
    "contradiction": "Equal inputs have different labels",
    "near-contradiction": "Nearly equal inputs have different labels",
    "duplicate": "An input stands several times in one split",
    "near-duplicate": "Two inputs of one split are nearly equal",
    "near-limit": "So many inputs seem nearly equal that only some pairs were compared",
    "imbalance": "Some labels are much rarer than others",
    "unmeasured-label": "A label of the training split has no example in a later one",
    "extreme-length": "A text is much longer or shorter than the others",
    "extreme-number": "A number to be predicted is far from the others",
    "extreme-size": "An image is much larger, smaller or longer than the others",
    "blank-image": "All pixels of an image are equal",
    "unusual-mode": "Few images have channels such as these",
}


@dataclass(frozen=True)
class Finding:
    """``related``: where the other sides of it stand. A ``note`` is worth knowing and seldom wrong."""

    level: Level
    rule: str
    problem: Problem
    related: tuple[str, ...] = ()


class Rows:
    """The rows of named splits, one split after the other: row ``starts[k]`` is the first one of the k-th split."""

    def __init__(self, splits: Mapping[str, Examples]) -> None:
        self.names = tuple(splits)
        self.splits = tuple(splits.values())
        self.starts = np.concatenate([[0], np.cumsum([len(examples) for examples in self.splits])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def split(self, row: int) -> int:
        """Which split a row is in, by number."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def place(self, row: int) -> tuple[Examples, int]:
        """The split of a row, and its number there."""
        split = self.split(row)
        return self.splits[split], row - int(self.starts[split])

    def where(self, row: int) -> str:
        examples, inner = self.place(row)
        return examples.where(inner)

    def column(self, role: str) -> list[Any]:
        """The values of a column, of all splits."""
        return [value for examples in self.splits for value in examples.columns[role]]
