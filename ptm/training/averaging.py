"""An exponential moving average of the weights, beside those that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ptm.models import adapters


class WeightAverage:
    """The average of all that changes in a model, batch-norm statistics included (Polyak and Juditsky 1992; as
    exponential averages Tarvainen and Valpola 2017, arXiv:1703.01780, §2).

    After step t the average a becomes d · a + (1 - d) · w with d = min(decay, t / (t + 9)), so that the first steps do
    not stay in it. A function of the weights and the step alone.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._current().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        decay = min(self._decay, step / (step + 9))
        for name, tensor in self._current().items():
            average = self.tensors[name]
            if average.is_floating_point():
                average.lerp_(tensor.to(average.device), 1 - decay)
            else:
                average.copy_(tensor)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """What a checkpoint has of it. Raises ValueError for tensors of another model."""
        if set(tensors) != set(self.tensors):
            raise ValueError("the averaged weights are of another model")
        for name, tensor in tensors.items():
            if self.tensors[name].shape != tensor.shape:
                raise ValueError(f"the average of {name} is {list(tensor.shape)}")
            self.tensors[name].copy_(tensor)

    @torch.no_grad()
    def put_into_model(self) -> None:
        for name, tensor in self._current().items():
            tensor.copy_(self.tensors[name])

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The averaged weights in the place of the trained ones, which come back to the bit."""
        trained = {name: tensor.detach().clone() for name, tensor in self._current().items()}
        self.put_into_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._current().items():
                    tensor.copy_(trained[name])

    def _current(self) -> dict[str, Tensor]:
        """The state that changes, tied weights once."""
        unchanged = adapters.left_as_loaded(self._model)
        seen: set[int] = set()
        state: dict[str, Tensor] = {}
        for name, tensor in self._model.state_dict().items():
            key = tensor.data_ptr()
            if name in unchanged or (tensor.numel() and key in seen):
                continue
            seen.add(key)
            state[name] = tensor
        return state
