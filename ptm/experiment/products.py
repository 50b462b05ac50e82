"""The products of a training step (matrices, convolutions, attention): how many operations, and how fast this machine
does them when it does nothing else. That is the least that a step can take; the rest is where something is to be won.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ptm.training.one_dnn import OPERATION, one_dnn_is_faster

_SHARE = 0.98  # of the operations are measured; the rest is taken for as fast
_REPEATS = 3
_aten: Any = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def _linear(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * int(math.prod(x)) * int(weight[0])


# What torch's counter does not know.
_ON_CPU: Mapping[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    **({} if OPERATION is None else {OPERATION: _linear}),
}


@dataclass(frozen=True)
class _Shape:
    """A tensor without its numbers."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def filled(self, device: torch.device) -> Tensor:
        room = 1 + sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        numbers = torch.rand(max(room, 1), device=device).sub_(0.5).to(self.dtype)
        return numbers.as_strided(self.size, self.stride)


@dataclass(frozen=True)
class StepProducts:
    """``operations``: floating-point ones of a step, a multiplication and an addition counted as two; ``seconds``: what
    its products take by themselves, one after the other, at the shapes, in the layouts and types that they have."""

    operations: int
    seconds: float

    @property
    def rate(self) -> float:
        """Operations a second that these products reach by themselves."""
        return self.operations / self.seconds if self.seconds else 0.0


class _Recorder(TorchDispatchMode):
    """Counts the calls of each kind of product."""

    def __init__(self, formulas: Mapping[Any, Callable[..., int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[tuple[Any, Any, Any]] = Counter()
        self.operations: dict[tuple[Any, Any, Any], int] = {}
        self._formulas = formulas

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            kind = (
                func,
                _without_numbers(args),
                tuple(sorted((k, _without_numbers(v)) for k, v in kwargs.items())),
            )
            self.calls[kind] += 1
            self.operations[kind] = int(formula(*args, **kwargs, out_val=result))
        return result


def products_of(step: Callable[[], object], device: torch.device) -> StepProducts:
    """Of what ``step`` computes, backward passes too. Calls it once, then its products alone a few times."""
    counter = FlopCounterMode(display=False, custom_mapping=dict(_ON_CPU))
    recorder = _Recorder(counter.flop_registry)
    with recorder, counter:
        step()
    total = int(counter.get_total_flops())
    kinds = sorted(recorder.calls, key=lambda kind: -recorder.calls[kind] * recorder.operations[kind])
    seconds, operations = 0.0, 0
    for kind in kinds:
        if operations >= _SHARE * total:
            break
        seconds += recorder.calls[kind] * _seconds_alone(kind, device)
        operations += recorder.calls[kind] * recorder.operations[kind]
    return StepProducts(total, seconds * total / operations if operations else 0.0)


def square_rate(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of the product of two square matrices: what the machine reaches at best."""
    shape = _Shape((size, size), (size, 1), dtype)
    kind: tuple[Any, Any, Any] = (_aten.mm.default, (shape, shape), ())
    if device.type == "cpu" and dtype == torch.float32 and one_dnn_is_faster():
        kind = (OPERATION.default, (shape, shape, None, "none", (), ""), ())
    return 2 * size**3 / _seconds_alone(kind, device)


def _seconds_alone(kind: tuple[Any, Any, Any], device: torch.device) -> float:
    function, args, kwargs = kind
    made = [_with_numbers(value, device) for value in args]
    named = {name: _with_numbers(value, device) for name, value in kwargs}
    times = []
    with torch.no_grad():
        for _ in range(1 + _REPEATS):
            begun = time.perf_counter()
            function(*made, **named)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begun)
    return median(times[1:])


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape), tuple(value.stride()), value.dtype)
    return tuple(map(_without_numbers, value)) if isinstance(value, list | tuple) else value


def _with_numbers(value: Any, device: torch.device) -> Any:
    if isinstance(value, _Shape):
        return value.filled(device)
    return [_with_numbers(inner, device) for inner in value] if isinstance(value, tuple) else value
