"""Looking inside leaves a model as it was."""

import pytest
import torch
from torch import nn

from ptm.models.inside import evaluating, hooked


def test_11_07_modes_and_hooks_are_as_before_even_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model[0].eval()
    seen = []
    with (
        pytest.raises(KeyError),
        evaluating(model),
        hooked(model[0], lambda m, i, output: seen.append(output)),
    ):
        assert not model[1].training
        model(torch.ones(1, 2))
        raise KeyError
    model(torch.ones(1, 2))
    assert len(seen) == 1 and model.training and model[1].training and not model[0].training
