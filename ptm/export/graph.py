"""A model to a graph, by torch's exporter: any number of examples, of any length, and images of any size where the
network takes them."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptm.errors import ModelError
from ptm.text.models import position_limit

OPSET = 18  # what torch's exporter writes; other versions are made from it
OPSETS = range(18, 24)
OUTPUT = "logits"
_MOST_TOKENS = 1 << 20
_LONGEST_SIDE = 256 * 32  # pixels


@dataclass(frozen=True)
class Network:
    """A network as it is exported: ``inputs`` are examples, ``dynamic`` their axes of any size; ``output``: what its
    output is called."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic: Mapping[str, Mapping[int, Any]]
    output: str = OUTPUT


OutputOf = Callable[[Any, Tensor], Tensor]


class _TextNetwork(nn.Module):
    def __init__(self, model: nn.Module, names: tuple[str, ...], output_of: OutputOf) -> None:
        super().__init__()
        self.model, self._names, self._output_of = model, names, output_of

    def forward(self, *tensors: Tensor) -> Tensor:
        options = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        inputs = dict(zip(self._names, tensors, strict=True))
        result = self.model(**inputs, **options)
        return self._output_of(result, inputs["attention_mask"]).float()


class _ImageNetwork(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        result = self.model(pixels)
        output: Tensor = result["out"] if isinstance(result, dict) else result
        return output.float()


class _Reduced(nn.Module):
    """Computes in bf16, and is given and gives fp32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.to(torch.bfloat16)

    def forward(self, *tensors: Tensor) -> Tensor:
        cast = [t.to(torch.bfloat16) if t.is_floating_point() else t for t in tensors]
        result: Tensor = self.inner(*cast)
        return result.float()


def text_network(model: Any, *, segments: bool, output_of: OutputOf, output: str = OUTPUT) -> Network:
    """``input_ids``, ``attention_mask`` and, of a model that tells two texts apart, ``token_type_ids``: int64 [batch,
    length]; gives fp32 [batch, labels], or [batch, length, labels]: ``output_of`` the model's result and the mask."""
    names = ("input_ids", "attention_mask", *(["token_type_ids"] if segments else []))
    longest = min(position_limit(model), _MOST_TOKENS)
    length = min(7, longest)
    ids = torch.arange(2 * length).view(2, length) % max(2, model.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, length - 1 :] = 0
    tensors = (ids, mask, torch.zeros_like(ids))[: len(names)]
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1, max=longest)}
    module = _TextNetwork(model, names, output_of)
    return Network(module, dict(zip(names, tensors, strict=True)), dict.fromkeys(names, axes), output)


def image_network(model: nn.Module, *, side: int | None) -> Network:
    """``pixels``, normalised: fp32 [batch, 3, side, side]; without a side [batch, 3, height, width], both multiples of
    32. Gives fp32 [batch, labels], or [batch, labels, height, width]."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if side is None:
        most = _LONGEST_SIDE // 32
        axes |= {
            2: 32 * torch.export.Dim("rows", min=1, max=most),
            3: 32 * torch.export.Dim("columns", min=1, max=most),
        }
    height, width = (side, side) if side else (64, 96)
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    return Network(_ImageNetwork(model), {"pixels": pixels}, {"pixels": axes})


def to_onnx(network: Network, opset: int, where: object) -> bytes:
    """The graph with its weights. The same network gives the same bytes, and no place of this machine stands in them.

    Raises ModelError for a network that torch's exporter does not take.
    """
    with _quiet(), _errors(where):
        program = torch.onnx.export(
            network.module.eval(),
            tuple(network.inputs.values()),
            dynamo=True,
            input_names=list(network.inputs),
            output_names=[network.output],
            dynamic_shapes=_shapes(network),
            opset_version=opset,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
    _strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def to_torch(network: Network, path: Path, *, reduced: bool, where: object) -> nn.Module:
    """Write the graph of ``torch.export`` to ``path`` (.pt2), and give what it computes. ``reduced``: in bf16."""
    module = _Reduced(network.module) if reduced else network.module
    with _quiet(), _errors(where), torch.no_grad():
        program = torch.export.export(
            module.eval(), tuple(network.inputs.values()), dynamic_shapes=_shapes(network), strict=False
        )
        torch.export.save(program, path)
        return torch.export.load(path).module()


def _shapes(network: Network) -> Any:
    """As the exporter wants them: one for each argument; those of ``*tensors`` in a tuple of their own."""
    dynamic = tuple(dict(axes) for axes in network.dynamic.values())
    return dynamic if isinstance(network.module, _ImageNetwork) else (dynamic,)


def _strip(model: Any) -> None:
    """Take out what the exporter notes of how it came to each node: names of files and lines of code."""
    model.doc_string = ""
    for graph in (model.graph, *model.functions):
        _strip_graph(graph)
    del model.metadata_props[:]


def _strip_graph(graph: Any) -> None:
    graph.doc_string = ""
    for owner in (graph, *graph.node, *graph.value_info):
        owner.doc_string = ""
        if hasattr(owner, "metadata_props"):
            del owner.metadata_props[:]
    for group in ("input", "output", "initializer"):
        for value in getattr(graph, group, ()):
            if not isinstance(value, str):
                value.doc_string = ""
                del value.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _strip_graph(inner)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its steps on standard output, and warns of what is no concern of the user's."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _errors(where: object) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the exporter raises whatever the code of a network made torch raise
        cause = error.__cause__ or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        raise ModelError(
            f"torch's exporter does not take it: {(lines or [type(cause).__name__])[0][:200]}",
            where=where,
            expected="a network whose steps do not depend on what it reads",
            cure="choose another architecture for a model that is to be exported",
        ) from error
