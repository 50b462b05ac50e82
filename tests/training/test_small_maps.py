"""Convolutions over maps that their kernels do not fit into: the same sums and gradients from a part of the weights."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ptm.experiment.products import products_of
from ptm.training import small_maps
from ptm.training.replaced import Replaced
from ptm.training.small_maps import convolution, part_that_meets


def numbers(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# The fewest weights of a product: products of any size, or none.
ways = pytest.mark.parametrize("fewest", [0, 10**9])


@contextmanager
def replaced(fewest):
    with pytest.MonkeyPatch.context() as patch, Replaced({F.conv2d: convolution}):
        patch.setattr(small_maps, "_FEWEST_WEIGHTS", fewest)
        yield


@ways
@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.sampled_from([1, 2]),
    biased=st.booleans(),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_13_02_values_and_gradients_are_those_of_the_whole_kernel(
    fewest, size, kernel, stride, padding, dilation, groups, biased, layout
):
    room = [n + 2 * p - d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
    leaves = [numbers(2, 4, *size, seed=0).contiguous(memory_format=layout)]
    leaves += [numbers(6, 4 // groups, *kernel, seed=1), numbers(6, seed=2)]
    if min(room) < 1:
        with (
            pytest.raises(RuntimeError, match="Kernel size can't be greater"),
            Replaced({F.conv2d: convolution}),
        ):
            F.conv2d(*leaves, stride, padding, dilation, groups)
        return
    found = []
    for inside in (False, True):
        own = [leaf.clone().requires_grad_() for leaf in leaves[: 2 + biased]]
        args = (*own, *([] if biased else [None]), stride, padding, dilation, groups)
        with replaced(fewest) if inside else nullcontext():
            out = F.relu(F.conv2d(*args), inplace=True)
        target = numbers(*out.shape, seed=3)
        found.append([out.detach(), *torch.autograd.grad((out * target).sum(), own)])
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


@pytest.mark.parametrize(
    ("channels", "side", "kernel", "stride", "found"),
    [
        (128, 2, 3, 1, True),  # ResNet-18 in its third part, images of 32 pixels
        (128, 4, 3, 2, True),
        (128, 1, 3, 1, True),
        (256, 1, 1, 1, False),  # a product in oneDNN, too
        (128, 3, 3, 1, False),  # more places than a product is worth
        (32, 2, 3, 1, False),  # fewer weights
    ],
)
def test_13_02_large_layers_over_small_maps_are_products(channels, side, kernel, stride, found, monkeypatch):
    layer = torch.nn.Conv2d(channels, channels, kernel, stride, kernel // 2)
    image, calls = torch.ones(2, channels, side, side), []
    monkeypatch.setattr(small_maps, "product", lambda *args: calls.append(1) or F.linear(*args))
    with Replaced({F.conv2d: convolution}):
        layer(image)
        assert bool(calls) is found
        calls.clear()
        with torch.autocast("cpu", torch.bfloat16):  # which casts what torch's own functions take
            half = layer(image)
        assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half, layer(image), rtol=0.02, atol=0.02)


@ways
def test_13_02_wrong_calls_are_torchs_own_error(fewest):
    image, weight = numbers(2, 4, 1, 1, seed=0), numbers(6, 4, 3, 3, seed=1)
    for wrong, match in [
        ((image[:, :3], weight, None, 1, 1), "to have 4 channels, but got 3"),
        ((image.float(), weight, None, 1, 1), "same|expected scalar type"),
        ((image, weight, numbers(5, seed=2), 1, 1), "bias"),
        ((image, weight), "Kernel size can't be greater"),
    ]:
        with pytest.raises(RuntimeError, match=match), replaced(fewest):
            F.conv2d(*wrong)


def test_13_05_products_are_counted():
    layer, image = torch.nn.Conv2d(128, 256, 1), torch.ones(2, 128, 1, 1, requires_grad=True)

    def step():
        with Replaced({F.conv2d: convolution}):
            out = layer(image)
        out.sum().backward()

    assert products_of(step, torch.device("cpu")).operations == 3 * 2 * 2 * 128 * 256
