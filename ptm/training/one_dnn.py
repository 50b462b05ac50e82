"""Linear layers in fp32 on a CPU, by oneDNN where torch's default is slow.

torch multiplies fp32 matrices by Intel's MKL, which uses half of the vector units' width (AVX2) on a processor of
another maker. oneDNN, which torch brings along and uses for bf16 and for convolutions, uses all of it (AVX-512): the
same products in fp32, summed in another order, in half of the time (docs/performance.md). So linear layers go there.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptm.training.recompute import Linear, source_of

# What torch.compile puts in for a linear layer; None in a torch that has no such operation.
OPERATION: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_CPU_INFO = Path("/proc/cpuinfo")
# Below this, choosing and calling oneDNN's kernel costs more than it saves (about 10 µs a call).
_FEWEST_PRODUCTS = 1_000_000
PLAIN = (Tensor, torch.nn.Parameter)  # DTensors and the like have products of their own


@cache
def one_dnn_is_faster() -> bool:
    """Whether this processor has AVX-512, is not Intel's, and this torch has oneDNN: a property of the machine, not a
    measurement, so that runs on one machine compute alike."""
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return False
    vendors = {line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")}
    return (
        bool(vendors)
        and "GenuineIntel" not in vendors
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and OPERATION is not None
    )


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias``; fp32 [m, k], [n, k], [n]."""
    done: Tensor = OPERATION(left, right, bias, "none", [], "")
    return done


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias`` by what is fastest here; [m, k], [n, k], [n]. It has no gradient."""
    fits = left.dtype == torch.float32 and left.device.type == "cpu" and one_dnn_is_faster()
    return _product(left, right, bias) if fits else torch.nn.functional.linear(left, right, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`torch.nn.functional.linear` by oneDNN: fp32 [..., k], [n, k], [n] to [..., n]."""
    # Of rows that do not lie side by side (each text's first token) its gradient took 50 times as long.
    args = (x.reshape(-1, x.shape[-1]).contiguous(), weight, bias)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in args)
    out = Linear.apply(*args, _product, source_of(x)) if learns else _product(*args)
    return out.view(*x.shape[:-1], weight.shape[0])


def linear_where_it_pays(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`torch.nn.functional.linear`, in fp32 on the CPU and from a size on by oneDNN."""
    layer = linear if _fits(input, weight, bias) else torch.nn.functional.linear
    return layer(input, weight, bias)


def _fits(x: Any, weight: Any, bias: Any) -> bool:
    return (
        type(x) in PLAIN
        and type(weight) in PLAIN
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and weight.ndim == 2
        and (bias is None or _fits_bias(bias, weight))
        and weight.is_contiguous()
        and x.numel() * weight.shape[0] >= _FEWEST_PRODUCTS
        and x.shape[-1] == weight.shape[1]
    )


def _fits_bias(bias: Any, weight: Tensor) -> bool:
    return (
        type(bias) in PLAIN
        and bias.dtype == torch.float32
        and bias.device.type == "cpu"
        and bias.shape == weight.shape[:1]  # torch's own also takes one number for all
    )
