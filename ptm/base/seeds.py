"""Random numbers as pure functions: a seed for each purpose, drawn from one seed and where it is used."""

from __future__ import annotations

import numpy as np

# Independent streams of random numbers drawn from one seed.
ORDER, DROPOUT, VIEW, INIT, SAMPLE, ERASE, MIX, PARTNER = range(8)


def mix(*words: int) -> int:
    """A 63-bit number that depends on every word and on their order (SplitMix64 finaliser, Steele et al. 2014).

    Used wherever a seed is derived: ``mix(seed, DROPOUT, step, micro_step)``.
    """
    mask = (1 << 64) - 1
    state = 0
    for word in words:
        state = (state ^ (word & mask)) + 0x9E3779B97F4A7C15 & mask
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state >> 1


def uniforms(seed: int, epoch: int, ids: np.ndarray, draws: int) -> np.ndarray:
    """``draws`` numbers in [0, 1) for each id, float64 [len(ids), draws]: a function of (seed, epoch, id) alone.

    The same hash as :func:`mix`, over whole arrays: random views of a batch cost microseconds, in any
    process and any order.
    """
    base = np.uint64(mix(seed, VIEW, epoch))
    words = np.arange(draws, dtype=np.uint64)
    state = finalised((ids.astype(np.uint64)[:, None] * np.uint64(draws) + words) ^ base)
    return (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def finalised(state: np.ndarray) -> np.ndarray:
    """One round of :func:`mix` of each number, uint64 of any shape."""
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(state ^ (state >> np.uint64(31)))
