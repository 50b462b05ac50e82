"""Random numbers as functions of words."""

import numpy as np
import pytest

from ptm.base.seeds import DROPOUT, INIT, ORDER, VIEW, mix, uniforms


def test_a_seed_depends_on_every_word_and_on_their_order():
    assert mix(1, 2) == mix(1, 2)
    seeds = {mix(*words) for words in [(1,), (2,), (1, 2), (2, 1), (1, 2, 0), (0, 1, 2), (1, 3), (-1,)]}
    assert len(seeds) == 8
    assert len({ORDER, DROPOUT, VIEW, INIT}) == 4


def test_a_seed_fits_into_63_bits():
    seeds = [mix(word, 7) for word in range(200)]
    assert all(0 <= seed < 1 << 63 for seed in seeds) and len(set(seeds)) == 200
    assert max(seeds) > 1 << 62  # the highest bit is used
    assert mix(5) == mix(5 + (1 << 64))


def test_of_one_word_the_seed_is_splitmix64s_first_output():
    """Steele et al. 2014; the first output for the seed 1234567 as in the Java and C references, without its last bit,
    after one more xor-shift of 31."""
    state, mask = 1234567 + 0x9E3779B97F4A7C15, (1 << 64) - 1
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    reference = z ^ (z >> 31)
    assert reference == 6457827717110365317  # published
    assert mix(1234567) == reference >> 1


def test_numbers_of_an_id_do_not_depend_on_the_batch():
    ids = np.arange(100)
    together = uniforms(3, 1, ids, 4)
    assert together.shape == (100, 4) and together.dtype == np.float64
    assert np.array_equal(uniforms(3, 1, ids[[7, 3]], 4), together[[7, 3]])
    assert len(np.unique(together)) == 400
    for seed, epoch in ((4, 1), (3, 2)):
        assert not np.isin(uniforms(seed, epoch, ids, 4), together).any()


@pytest.mark.parametrize("draws", [1, 3])
def test_numbers_are_uniform(draws):
    numbers = uniforms(0, 0, np.arange(20_000), draws)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0] / numbers.size
    assert np.abs(counts - 0.1).max() < 0.01
    if draws > 1:
        assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 0.03
