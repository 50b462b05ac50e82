"""Which examples make up which step: pure functions of (seed, epoch). Nothing to save, nothing to restore."""

from __future__ import annotations

import numpy as np

from ptm.base.seeds import ORDER, mix
from ptm.training.sampling import balanced_draws

FILLER = -1


def epoch_plan(
    size: int,
    batch_size: int,
    seed: int,
    epoch: int,
    lengths: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The batches of one epoch: every id once, the last batch may be smaller; with ``classes``, int64 [size], as many
    ids of each class (:func:`ptm.training.sampling.balanced_draws`).

    With ``lengths``, ids are shuffled, then sorted by length within windows of 50 batches, cut, and the batches
    shuffled: little padding, nearly random order. In epoch 0 the batch with the longest examples comes first, so
    that a model too large for the memory fails at once, not hours later.
    """
    rng = np.random.Generator(np.random.Philox(key=mix(seed, ORDER, epoch)))
    order = rng.permutation(size if classes is None else balanced_draws(classes, seed, epoch))
    if lengths is None:
        return _cut(order, batch_size)
    window = 50 * batch_size
    batches: list[np.ndarray] = []
    longest: list[np.ndarray] = []  # of each whole batch, its last id: within a batch, lengths rise
    for start in range(0, size, window):
        part = order[start : start + window]
        rising = part[np.argsort(lengths[part], kind="stable")]
        batches += _cut(rising, batch_size)
        longest.append(rising[batch_size - 1 :: batch_size])
    # The one short batch stays last, so that steps of an epoch differ in size as little as possible.
    tail = [batches.pop()] if len(batches[-1]) < batch_size else []
    shuffled = rng.permutation(len(batches))
    batches = [batches[i] for i in shuffled.tolist()]
    if epoch == 0 and batches:
        first = int(lengths[np.concatenate(longest)[shuffled]].argmax())
        batches.insert(0, batches.pop(first))
    return batches + tail


def eval_plan(size: int, batch_size: int, lengths: np.ndarray | None = None) -> list[np.ndarray]:
    """Every id once, longest first: least padding, and the memory peak comes at once."""
    order = np.arange(size) if lengths is None else np.argsort(-lengths, kind="stable")
    return _cut(order, batch_size)


def micro_batches(
    ids: np.ndarray, micro_batch_size: int, lengths: np.ndarray | None = None
) -> list[np.ndarray]:
    """One step's ids cut into pieces for one forward pass each, of like length where lengths are given."""
    if lengths is not None and len(ids) > micro_batch_size:
        ids = ids[np.argsort(lengths[ids], kind="stable")]
    return _cut(ids, micro_batch_size)


def shard(pieces: list[np.ndarray], rank: int, ranks: int) -> list[tuple[int, np.ndarray]]:
    """The pieces of one process, each with its index among all: contiguous, as even as possible.

    Contiguous, because processes then pass batch-norm statistics on in the order in which one process would
    have met them.
    """
    bounds = [len(pieces) * r // ranks for r in range(ranks + 1)]
    return [(index, pieces[index]) for index in range(bounds[rank], bounds[rank + 1])]


def filled(
    shard: list[tuple[int, np.ndarray]], pieces: list[np.ndarray], ranks: int
) -> list[tuple[int, np.ndarray]]:
    """A shard with as many pieces as the largest has, where all processes must call their model equally often: what is
    added has index -1, and is to count for nothing."""
    missing = -(-len(pieces) // ranks) - len(shard)
    return [*shard, *[(FILLER, pieces[0])] * missing]


def _cut(ids: np.ndarray, size: int) -> list[np.ndarray]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
