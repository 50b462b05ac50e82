"""What a graph may hold before it is given to ONNX Runtime: it may come from a stranger.

A graph of ONNX can name files beside it, or anywhere, as the place of its weights, and operators of libraries that are
loaded into the process. ptm loads graphs that hold all their weights and know no operators but those of ONNX and those
that ONNX Runtime's own quantisation writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ptm.base.extras import install
from ptm.base.regular import open_regular
from ptm.errors import MissingDownload, ModelError

MOST_BYTES = 2**31 - 1  # of a protobuf
MOST_OPERATORS = 1_000_000  # large models have some ten thousand
MOST_FUNCTIONS = 1_000  # those of ptm's own graphs are none
_STANDARD = ("", "ai.onnx")
_LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})  # no end is known of one, and ptm's own graphs have none
# Of ONNX Runtime's own operators, domain com.microsoft.
_OF_RUNTIME = frozenset(
    {
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
    }
)


def require_packages() -> None:
    """MissingDownload where the packages of the extra are not installed."""
    import importlib.util

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise MissingDownload(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            where="ptm export",
            cure=install("export"),
        )


def read_graph(path: Path) -> bytes:
    """The graph, for :class:`onnxruntime.InferenceSession`. Raises ModelError for one that ptm does not load."""
    require_packages()
    try:
        with open_regular(path) as file:
            content: bytes = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=path) from None
    if len(content) > MOST_BYTES:
        raise ModelError(f"larger than {MOST_BYTES:,} bytes", where=path, expected="a graph of ONNX")
    require_own_weights(content, path)
    return content


def require_own_weights(content: bytes, where: Path) -> None:
    """Raise ModelError for a graph that names files, or operators that are not ONNX's."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"is no graph of ONNX: {str(error)[:80]}", where=where) from None
    _require_few_operators(model, where)
    named = {(function.domain, function.name) for function in model.functions}
    for graph in (model.graph, *model.functions):
        for node in _nodes(graph):
            own = (node.domain, node.op_type) in named
            microsoft = node.domain == "com.microsoft" and node.op_type in _OF_RUNTIME
            if node.domain in _STANDARD and node.op_type in _LOOPS:
                raise ModelError(
                    f"has a loop: {node.op_type}",
                    where=where,
                    expected="a graph that computes each of its operators once",
                    cure="export the model again with ptm export",
                )
            if not (own or microsoft or node.domain in _STANDARD):
                raise ModelError(
                    f"has an operator that is not ONNX's: {node.domain[:40]}::{node.op_type[:40]}",
                    where=where,
                    expected="operators of ONNX and of its quantisation",
                    cure="export the model again with ptm export",
                )
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(
                f"has weights in another file: {tensor.name[:80]}",
                where=where,
                expected="a graph that holds its own weights",
                cure="export the model again with ptm export; ptm opens no file that a graph names",
            )


def _require_few_operators(model: Any, where: Path) -> None:
    """Raise ModelError where functions that call each other come to more operators than any model has: each of forty
    that calls the next one twice is written down in a kilobyte."""
    called = {
        (function.domain, function.name): [(node.domain, node.op_type) for node in _nodes(function)]
        for function in model.functions
    }
    sizes: dict[tuple[str, str], int] = {}

    def size(names: Iterable[tuple[str, str]]) -> int:
        """Operators, those of functions counted; of a function that calls itself at least MOST_OPERATORS."""
        return sum(sizes.get(name, MOST_OPERATORS + 1) if name in called else 1 for name in names)

    waiting = set(called) if len(called) <= MOST_FUNCTIONS else set()
    while ready := {name for name in waiting if not waiting.intersection(called[name])}:
        sizes |= {name: min(size(called[name]), MOST_OPERATORS + 1) for name in ready}
        waiting -= ready
    if size((node.domain, node.op_type) for node in _nodes(model.graph)) > MOST_OPERATORS:
        raise ModelError(
            f"its functions come to more than {MOST_OPERATORS:,} operators, or call themselves",
            where=where,
            expected="a graph of ONNX as ptm export writes it",
            cure="export the model again with ptm export",
        )


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a message of protobuf, wherever it stands."""
    if message.DESCRIPTOR.full_name == "onnx.TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            repeated = not hasattr(value, "DESCRIPTOR")
            for inner in value if repeated else [value]:
                yield from _tensors(inner)
