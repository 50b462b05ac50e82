"""An average of the weights, beside those that are trained: exponential over steps, or of the last evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ptm.config.spec import TrainSpec
from ptm.models import adapters
from ptm.training.optim import StepCounts

Share = Callable[[int], float]  # step → the share of its weights in the average after it


def share_of(train: TrainSpec, counts: StepCounts) -> Share | None:
    """None where nothing is averaged."""
    if train.ema is not None:
        return exponential(train.ema)
    if train.average_checkpoints is None:
        return None
    every = train.eval_every_steps or counts.steps_per_epoch
    return of_last(train.average_checkpoints, every, counts.steps)


def exponential(decay: float) -> Share:
    """After step t the average a becomes d · a + (1 - d) · w with d = min(decay, t / (t + 9)), so that the first steps
    do not stay in it (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780, §2)."""
    return lambda step: 1 - min(decay, step / (step + 9))


def of_last(count: int, every: int, steps: int) -> Share:
    """The mean of the weights at the last ``count`` evaluations, of one ``every`` so many steps and one at the end
    (stochastic weight averaging, Izmailov et al. 2018, arXiv:1803.05407, eq. in §3.2); before, the newest weights."""
    last = -(-steps // every)

    def share(step: int) -> float:
        if step % every and step != steps:
            return 0.0
        place = -(-step // every) - max(0, last - count)
        return 1.0 if place < 1 else 1 / place

    return share


class WeightAverage:
    """The average of all that changes in a model, batch-norm statistics included: a function of the weights and the
    step alone."""

    def __init__(self, model: nn.Module, share: Share) -> None:
        self._model = model
        self.share = share
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._current().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        share = self.share(step)
        if share == 0:
            return
        for name, tensor in self._current().items():
            average = self.tensors[name]
            if average.is_floating_point():
                average.lerp_(tensor.to(average.device), share)
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
