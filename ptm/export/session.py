"""A graph in the place of a model: called as the model is, so that pipelines compute everything else as always."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.errors import ModelError, OutOfMemory, first_line, listing

ShapeOf = Callable[[Sequence[int]], tuple[int, ...]]


class OnnxModel(nn.Module):
    """ONNX Runtime behind the signature of a network.

    Called with names, as models of transformers are, it gives an object with ``logits``; called with pixels, the
    tensor. ``shape_of``: what the shape of the logits has to be, by that of the first input. It computes on the
    CPU, and gives tensors on the device that its inputs came from.
    """

    def __init__(self, content: bytes, *, threads: int, where: object) -> None:
        """Raises ModelError for a graph that ONNX Runtime refuses."""
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it says in colours is in its exceptions, too
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            if isinstance(error, MemoryError):
                raise
            raise ModelError(f"ONNX Runtime refuses it: {first_line(error)}", where=where) from None
        self.inputs: tuple[str, ...] = tuple(each.name for each in self._session.get_inputs())
        outputs = [each.type for each in self._session.get_outputs()]
        if outputs != ["tensor(float)"]:
            raise ModelError(
                f"has {listing(outputs) or 'nothing'} as its outputs",
                where=where,
                expected="one tensor(float): logits",
            )
        self.shape_of: ShapeOf | None = None
        self._where = where

    def forward(self, *pixels: Tensor, **named: Tensor) -> Any:
        tensors = dict(zip(self.inputs, pixels, strict=True)) if pixels else filled(named, self.inputs)
        device = next(iter(tensors.values())).device
        feeds = {name: np.ascontiguousarray(t.detach().cpu().numpy()) for name, t in tensors.items()}
        try:
            (result,) = self._session.run(None, feeds)
        except Exception as error:
            if "allocate memory" in str(error) or isinstance(error, MemoryError):
                raise _out_of_memory(error, self._where) from None
            raise ModelError(
                f"ONNX Runtime cannot compute it: {first_line(error)}", where=self._where
            ) from None
        first = next(iter(tensors.values()))
        if self.shape_of is not None and result.shape != self.shape_of(first.shape):
            raise ModelError(
                f"gives logits of shape {list(result.shape)} for inputs of shape {list(first.shape)}",
                where=self._where,
                expected=f"shape {list(self.shape_of(first.shape))}",
                cure="export the model again with ptm export",
            )
        output = torch.from_numpy(result).to(device)
        return output if pixels else SimpleNamespace(logits=output)


def _out_of_memory(error: Exception, where: object) -> OutOfMemory:
    """The graph is what asks: it may come from a stranger, and want more than any batch accounts for."""
    size = re.search(r"size:? *(\d{1,30})", str(error))
    asked = f"; {int(size[1]):,} bytes were asked for at once" if size else ""
    return OutOfMemory(
        f"out of memory: the graph of the export{asked}",
        where=where,
        cure="fewer inputs at once, or shorter or smaller ones; if one alone is too large, the graph asks for it: "
        "export the model again with ptm export",
    )


class TorchModel(nn.Module):
    """A program of torch.export behind the signature of the network."""

    def __init__(self, program: nn.Module, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.program, self._inputs = program, inputs

    def train(self, mode: bool = True) -> TorchModel:
        return self  # such programs are what they are, and refuse to be told

    def forward(self, *pixels: Tensor, **named: Tensor) -> Any:
        if pixels:
            return self.program(*pixels)
        return SimpleNamespace(logits=self.program(*filled(named, self._inputs).values()))


def filled(named: Mapping[str, Tensor], inputs: Sequence[str]) -> dict[str, Tensor]:
    """What a network over texts reads; a mask, where nothing is padded, is all ones."""
    ids = named["input_ids"]
    defaults = {"attention_mask": torch.ones_like, "token_type_ids": torch.zeros_like}
    return {name: named[name] if name in named else defaults[name](ids) for name in inputs}


def require_inputs(model: OnnxModel, expected: Sequence[str], known: Sequence[str], where: object) -> None:
    """ModelError for a graph that reads something else than its record says, or than pipelines give: the first of
    ``known`` and any others of it."""
    if model.inputs != tuple(expected) or expected[0] != known[0] or not set(expected) <= set(known):
        raise ModelError(
            f"reads {', '.join(model.inputs)[:120]}",
            where=where,
            expected=", ".join(name for name in known if name in expected) or known[0],
            cure="export the model again with ptm export",
        )
