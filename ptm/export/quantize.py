"""Smaller weights: int8 by ONNX Runtime's quantisation, and bf16, in which weights are kept and not computed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ptm.errors import NotFinite

_FEWEST = 1024  # numbers of a tensor that is worth storing in 16 bits

Feeds = dict[str, np.ndarray]


def dynamic_int8(content: bytes) -> bytes:
    """Weights in int8, a scale a channel; the scale of what is multiplied by them is found anew in each pass (Wu et al.
    2020, arXiv:2004.09602)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _files(content) as (model, output):
        quantize_dynamic(model, output, per_channel=True, weight_type=QuantType.QInt8)
        return output.read_bytes()


def static_int8(content: bytes, batches: Sequence[Feeds]) -> bytes:
    """Weights in int8, a scale a channel, and what is computed in uint8, with scales that these batches show (Jacob et
    al. 2018, arXiv:1712.05877). Raises NotFinite where what is computed of them has no range."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> Feeds | None:
            return next(self._batches, None)

    with _files(content) as (model, output), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what is refused below
        try:
            quantize_static(
                model,
                output,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        except AssertionError as error:  # so ONNX Runtime says that a scale is NaN
            raise _without_range() from error
        quantized = output.read_bytes()
    _require_finite_scales(quantized)
    return quantized


def _require_finite_scales(content: bytes) -> None:
    """NotFinite where a graph multiplies by infinity, which ONNX Runtime writes without a word."""
    import onnx
    from onnx import TensorProto, numpy_helper

    for tensor in onnx.load_from_string(content).graph.initializer:
        scale = tensor.data_type == TensorProto.FLOAT and tensor.name.endswith("_scale")
        if scale and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise _without_range()


def _without_range() -> NotFinite:
    return NotFinite(
        "what the network computes of the training examples overflows, so no scale of int8 is found for it",
        where="--quantize int8",
        expected="finite weights and finite activations",
        cure="export without --quantize, or with --quantize bf16; where ptm eval tells of numbers that are not finite, "
        "too, train again with a smaller learning rate",
    )


def stored_in_bf16(content: bytes) -> bytes:
    """Weights rounded to bf16, the nearest, and cast to fp32 when the graph is loaded: half the file, the same
    arithmetic."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _FEWEST:
            continue
        values = np.ascontiguousarray(numpy_helper.to_array(tensor))
        name = tensor.name
        stored = f"{name}.bf16"
        dims = list(tensor.dims)
        tensor.Clear()
        tensor.CopyFrom(
            helper.make_tensor(stored, TensorProto.BFLOAT16, dims, _bf16(values).tobytes(), raw=True)
        )
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]  # in an order in which each finds its inputs
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))


def _bf16(values: np.ndarray) -> np.ndarray:
    """The upper 16 bits of fp32, rounded to the nearest, to even between two; uint16 of the same shape."""
    bits = values.astype("<f4").view("<u4").astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype("<u2")


@contextmanager
def _files(content: bytes) -> Iterator[tuple[Any, Path]]:
    """The graph as ONNX Runtime's quantisation reads it, and where to write to. It warns of graphs that were not
    prepared by a tool of its own, which changes names and helps in nothing here."""
    import onnx

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory(prefix="ptm-export-") as folder:
            yield onnx.load_from_string(content), Path(folder) / "quantized.onnx"
    finally:
        logging.disable(level)
