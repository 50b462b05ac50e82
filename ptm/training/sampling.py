"""Balanced sampling: which examples an epoch draws so that all classes come alike. Pure functions of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptm.base.seeds import SAMPLE, mix


def balanced_draws(classes: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Ids of one epoch, int64 [n], n the number of examples; ``classes``: int64 [n], that of each example.

    Each class that has examples is drawn alike often (one more or less where n is no multiple of their number). The
    draws of a class go through one shuffle of its examples after the other, over the epochs: no example comes a second
    time before each has come once.
    """
    quotas = _quotas(classes, epoch)
    before = [_quotas_until(classes, epoch, position) for position in range(len(quotas))]
    parts = [
        _through_shuffles(np.flatnonzero(classes == number), first, quota, seed, number)
        for (number, quota), first in zip(quotas, before, strict=True)
    ]
    return np.concatenate(parts)


def effective_epoch(classes: np.ndarray, labels: Sequence[str]) -> str:
    """What an epoch of balanced sampling is, in words."""
    counts = np.bincount(classes, minlength=len(labels))
    present = np.flatnonzero(counts)
    rare, frequent = (int(present[index]) for index in (counts[present].argmin(), counts[present].argmax()))
    each = len(classes) / len(present)
    return (
        f"balanced sampling: an epoch is {len(classes)} draws, {each:.4g} of each of {len(present)} labels: every "
        f"example of {labels[rare]!r} ({counts[rare]}) comes {each / counts[rare]:.3g} times, of {labels[frequent]!r} "
        f"({counts[frequent]}) {min(1.0, each / counts[frequent]):.0%} come"
    )


def _quotas(classes: np.ndarray, epoch: int) -> list[tuple[int, int]]:
    """(class, draws) of an epoch; what is left over goes to the classes in turn."""
    present = np.unique(classes).tolist()
    least, left = divmod(len(classes), len(present))
    first = epoch * left
    extra = {(first + place) % len(present) for place in range(left)}
    return [(number, least + (place in extra)) for place, number in enumerate(present)]


def _quotas_until(classes: np.ndarray, epoch: int, position: int) -> int:
    """Draws of the class at ``position`` in the epochs before this one."""
    present = len(np.unique(classes))
    least, left = divmod(len(classes), present)
    turns, rest = divmod(epoch * left, present)
    return epoch * least + turns + (position < rest)


def _through_shuffles(members: np.ndarray, first: int, count: int, seed: int, number: int) -> np.ndarray:
    """``count`` examples from place ``first`` on in the endless row of shuffles of ``members``."""
    size, drawn = len(members), []
    for shuffle in range(first // size, -(-(first + count) // size)):
        rng = np.random.Generator(np.random.Philox(key=mix(seed, SAMPLE, number, shuffle)))
        drawn.append(members[rng.permutation(size)])
    start = first % size
    return np.concatenate(drawn)[start : start + count] if drawn else members[:0]
