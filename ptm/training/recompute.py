"""Training on a CPU in less memory: what is cheap is computed again in the backward pass, in place of being kept.

torch keeps what each operation needs for its own gradient. Of ``linear(gelu(x))`` that is x and gelu(x), of dropout a
number of four bytes for each one bit, of attention with dropout three matrices a head. Kept here are x, a byte, and
one matrix and a byte: the rest follows from them by the same operations, so that all results are the same bits.

Nothing can follow from what has changed meanwhile: what is computed again comes from tensors that autograd keeps, which
refuses those that were changed in place.

Dropout draws here by itself, so that it costs a third of the time (:func:`_drawn`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # left [m, k], right [n, k], bias [n] to [m, n]

_FEWEST_NUMBERS = 100_000  # a tensor below this saves less than the calls in Python cost (about 20 µs each)
_FEWEST_DRAWS = 10_000  # the same of dropout, which also saves time: 5 ns a number
_DRAWN_AT_ONCE = 262_144  # half a megabyte of random bits, which stay in a core's own cache
_CHANCES = 2**16  # a draw of dropout is one of so many
_PLAIN = (Tensor, torch.nn.Parameter)  # DTensors and the like have operations of their own


class _Again:
    """A tensor that is computed again by ``function``: once, for all layers that wait for it."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._made: Tensor | None = None
        self.waiting = 0

    def make(self, *inputs: Tensor) -> Tensor:
        made = self._function(*inputs) if self._made is None else self._made
        self.waiting -= 1
        self._made = made if self.waiting > 0 else None
        return made


@dataclass(frozen=True)
class _Source:
    """The tensor that has it is what ``again`` makes of ``inputs``, as long as none of them was changed since:
    ``versions``, of the tensor and its inputs."""

    again: _Again
    inputs: tuple[Tensor, ...]
    versions: tuple[int, ...]


