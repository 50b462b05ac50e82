"""Weights, gradients and the optimizer's state spread over the processes while a step is taken: torch's FSDP2.

The model that is trained is a second one, of whose parameters each process holds a share; before each layer its
parameters are gathered, after it they are dropped. The pipeline's own model stays whole, in the machine's memory, and
gets the weights whenever a run is evaluated, saved or over. So nothing else knows of shares: checkpoints, predictions
and ``model/`` are those of any run, and any number of processes goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ptm.config.spec import RuntimeSpec
from ptm.training import optim
from ptm.training.runtime import Runtime, peers


class WholeModel:
    """A model that each process holds whole: what is trained is what is evaluated and saved."""

    spread_out = False

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def training_mode(self) -> None:
        optim.training_mode(self.model)

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer has made a step."""

    def collect(self) -> None:
        """Let the whole model have the weights, in all processes at once."""

    def spread(self) -> None:
        """Let the trained model have the weights of the whole one."""

    @contextmanager
    def collected(self) -> Iterator[None]:
        """The whole model with the weights, on the device while inside."""
        yield


class ShardedModel(WholeModel):
    """``model`` is trained, ``whole`` keeps its weights between steps. Raises PeerLost."""

    spread_out = True

    def __init__(self, whole: nn.Module, runtime: Runtime) -> None:
        # Not at the top: a run that shards nothing has no use for the second it takes.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        self._whole, self._device = whole.to("cpu"), runtime.device
        super().__init__(deepcopy(whole))
        mesh = init_device_mesh(runtime.device.type, (runtime.ranks,))
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        with peers():
            # From the inside out: what is left to a module is what no module in it has taken.
            for layer in [layer for layers in reversed(lists) for layer in layers]:
                fully_shard(layer, mesh=mesh)
            fully_shard(self.model, mesh=mesh)
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                # The sum; it is divided once, by the count of all processes.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def training_mode(self) -> None:
        super().training_mode()
        optim.training_mode(self._whole)  # which tasks ask for its mode

    @torch.no_grad()
    def collect(self) -> None:
        target = self._whole.state_dict()
        with peers():
            for name, tensor in self.model.state_dict().items():
                target[name].copy_(whole(tensor))

    @contextmanager
    def collected(self) -> Iterator[None]:
        self.collect()
        self._whole.to(self._device)
        try:
            yield
        finally:
            self._whole.to("cpu")

    @torch.no_grad()
    def spread(self) -> None:
        source = self._whole.state_dict()
        for name, tensor in self.model.state_dict().items():
            tensor.copy_(placed_like(source[name], tensor))


def weights_of(model: nn.Module, spec: RuntimeSpec, runtime: Runtime) -> WholeModel:
    """What is trained of a model: it, or this process's share. One process has no others to share it with."""
    return ShardedModel(model, runtime) if shares_weights(spec, runtime) else WholeModel(model)


def shares_weights(spec: RuntimeSpec, runtime: Runtime) -> bool:
    return spec.shard == "fsdp" and runtime.ranks > 1


@dataclass(frozen=True)
class RowsOf:
    """What a parameter has that is some rows of a whole (``ptm_rows``): which, int64 [n], and of how many."""

    ids: Tensor
    count: int


def whole_shape(parameter: Tensor) -> torch.Size:
    rows: RowsOf | None = getattr(parameter, "ptm_rows", None)
    return parameter.shape if rows is None else torch.Size([rows.count, *parameter.shape[1:]])


def whole_state(state: Tensor, parameter: Tensor) -> Tensor:
    """What an optimizer keeps of a parameter, whole; of rows that are not trained zeros, as if they were."""
    rows: RowsOf | None = getattr(parameter, "ptm_rows", None)
    if rows is None or state.shape != parameter.shape:
        return whole(state)
    full = state.new_zeros(whole_shape(parameter))
    full[rows.ids] = state
    return full


def whole(tensor: Any) -> Tensor:
    """All of a tensor that is spread over the processes, which ask for it together; of another, that tensor."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()  # type: ignore[no-any-return]


def share(tensor: Any) -> Tensor:
    """What this process has of a tensor, in the same memory."""
    local = getattr(tensor, "to_local", None)
    return tensor if local is None else local()  # type: ignore[no-any-return]


def some_share_is_empty(tensor: Any) -> bool:
    """Whether some process has nothing of a tensor: the last two of four, of a layer for two classes."""
    if not hasattr(tensor, "full_tensor"):
        return False
    rows, ranks = tensor.shape[0], tensor.device_mesh.size()
    # torch deals ceil(rows / ranks) rows to each, until there are none.
    return -(-rows // ranks) * (ranks - 1) >= rows  # type: ignore[no-any-return]


def placed_like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor, which all processes have, as another is: spread over them, some of its rows, or all of it."""
    rows: RowsOf | None = getattr(other, "ptm_rows", None)
    if rows is not None:
        return tensor[rows.ids]
    if not hasattr(other, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    moved = tensor.to(other.to_local().device)
    return distribute_tensor(moved, other.device_mesh, other.placements, src_data_rank=None)
