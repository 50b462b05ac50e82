"""Where the time of training steps goes: the loop says when a part of a step ends, and this adds up the seconds."""

from __future__ import annotations

import time

import torch


class Laps:
    """Seconds by part: ``data``, ``forward``, ``backward``, ``exchange`` (between processes), ``optimizer``, and what
    lies ``between`` two steps. On a GPU each lap waits for it, so that a step takes longer than it otherwise does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.restart()

    def restart(self) -> None:
        """From here on, and from nothing."""
        self.seconds: dict[str, float] = {}
        self._last = self._now()

    def __call__(self, part: str) -> None:
        now = self._now()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
