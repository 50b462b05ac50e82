"""Convolutions over small maps: as one product of matrices, and without the weights that meet nothing but padding.

ResNet-18 ends on maps of 2x2 pixels and of one when its images have 32. There oneDNN takes several times as long for a
convolution as for the product of its patches, laid out as rows, and its weights as they lie: the same sums. And on one
pixel a 3x3 kernel with padding meets it with one weight, while eight multiply zeros: left out, the sums are the same,
and the gradient of what is left out is zero either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptm.training.one_dnn import PLAIN, product

# Measured (docs/performance.md). Above the first, patches take longer than they save; below the second, calls do.
_MOST_PLACES = 4
_FEWEST_WEIGHTS = 50_000
# A part of the weights has to be copied, and its gradient into zeros: only one as small as this is worth it.
_PART = 4


class _Axis(NamedTuple):
    """A convolution along one of its two axes, all in pixels."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def places(self) -> int:
        """How many numbers come out."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def meetings(self) -> list[tuple[int, slice, slice]]:
        """(weight, places, pixels) of each weight that meets pixels: the places of the output where it does, and the
        pixels that it meets there."""
        found = []
        for weight in range(self.kernel):
            offset = weight * self.dilation - self.padding  # from a place's first pixel, without padding
            first = max(0, -(offset // self.stride))
            last = min(self.places - 1, (self.size - 1 - offset) // self.stride)
            if first <= last:
                begin, end = first * self.stride + offset, last * self.stride + offset
                found.append((weight, slice(first, last + 1), slice(begin, end + 1, self.stride)))
        return found


@cache
def part_that_meets(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[int, int, int] | None:
    """(first, end, padding): along one axis of ``size`` pixels, the weights ``first:end`` of a kernel and the padding
    with which they give what the whole kernel gives. None where nothing can be left out."""
    axis = _Axis(size, kernel, stride, padding, dilation)
    meeting = [weight for weight, _, _ in axis.meetings()]
    if not meeting or len(meeting) == kernel:
        return None
    first, end = meeting[0], meeting[-1] + 1
    less = padding - first * dilation  # so that the first weight that is left stands where it stood
    if less < 0 or _Axis(size, end - first, stride, less, dilation).places != axis.places:
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
    high, wide = (
        _Axis(*sizes)
        for sizes in zip(input.shape[2:], weight.shape[2:], strides, paddings, dilations, strict=True)
    )
    # A kernel of one pixel is a product in oneDNN, too: 2 % of a step, and not torch's bits where nothing is gained.
    one_pixel = high.kernel == wide.kernel == 1
    small = not one_pixel and 1 <= high.places * wide.places <= _MOST_PLACES
    if groups == 1 and small and _fits(input, weight, bias):
        plan = _plan(high, wide)
        if plan is not None:
            out: Tensor = _Product.apply(input, weight, bias, plan)
            # Not within: what a function of one's own gives as a view, no ReLU may change in place.
            return out.view(len(input), *plan.places, -1).permute(0, 3, 1, 2)
    parts = [part_that_meets(*axis) for axis in (high, wide)]
    if any(parts):
        kept = [slice(None) if part is None else slice(*part[:2]) for part in parts]
        weight = weight[:, :, kept[0], kept[1]]
        paddings = tuple(
            given if part is None else part[2] for given, part in zip(paddings, parts, strict=True)
        )
    return torch.nn.functional.conv2d(input, weight, bias, strides, paddings, dilations, groups)


def _fits(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether these can be multiplied as they are, and are worth it; autocast casts what torch's own functions take."""
    return (
        weight.numel() >= _FEWEST_WEIGHTS
        and input.shape[1] == weight.shape[1]
        and all(type(t) in PLAIN and t.dtype == weight.dtype for t in (input, weight, bias) if t is not None)
        and (bias is None or bias.shape == weight.shape[:1])
        and not torch.is_autocast_enabled(input.device.type)
    )


@dataclass(frozen=True)
class _Plan:
    """How a convolution becomes a product. ``kernel``: the weights that take part; ``places``: [high, wide] that come
    out; ``windows``: for each weight, where [n, *places, channels, *kernel] holds the pixels that it meets, and where
    those are in [n, h, w, channels]."""

    kernel: tuple[slice, slice]
    places: tuple[int, int]
    windows: tuple[tuple[Any, Any], ...]

    def part(self, weight: Tensor) -> Tensor:
        """Of [out, channels, kh, kw]."""
        return weight[:, :, self.kernel[0], self.kernel[1]]

    def patches(self, map: Tensor) -> Tensor:
        """[n, channels, h, w] as [n * places, channels * kernel]."""
        rows = map.new_zeros(self._shape(len(map), map.shape[1]))
        pixels = map.permute(0, 2, 3, 1)
        for in_rows, in_map in self.windows:
            rows[in_rows] = pixels[in_map]
        return rows.view(-1, rows.shape[3:].numel())

    def gradient_of_map(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """[n, channels, h, w] from that of its patches."""
        n, channels, height, width = shape
        rows = rows.view(self._shape(n, channels))
        pixels = rows.new_zeros(n, height, width, channels)
        for in_rows, in_map in self.windows:
            pixels[in_map] += rows[in_rows]
        return pixels.permute(0, 3, 1, 2)

    def gradient_of_weight(self, part: Tensor, shape: torch.Size) -> Tensor:
        """[out, channels, kh, kw] from that of the part; zero where nothing was met."""
        if part.numel() == shape.numel():
            return part.view(shape)
        whole = part.new_zeros(shape)
        place = self.part(whole)
        place.copy_(part.view(place.shape))
        return whole

    def _shape(self, n: int, channels: int) -> tuple[int, ...]:
        return (n, *self.places, channels, *(part.stop - part.start for part in self.kernel))


@cache
def _plan(high: _Axis, wide: _Axis) -> _Plan | None:
    """None where nothing meets."""
    rows, columns = high.meetings(), wide.meetings()
    if not rows or not columns:
        return None
    top, bottom, left, right = rows[0][0], rows[-1][0] + 1, columns[0][0], columns[-1][0] + 1
    if _PART * (bottom - top) * (right - left) > high.kernel * wide.kernel:
        top, bottom, left, right = 0, high.kernel, 0, wide.kernel
    all_of = slice(None)
    windows = tuple(
        (
            (all_of, places_high, places_wide, all_of, row - top, column - left),
            (all_of, pixels_high, pixels_wide),
        )
        for row, places_high, pixels_high in rows
        for column, places_wide, pixels_wide in columns
    )
    return _Plan((slice(top, bottom), slice(left, right)), (high.places, wide.places), windows)


class _Product(torch.autograd.Function):
    """A convolution as the product of its patches and its weights: [n * places, out]."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
        rows, part = plan.patches(input), plan.part(weight).reshape(len(weight), -1).contiguous()
        ctx.save_for_backward(rows, part)
        ctx.plan, ctx.of_input, ctx.of_weight = plan, input.shape, weight.shape
        return product(rows, part, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, part = ctx.saved_tensors
        gradient = gradient.contiguous()
        input, weight, bias, _ = ctx.needs_input_grad
        return (
            ctx.plan.gradient_of_map(product(gradient, part.t()), ctx.of_input) if input else None,
            ctx.plan.gradient_of_weight(product(gradient.t(), rows.t()), ctx.of_weight) if weight else None,
            gradient.sum(0) if bias else None,
            None,
        )


def _pair(value: Any) -> tuple[int, ...]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return values * 2 if len(values) == 1 else values
