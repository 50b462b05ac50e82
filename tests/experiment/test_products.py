"""Operations of products, counted by hand; and that they are timed at the shapes they have."""

import pytest
import torch
from torch import nn

from ptm.experiment.products import products_of, square_rate
from ptm.training.one_dnn import OPERATION, linear_where_it_pays
from ptm.training.replaced import Replaced

CPU = torch.device("cpu")


def test_13_05_operations_of_layers_by_hand():
    """Two per multiplication and addition; backward costs one product for the weights and one for the inputs, the
    latter only where something learns below."""
    layers = nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 3))
    inputs = torch.rand(4, 6)
    found = products_of(lambda: layers(inputs).sum().backward(), CPU)
    assert found.operations == 2 * 4 * 6 * 10 * 2 + 2 * 4 * 10 * 3 * 3
    assert found.seconds > 0 and found.rate == found.operations / found.seconds


def test_13_05_operations_of_convolutions_and_attention():
    convolution = nn.Conv2d(2, 5, 3, padding=1, groups=1).to(memory_format=torch.channels_last)
    images = torch.rand(3, 2, 8, 8).to(memory_format=torch.channels_last)
    assert products_of(lambda: convolution(images), CPU).operations == 2 * 3 * 8 * 8 * 2 * 5 * 9
    query = torch.rand(2, 4, 16, 8)
    forward = products_of(lambda: nn.functional.scaled_dot_product_attention(query, query, query), CPU)
    assert forward.operations == 2 * (2 * 2 * 4 * 16 * 16 * 8)


def test_13_05_nothing_to_multiply():
    found = products_of(lambda: torch.rand(3) + 1, CPU)
    assert found.operations == 0 and found.seconds == 0 and found.rate == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_13_05_rate_of_squares(dtype):
    assert square_rate(64, dtype, CPU) > 0


@pytest.mark.skipif(OPERATION is None, reason="this torch has no oneDNN")
def test_13_05_layers_by_one_dnn_count_as_those_of_torch():
    x, layer = torch.rand(64, 256, requires_grad=True), torch.nn.Linear(256, 512)

    def step():
        layer(x).sum().backward()

    def by_one_dnn():
        with Replaced({torch.nn.functional.linear: linear_where_it_pays}):
            out = layer(x)
        out.sum().backward()

    device = torch.device("cpu")
    found = products_of(by_one_dnn, device)
    assert found.operations == products_of(step, device).operations == 3 * 2 * 64 * 256 * 512
    assert found.seconds > 0
