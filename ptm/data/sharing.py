"""Which examples are held out of train, by a fixed draw: the rows are the same for any seed of the training.

Fractions are taken one after the other, so that a test which is added leaves the evaluation examples as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptm.base import seeds
from ptm.data.arrow_values import first_rows, value_numbers
from ptm.errors import Problem

# Stream of the draw behind held-out fractions and limits. It is not the run's seed: the rows are always the same.
SELECT = 0x5E1EC7
_PASSES = 4  # over the groups, where their rows are of several strata


def share_out(
    strata: np.ndarray,
    fractions: Sequence[float],
    groups: np.ndarray,
    *,
    by_counts: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Row numbers (remaining, [held out for each of ``fractions``]). ``strata``, ``groups``: int64 [n].

    The fractions are of all rows of a stratum. A group, which is named by the number of its first row, stays on one
    side: in the stratum of its first row, or, with ``by_counts``, where it brings the counts of all strata nearest to
    what they should be, for groups whose rows are of several strata.
    """
    remaining, shares = np.arange(len(strata)), []
    for place, fraction in enumerate(fractions):
        later = len(fractions) - place - 1  # shares that are still to come
        if by_counts:
            taken = _by_counts(strata, groups, remaining, fraction, later)
        else:
            taken = _by_stratum(strata, groups, remaining, fraction, later, several=len(fractions) > 1)
        shares.append(remaining[taken])
        remaining = remaining[~taken]
    return remaining, shares


def hold_out(
    strata: np.ndarray, fraction: float, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (remaining, held out): the fraction of every stratum, at least one each, by a fixed draw.

    ``groups``: int64 [n], the first row that a row is equal to (default: all differ). A group stays on one side, in
    the stratum of its first row; a stratum of one group of several rows remains.
    """
    remaining, (held_out,) = share_out(
        strata, [fraction], np.arange(len(strata)) if groups is None else groups
    )
    return remaining, held_out


def joined_groups(groups: np.ndarray, others: Sequence[str]) -> np.ndarray:
    """Rows of one group, and rows with equal ``others``, belong together, and so do those that are linked by a third
    row: for each row the number of the first one that it belongs to, int64 [n]."""
    value = value_numbers(others)
    linked = np.flatnonzero(value != value[groups])  # equal rows of different ``others``
    if len(linked):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n, links = int(value.max()) + 1, (value[linked], value[groups[linked]])
        graph = coo_array((np.ones(len(linked), dtype=np.int8), links), shape=(n, n))
        value = connected_components(graph, directed=False)[1].astype(np.int64)[value]
    return first_rows(value)


def share_problem(split: str, rows: int, of: int, fraction: float, split_by: str) -> Problem | None:
    """A warning where groups are so large that a share is far from what it should be."""
    if not of or abs(rows / of - fraction) <= max(fraction / 2, 1 / of):
        return None
    what = f"{split} holds {rows} of {of} rows, {rows / of:.0%} where {fraction:.0%} was asked for"
    return Problem(what, "data.split_by", cure=f"the groups by {split_by!r} are large, and none is divided")


def _draw(n: int) -> np.ndarray:
    return seeds.uniforms(SELECT, 0, np.arange(n), 1)[:, 0]


def _by_stratum(
    strata: np.ndarray,
    groups: np.ndarray,
    remaining: np.ndarray,
    fraction: float,
    later: int,
    *,
    several: bool,
) -> np.ndarray:
    """bool [remaining]: which of the remaining rows are taken."""
    n = len(strata)
    draw, left, sizes = (
        _draw(n),
        np.bincount(groups[remaining], minlength=n),
        np.bincount(groups, minlength=n),
    )
    firsts = np.flatnonzero(sizes)
    chosen = np.zeros(n, dtype=bool)
    for stratum in np.unique(strata[firsts]):
        of_stratum = firsts[strata[firsts] == stratum]
        total = sizes[of_stratum].sum()
        in_order = of_stratum[np.argsort(draw[of_stratum], kind="stable")]
        in_order = in_order[left[in_order] > 0]
        counts = left[in_order]
        most = max(1, round(fraction * total))
        # As many groups as come nearest to the share, but never the last one of several rows.
        number = max(1, int(np.argmin(np.abs(np.cumsum(counts) - most))) + 1) if len(counts) else 0
        if number == len(counts) and counts.max(initial=0) > 1:
            number -= 1
        if several:  # then train comes first, and each share gets a group as long as there are any
            number = max(0, min(number, max(len(counts) - later - 1, min(1, len(counts) - 1))))
        chosen[in_order[:number]] = True
    taken: np.ndarray = chosen[groups[remaining]]
    return taken


def _by_counts(
    strata: np.ndarray, groups: np.ndarray, remaining: np.ndarray, fraction: float, later: int
) -> np.ndarray:
    """bool [remaining]. In the order of the draw, each group is taken, or given back, if that brings the counts of the
    strata, and that of all rows, nearer to what they should be, in relation to it. A group is left for train and each
    later share."""
    _, stratum = np.unique(strata, return_inverse=True)
    aims = fraction * np.append(np.bincount(stratum), len(stratum))
    firsts, group = np.unique(groups[remaining], return_inverse=True)
    counts = np.zeros((len(firsts), len(aims)))
    np.add.at(counts, (group, stratum[remaining]), 1)
    counts[:, -1] = counts.sum(1)
    draw, most = _draw(len(strata))[firsts], len(firsts) - later - 1
    order, missing, taken = np.argsort(draw, kind="stable"), aims, np.zeros(len(firsts), dtype=bool)
    for _ in range(_PASSES):
        before = taken.copy()
        missing = _passed(order, counts, aims, missing, taken, most)
        if np.array_equal(before, taken):  # and so it would stay
            break
    if not taken.any() and most > 0:
        distances = _distances(aims - counts, aims)
        taken[np.lexsort((draw, distances))[0]] = True
    rows: np.ndarray = taken[group]
    return rows


def _passed(
    order: np.ndarray, counts: np.ndarray, aims: np.ndarray, missing: np.ndarray, taken: np.ndarray, most: int
) -> np.ndarray:
    """What is missing after each group, in this order, was taken or given back in ``taken`` where that is better.

    One decision hangs on all before it, but mostly many groups in a row change, or stay: so it is assumed that all of a
    block do what the last one did, and they are judged at once, up to the first that does not."""
    at, ahead, changing = 0, 1, True
    while at < len(order):
        places = order[at : at + ahead]
        signs = np.where(taken[places], 1, -1)
        steps, number = counts[places] * signs[:, None], np.full(len(places), taken.sum())
        before = np.broadcast_to(missing, steps.shape)
        if changing:
            path = np.add.accumulate(np.concatenate([missing[None], steps]))
            before, number = path[:-1], number - np.cumsum(signs) + signs
        better = _distances(before + steps, aims) < _distances(before, aims)
        as_assumed = (better & (taken[places] | (number < most))) == changing
        right = len(places) if as_assumed.all() else int(as_assumed.argmin())
        if changing and right:
            taken[places[:right]] ^= True
            missing = path[right]
        at += right
        changing, ahead = (changing, ahead * 2) if right == len(places) else (not changing, 1)
    return missing


def _distances(missing: np.ndarray, aims: np.ndarray) -> np.ndarray:
    """Of each row from what should be, in relation to it."""
    return np.asarray((missing**2 / aims).sum(1))
