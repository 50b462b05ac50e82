"""A graph in the place of a model: called as the model is, so that pipelines compute everything else as always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.errors import ModelError, first_line


class OnnxModel(nn.Module):
    """ONNX Runtime behind the signature of a network.

    Called with names, as models of transformers are, it gives an object with ``logits``; called with pixels, the
    tensor. It computes on the CPU, and gives tensors on the device that its inputs came from.
    """

    def __init__(self, content: bytes, *, threads: int, where: object) -> None:
        """Raises ModelError for a graph that ONNX Runtime refuses."""
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            if isinstance(error, MemoryError):
                raise
            raise ModelError(f"ONNX Runtime refuses it: {first_line(error)}", where=where) from None
        self.inputs: tuple[str, ...] = tuple(each.name for each in self._session.get_inputs())
        self._where = where

    def forward(self, *pixels: Tensor, **named: Tensor) -> Any:
        tensors = dict(zip(self.inputs, pixels, strict=True)) if pixels else filled(named, self.inputs)
        device = next(iter(tensors.values())).device
        feeds = {name: np.ascontiguousarray(t.detach().cpu().numpy()) for name, t in tensors.items()}
        try:
            (result,) = self._session.run(None, feeds)
        except Exception as error:
            if "allocate memory" in str(error) or isinstance(error, MemoryError):
                raise MemoryError(str(error)) from None
            raise ModelError(
                f"ONNX Runtime cannot compute it: {first_line(error)}", where=self._where
            ) from None
        output = torch.from_numpy(result).to(device)
        return output if pixels else SimpleNamespace(logits=output)


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


def require_inputs(model: OnnxModel, expected: Sequence[str], where: object) -> None:
    """ModelError for a graph that reads something else than its record says."""
    if model.inputs != tuple(expected):
        raise ModelError(
            f"reads {', '.join(model.inputs)[:120]}",
            where=where,
            expected=", ".join(expected),
            cure="export the model again with ptm export",
        )
