"""Which layers are compared."""

from ptm.distill.features import layer_pairs


def test_layers_are_evenly_spread():
    assert layer_pairs("hidden", None, 3, 6) == ((1, 2), (2, 4), (3, 6))
    assert layer_pairs("tinybert", None, 2, 6) == ((0, 0), (1, 3), (2, 6))
    assert layer_pairs("minilm", None, 3, 12) == ((3, 12),)
    assert layer_pairs("hidden", ((1, 1),), 3, 6) == ((1, 1),)