def _with_source(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    out = function(*inputs)
    if out.requires_grad and type(out) is Tensor and out.numel() >= _FEWEST_NUMBERS:
        out.ptm_source = _Source(_Again(function), inputs, _versions(out, *inputs))  # type: ignore[attr-defined]
    return out


def source_of(x: Tensor) -> _Source | None:
    """How to compute a tensor again; None where nobody knows, or it is no longer what was computed."""
    source: _Source | None = getattr(x, "ptm_source", None)
    return source if source and source.versions == _versions(x, *source.inputs) else None


def _versions(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(t._version for t in tensors)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """:func:`torch.nn.functional.gelu`, whose result a linear layer need not keep."""
    return _with_source(lambda x: F.gelu(x, approximate=approximate), input)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """:func:`torch.nn.functional.layer_norm`, whose result a linear layer need not keep."""
    if weight is None or bias is None:
        return F.layer_norm(input, normalized_shape, weight, bias, eps)
    return _with_source(lambda x, w, b: F.layer_norm(x, normalized_shape, w, b, eps), input, weight, bias)


class Linear(torch.autograd.Function):
    """``product(x, weight, bias)`` and its gradients by the same product; [m, k], [n, k], [n] to [m, n]. With a source
    x is computed again from that."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, product: Product, source: _Source | None
    ) -> Tensor:
        of_x, of_weight = ctx.needs_input_grad[:2]
        kept: tuple[Tensor, ...] = (x,)
        if source and of_weight:
            kept = source.inputs
            source.again.waiting += 1
        # Not the source: what it names would be held beyond this layer's backward pass.
        ctx.product, ctx.again, ctx.shape = product, source and source.again, x.shape
        ctx.save_for_backward(weight if of_x else None, *(kept if of_weight else ()))
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *kept = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        d_x = ctx.product(gradient, weight.t(), None) if of_x else None
        d_weight = None
        if of_weight:
            x = ctx.again.make(*kept).reshape(ctx.shape) if ctx.again else kept[0]
            d_weight = ctx.product(gradient.t(), x.t(), None)
        return d_x, d_weight, gradient.sum(0) if of_bias else None, None, None


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`torch.nn.functional.linear`, which computes its input again where that is known how."""
    source = source_of(input)
    if (
        source is None
        or torch.is_autocast_enabled("cpu")
        or not (weight.is_contiguous() and weight.ndim == 2)
    ):
        return F.linear(input, weight, bias)
    out: Tensor = Linear.apply(input.reshape(-1, input.shape[-1]), weight, bias, F.linear, source)
    return out.view(*input.shape[:-1], weight.shape[0])


class _Dropout(torch.autograd.Function):
    """Keeps a byte a number: whether it is left."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        left = _drawn(x, p)
        ctx.p = p
        ctx.save_for_backward(left)
        return _dropped(x, left, p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (left,) = ctx.saved_tensors
        return _dropped(gradient, left, ctx.p), None


def _drawn(x: Tensor, p: float) -> Tensor:
    """uint8, 1 where dropout leaves a number of ``x``. torch draws 53 bits a number and makes a fraction of them (4.2
    ns); sixteen are enough (1.0 ns): p is met within 1 / 131,072, and :func:`_dropped` divides by what it came to."""
    left = torch.empty_like(x, dtype=torch.uint8)
    flat = left.as_strided((left.numel(),), (1,)).view(torch.bool)  # as it lies in memory, in whichever order
    words = torch.empty(min(_DRAWN_AT_ONCE, flat.numel() + 3) // 4, dtype=torch.int64)
    draws = words.view(torch.int16)  # from -32,768 on
    bound = int(_share_left(p) * _CHANCES) - _CHANCES // 2
    for part in flat.split(draws.numel()):
        words[: (part.numel() + 3) // 4].random_(-(2**63), None)  # all 64 bits
        torch.lt(draws[: part.numel()], bound, out=part)
    return left


def _share_left(p: float) -> float:
    return round((1 - p) * _CHANCES) / _CHANCES


def _dropped(x: Tensor, left: Tensor, p: float) -> Tensor:
    """``x``, 0 where it is not left, and else divided by the share that is, rounded as torch rounds it."""
    return torch.mul(x, left).mul_(_factor(x.dtype, _share_left(p)))


@cache
def _factor(kind: torch.dtype, share: float) -> float:
    return float(torch.ones((), dtype=kind).div_(share))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`torch.nn.functional.dropout`, of draws of its own."""
    if not (training and _draws(p) and not inplace and _pays(input) and input.is_floating_point()):
        return F.dropout(input, p, training, inplace)
    done: Tensor = _Dropout.apply(input, p)
    return done


def _draws(p: float) -> bool:
    """Whether some are left, and some are not."""
    return 0 < _share_left(p) < 1


def _pays(x: Tensor) -> bool:
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.numel() >= _FEWEST_DRAWS
        and x.requires_grad
        and torch.is_grad_enabled()
    )


class _Attention(torch.autograd.Function):
    """softmax(q kᵀ scale + mask), dropout, times v: what torch computes where there is dropout (its function
    ``_scaled_dot_product_attention_math``), operation by operation. [b, heads, n, d], [b, heads, m, d], [b, heads, m,
    e] to [b, heads, n, e]; mask, of fp32, added to [b, heads, n, m]. Of bf16, scores and softmax are fp32 and all other
    products bf16, for which torch takes fp32 and up to five times as long."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, scale: float
    ) -> Tensor:
        (b, heads, n, _), m = q.shape, k.shape[2]
        rows, columns = _flat(q, math.sqrt(scale)), _flat(k, math.sqrt(scale))
        with torch.autocast("cpu", enabled=False):
            scores = torch.bmm(rows.float(), columns.float().transpose(1, 2)).view(b, heads, n, m)
            if mask is not None:
                scores.add_(mask)
            shares = torch.softmax(scores, -1)
            if mask is not None:
                nothing = (mask == -math.inf).all(-1, keepdim=True)
                if nothing.any():  # as torch: who may look at nothing gets 0, not NaN
                    shares.masked_fill_(nothing, 0.0)
            shares = shares.to(q.dtype)
            left = _drawn(shares, p)
            taken = _dropped(shares, left, p).view(b * heads, n, m)
            out = torch.bmm(taken, _flat(v)).view(b, heads, n, -1)
        ctx.p, ctx.scale = p, scale
        ctx.save_for_backward(q, k, v, shares, left)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares, left = ctx.saved_tensors
        (b, heads, n, m), root = shares.shape, math.sqrt(ctx.scale)
        gradient = _flat(gradient)
        taken = _dropped(shares, left, ctx.p).view(b * heads, n, m)
        d_values = torch.bmm(taken.transpose(1, 2), gradient)
        del taken
        d_taken = torch.bmm(gradient, _flat(v).transpose(1, 2)).view(b, heads, n, m)
        d_shares = _dropped(d_taken, left, ctx.p)
        d_scores = torch.ops.aten._softmax_backward_data(d_shares, shares, -1, shares.dtype)
        d_scores = d_scores.view(b * heads, n, m)
        d_q = torch.bmm(d_scores, _flat(k, root)).view(b, heads, n, -1).mul_(root)
        d_k = torch.bmm(_flat(q, root).transpose(1, 2), d_scores).view(b, heads, -1, m).mul_(root)
        return d_q, d_k.transpose(2, 3), d_values.view(b, heads, m, -1), None, None, None


def _flat(x: Tensor, factor: float = 1.0) -> Tensor:
    """[b, heads, n, d] to [b · heads, n, d], times a factor, as a product of matrices reads it fastest."""
    flat = x.contiguous() if factor == 1 else torch.mul(x, factor, out=torch.empty(x.shape, dtype=x.dtype))
    return flat.view(-1, *x.shape[2:])


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """:func:`torch.nn.functional.scaled_dot_product_attention`, of own draws. Without dropout torch keeps little."""
    factor = scale or query.shape[-1] ** -0.5
    if not (
        _draws(dropout_p)
        and not enable_gqa
        and factor > 0
        and query.dtype in (torch.float32, torch.bfloat16)
        and all(type(t) is Tensor and t.dtype == query.dtype and t.ndim == 4 for t in (query, key, value))
        and query.shape[:2] == key.shape[:2] == value.shape[:2]
        and (_pays(query) or _pays(key) or _pays(value))
        and (query.dtype == torch.bfloat16) == torch.is_autocast_enabled("cpu")
        and not (attn_mask is not None and (is_causal or attn_mask.requires_grad))
    ):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if is_causal:
        attn_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros(attn_mask.shape).masked_fill_(~attn_mask, -math.inf)
    done: Tensor = _Attention.apply(query, key, value, attn_mask, dropout_p, factor)
    return done


REPLACEMENTS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    F.gelu: gelu,
    F.layer_norm: layer_norm,
    F.linear: linear,
    F.dropout: dropout,
    F.scaled_dot_product_attention: attention,
}
