"""Order, shares of processes and random numbers: pure functions, and what each promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.base.seeds import mix, uniforms
from ptm.training.order import FILLER, epoch_plan, eval_plan, filled, micro_batches, shard

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 70), st.integers(0, 2**32 - 1), st.integers(0, 50))


def skewed(size, seed=0):
    """Lengths as of real texts: many short ones, a few long ones."""
    return np.random.default_rng(seed).lognormal(3, 0.8, size).astype(int).clip(3, 128)


def ids(plan):
    return np.concatenate(plan).tolist()


def equal(one, other):
    return [a.tolist() for a in one] == [b.tolist() for b in other]


def padding(plan, lengths):
    """Share of a padded batch's tokens that pad, over all batches."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in plan)
    return 1 - lengths.sum() / padded


@given(SIZES, st.booleans())
def test_an_epoch_has_every_example_once_in_full_batches_but_the_last(sizes, grouped):
    size, batch_size, seed, epoch = sizes
    lengths = skewed(size) if grouped else None
    plan = epoch_plan(size, batch_size, seed, epoch, lengths)
    assert sorted(ids(plan)) == list(range(size))
    assert all(len(batch) == batch_size for batch in plan[:-1])
    assert len(plan) == -(-size // batch_size)
    assert equal(plan, epoch_plan(size, batch_size, seed, epoch, lengths))


@pytest.mark.parametrize("grouped", [False, True])
def test_every_epoch_and_every_seed_has_its_own_order(grouped):
    lengths = skewed(100) if grouped else None
    plans = [epoch_plan(100, 10, seed, epoch, lengths) for seed in range(4) for epoch in range(4)]
    assert len({tuple(ids(plan)) for plan in plans}) == 16
    firsts = np.array([plan[0] for plan in plans[1::4]])
    assert len(np.unique(firsts)) > 20


def test_grouping_by_length_wastes_far_less():
    lengths = skewed(5000)
    mixed = padding(epoch_plan(5000, 32, 1, 1), lengths)
    grouped = padding(epoch_plan(5000, 32, 1, 1, lengths), lengths)
    assert mixed > 0.5
    assert grouped < 0.1


def test_groups_are_nearly_random():
    """Lengths do not rise or fall along an epoch, and a batch is not the same in two epochs."""
    lengths = skewed(5000)
    plans = [epoch_plan(5000, 32, 1, epoch, lengths) for epoch in (1, 2)]
    means = np.array([lengths[batch].mean() for batch in plans[0]])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2
    assert not {tuple(sorted(b)) for b in plans[0]} & {tuple(sorted(b)) for b in plans[1]}


@given(SIZES)
def test_the_first_batch_of_all_is_as_large_as_any(sizes):
    size, batch_size, seed, _ = sizes
    lengths = skewed(size)
    plan = epoch_plan(size, batch_size, seed, 0, lengths)
    full = [int(lengths[batch].max()) for batch in plan if len(batch) == len(plan[0])]
    assert full[0] == max(full)
    assert len(plan[0]) == min(size, batch_size)
    if size % batch_size == 0:
        assert full[0] == lengths.max()


@given(SIZES)
def test_evaluation_has_every_example_once_longest_first(sizes):
    size, batch_size, *_ = sizes
    lengths = skewed(size)
    plan = eval_plan(size, batch_size, lengths)
    assert sorted(ids(plan)) == list(range(size))
    assert (np.diff(lengths[ids(plan)]) <= 0).all()
    assert ids(eval_plan(size, batch_size)) == list(range(size))


# Micro-batches and processes


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 9), st.booleans())
def test_micro_batches_and_shares_lose_and_double_nothing(size, micro, ranks, grouped):
    step = np.random.default_rng(size).permutation(1000)[:size]
    lengths = skewed(1000) if grouped else None
    pieces = micro_batches(step, micro, lengths)
    assert sorted(ids(pieces)) == sorted(step.tolist())
    assert all(1 <= len(piece) <= micro for piece in pieces)
    shards = [shard(pieces, rank, ranks) for rank in range(ranks)]
    flat = [item for part in shards for item in part]
    assert [index for index, _ in flat] == list(range(len(pieces)))  # contiguous, in the order of ranks
    assert equal([piece for _, piece in flat], pieces)
    counts = [len(part) for part in shards]
    assert max(counts) - min(counts) <= 1


def test_micro_batches_are_of_like_length():
    lengths = skewed(256)
    step = np.random.default_rng(0).permutation(256)
    pieces = micro_batches(step, 32, lengths)
    assert padding(pieces, lengths) < 0.5 * padding(micro_batches(step, 32), lengths)
    assert micro_batches(step, 256, lengths)[0].tolist() == step.tolist()  # one piece stays as it is


# Random numbers


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 1000),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    st.integers(1, 5),
)
def test_a_number_belongs_to_its_example_whatever_the_batch(seed, epoch, examples, draws):
    batch = np.array(examples, dtype=np.int64)
    whole = uniforms(seed, epoch, batch, draws)
    assert whole.shape == (len(batch), draws)
    assert whole.dtype == np.float64
    assert ((whole >= 0) & (whole < 1)).all()
    single = np.concatenate([uniforms(seed, epoch, batch[i : i + 1], draws) for i in range(len(batch))])
    assert (whole == single).all()
    assert (uniforms(seed, epoch, batch[::-1], draws) == whole[::-1]).all()


def test_numbers_are_uniform_and_independent():
    ids_ = np.arange(20_000)
    one = uniforms(1, 1, ids_, 3)
    for column in one.T:
        counts = np.histogram(column, bins=20, range=(0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi-squared, 19 degrees of freedom: p < 1e-5
    others = [uniforms(1, 2, ids_, 3), uniforms(2, 1, ids_, 3)]
    columns = np.concatenate([one, *others], axis=1)
    correlations = np.corrcoef(columns.T) - np.eye(9)
    assert abs(correlations).max() < 0.04
    assert abs(np.corrcoef(one[:-1, 0], one[1:, 0])[0, 1]) < 0.04
    assert len(np.unique(columns)) == columns.size


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=5), st.data())
def test_mix_depends_on_every_word_and_on_their_order(words, data):
    value = mix(*words)
    assert 0 <= value < 2**63
    assert mix(*words) == value
    place = data.draw(st.integers(0, len(words) - 1))
    other = list(words)
    other[place] ^= 1
    assert mix(*other) != value
    assert mix(*words, 0) != value
    if words != words[::-1]:
        assert mix(*words[::-1]) != value


def test_one_bit_of_a_word_changes_half_of_the_bits():
    flips = [(mix(1, 2, i) ^ mix(1, 2, i ^ (1 << (i % 20)))).bit_count() for i in range(2000)]
    assert 30 < np.mean(flips) < 33  # of 63


def test_13_06_the_longest_batch_is_found_by_its_last_example():
    lengths = np.random.default_rng(0).integers(1, 40, 1000)
    batches = epoch_plan(1000, 8, 3, 0, lengths)
    most = [int(lengths[batch].max()) for batch in batches]
    assert most[0] == max(most) == lengths.max()
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))


def test_13_07_a_shard_is_filled_to_the_length_of_the_largest():
    pieces = [np.array([4, 5]), np.array([6]), np.array([7])]
    shards = [filled(shard(pieces, rank, 2), pieces, 2) for rank in (0, 1)]
    assert [[index for index, _ in part] for part in shards] == [[0, FILLER], [1, 2]]
    assert shards[0][1][1].tolist() == [4, 5]  # an example that can be loaded, and counts for nothing
    assert [len(filled(shard(pieces, rank, 5), pieces, 5)) for rank in range(5)] == [1] * 5
