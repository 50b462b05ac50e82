"""The size of a model as results.json has it."""

from torch import nn

from ptm.models.size import describe_size


def test_shared_weights_count_once_and_frozen_ones_are_not_trained():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    size = describe_size("m", model)
    # 15 shared weights; scale and shift of 5 each; their running mean and variance and a counter of 8 bytes.
    assert size == {"name": "m", "parameters": 25, "trainable_parameters": 15, "bytes": 4 * (15 + 4 * 5) + 8}
