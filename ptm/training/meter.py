"""What the steps since the last line of the log add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptm.training.progress import Progress


@dataclass(frozen=True)
class StepNumbers:
    """What a finished step left behind. ``loss_sum`` and ``parts`` are sums over ``count`` things."""

    examples: int
    ids: np.ndarray  # int64, of this process's examples
    loss_sum: float
    count: float
    parts: Mapping[str, float]
    gradient_norm: float

    @property
    def loss(self) -> float:
        return self.loss_sum / self.count


class Meter:
    """Sums in ``progress.window``, which checkpoints keep: a resumed run writes the same lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def add(self, numbers: StepNumbers) -> None:
        window = self._progress.window
        sums = {
            "loss": numbers.loss_sum,
            "count": numbers.count,
            **numbers.parts,
            "examples": numbers.examples,
        }
        for name, value in sums.items():
            window[name] = window.get(name, 0) + value

    def status(self, loss: float) -> str:
        """For people: the newest loss, and the rate since the start."""
        progress = self._progress
        rate = progress.examples / progress.seconds if progress.seconds else 0.0
        return f"loss {loss:.4f}  {rate:.0f} examples/s"

    def take_line(self, *, epoch: float, learning_rate: float, gradient_norm: float) -> dict[str, Any]:
        """The line of metrics.jsonl for the steps since the last one; the sums begin anew."""
        window = self._progress.window
        count, examples = window.pop("count"), window.pop("examples")
        means = {name: value / count for name, value in window.items()}
        window.clear()
        loss = means.pop("loss")
        return {
            "kind": "train",
            "step": self._progress.step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": gradient_norm,
            **({"parts": means} if means else {}),
            "examples": int(examples),
            "seconds": round(self._progress.seconds, 3),
        }
