"""Convolutions over maps that their kernels do not fit into: the same sums and gradients from a part of the weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ptm.training.replaced import Replaced
from ptm.training.small_maps import convolution, part_that_meets


def numbers(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.sampled_from([1, 2]),
)
def test_13_02_values_and_gradients_are_those_of_the_whole_kernel(
    size, kernel, stride, padding, dilation, groups
):
    room = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
    leaves = [numbers(2, 4, *size, seed=0), numbers(6, 4 // groups, *kernel, seed=1), numbers(6, seed=2)]
    if min(room) < 1:
        with (
            pytest.raises(RuntimeError, match="Kernel size can't be greater"),
            Replaced({F.conv2d: convolution}),
        ):
            F.conv2d(*leaves, stride, padding, dilation, groups)
        return
    found = []
    for inside in (False, True):
        own = [leaf.clone().requires_grad_() for leaf in leaves]
        if inside:
            with Replaced({F.conv2d: convolution}):
                out = F.conv2d(*own, stride, padding, dilation, groups)
        else:
            out = F.conv2d(*own, stride, padding, dilation, groups)
        target = numbers(*out.shape, seed=3)
        found.append([out, *torch.autograd.grad((out * target).sum(), own)])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("axis", "part"),
    [
        ((1, 3, 1, 1, 1), (1, 2, 0)),  # a map of one pixel, as ResNet-18 ends on with 32 pixels
        ((2, 3, 2, 1, 1), (1, 3, 0)),  # of two, by steps of two
        ((2, 3, 1, 1, 1), None),
        ((1, 7, 2, 3, 1), (3, 4, 0)),
        ((1, 3, 1, 12, 12), (1, 2, 0)),  # the dilated kernels of DeepLab
    ],
)
def test_13_02_what_meets_no_pixel_is_left_out(axis, part):
    assert part_that_meets(*axis) == part


def test_13_02_other_forms_of_a_call_are_torchs_own():
    image, weight = numbers(3, 1, 1, seed=0), numbers(2, 3, 3, 3, seed=1)
    layer = torch.nn.Conv2d(3, 2, 3, padding="same").double()
    named = {"input": image[None], "weight": weight, "padding": 1}
    expected = [F.conv2d(image, weight, padding=1), layer(image[None]), F.conv2d(**named)]
    with Replaced({F.conv2d: convolution}):
        got = [F.conv2d(image, weight, padding=1), layer(image[None]), F.conv2d(**named)]
    for theirs, ours in zip(expected, got, strict=True):
        torch.testing.assert_close(ours, theirs)
