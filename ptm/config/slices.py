"""Slices of the evaluated examples by name, before any of them is read: ``accuracy[source=mobile]``. No torch in here.

A slice is all examples that have one value of a column, or whose length or size lies in one bin.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

LENGTH = "length"  # of a text: characters, of a pair those of both
SIZE = "size"  # of an image: the longer side in pixels
EMPTY = "(empty)"  # the value of an empty cell
# The lower bounds of bins. They are the same for all data, so that an expectation means the same next year.
BINS: Mapping[str, tuple[int, ...]] = {
    LENGTH: (0, 32, 64, 128, 256, 512, 1024, 2048),
    SIZE: (0, 32, 64, 128, 256, 512, 1024, 2048),
}
_NAME = re.compile(r"(?P<metric>[^\[\]]+)\[(?P<slice>[^\[\]=]+)=(?P<value>.*)\]", re.DOTALL)


@dataclass(frozen=True)
class SliceMetric:
    """A metric of one slice."""

    metric: str
    slice: str
    value: str

    def __str__(self) -> str:
        return f"{self.metric}[{self.slice}={self.value}]"


def parse_slice_metric(name: str) -> SliceMetric | None:
    """``accuracy[source=mobile]`` in its parts; None for a metric of all examples."""
    match = _NAME.fullmatch(name.strip())
    return None if match is None else SliceMetric(match["metric"], match["slice"].strip(), match["value"])


def bin_names(name: str) -> tuple[str, ...]:
    """``0-31``, ``32-63``, …, ``2048+``: the values of ``length`` or ``size``."""
    bounds = BINS[name]
    closed = (f"{low}-{high - 1}" for low, high in pairwise(bounds))
    return (*closed, f"{bounds[-1]}+")


def bin_of(name: str, number: int) -> str:
    """The bin of ``length`` or ``size`` that a number of characters or pixels lies in."""
    return bin_names(name)[bisect_right(BINS[name], number) - 1]
