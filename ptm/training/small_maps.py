"""Convolutions over maps smaller than their kernels reach: without the weights that meet nothing but padding.

ResNet-18 ends on maps of one pixel when its images have 32: of a 3x3 kernel with padding 1 only the weight in the
middle meets a pixel there, and the other eight multiply zeros. Left out, the same sums take a fraction of the time; the
weights that are left out have a gradient of zero either way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def part_that_meets(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[int, int, int] | None:
    """(first, end, padding): along one axis of ``size`` pixels, the weights ``first:end`` of a kernel and the padding
    with which they give what the whole kernel gives. None where nothing can be left out."""
    places = range((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    meeting = [
        weight
        for weight in range(kernel)
        if any(0 <= place * stride - padding + weight * dilation < size for place in places)
    ]
    if not meeting or len(meeting) == kernel:
        return None
    first, end = meeting[0], meeting[-1] + 1
    less = padding - first * dilation  # so that the first weight that is left stands where it stood
    span = dilation * (end - first - 1) + 1
    if less < 0 or (size + 2 * less - span) // stride + 1 != len(places):
        return None
    return first, end, less


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d`: [n, channels, h, w] by [out, channels / groups, kh, kw]."""
    if isinstance(padding, str) or input.ndim != 4 or weight.ndim != 4:
        return torch.nn.functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    strides, paddings, dilations = _pair(stride), _pair(padding), _pair(dilation)
    parts = [
        part_that_meets(*sizes)
        for sizes in zip(input.shape[2:], weight.shape[2:], strides, paddings, dilations, strict=True)
    ]
    if any(parts):
        kept = [slice(None) if part is None else slice(*part[:2]) for part in parts]
        weight = weight[:, :, kept[0], kept[1]]
        paddings = tuple(
            given if part is None else part[2] for given, part in zip(paddings, parts, strict=True)
        )
    return torch.nn.functional.conv2d(input, weight, bias, strides, paddings, dilations, groups)


def _pair(value: Any) -> tuple[int, ...]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return values * 2 if len(values) == 1 else values
