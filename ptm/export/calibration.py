"""What a network is given of training examples: the scales of a static quantisation are found with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.data.examples import Dataset
from ptm.export.session import filled
from ptm.pipeline import Pipeline
from ptm.training.order import eval_plan


class _Recorder(nn.Module):
    """Calls a network, and keeps what it was given."""

    def __init__(self, inner: nn.Module, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self._inputs = inner, inputs
        self.given: list[dict[str, np.ndarray]] = []

    def forward(self, *pixels: Tensor, **named: Tensor) -> Any:
        tensors = dict(zip(self._inputs, pixels, strict=True)) if pixels else filled(named, self._inputs)
        self.given.append({name: tensors[name].contiguous().numpy() for name in self._inputs})
        return self.inner(*pixels, **named)


@torch.inference_mode()
def feeds(
    pipeline: Pipeline, data: Dataset, count: int, batch_size: int, inputs: tuple[str, ...]
) -> list[dict[str, np.ndarray]]:
    """What the network is given of ``count`` training examples spread over them, without augmentation."""
    assert data.train is not None
    total = len(data.train)
    rows = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
    examples = pipeline.with_examples(data.train.select(rows))
    caller = _Recorder(pipeline.model, inputs).eval()
    for batch in examples.batches(
        "eval", eval_plan(examples.size("eval"), batch_size, examples.lengths("eval")), 0
    ):
        examples.evaluate_batch(caller, batch)
    return caller.given
