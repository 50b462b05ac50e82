"""Functions of torch that others stand in for, while they are asked to."""

import torch
from torch import nn
from torch.nn import functional as F

from ptm.training.replaced import Replaced


def test_13_02_what_stands_in_gets_what_was_given_and_may_call_it():
    calls = []

    def other(input, weight, bias=None):
        calls.append(bias is None)
        return -F.linear(input, weight, bias)

    layer, x = nn.Linear(3, 2), torch.ones(4, 3)
    own = layer(x)
    with Replaced({F.linear: other}):
        assert torch.equal(layer(x), -own)
        assert torch.equal(F.linear(bias=layer.bias, input=x, weight=layer.weight), -own)
        assert torch.equal(torch.relu(x), x)  # all else is as it was
    assert torch.equal(layer(x), own) and calls == [False, False]
