"""Of the embeddings of words, train the rows that the training's texts use, and no others.

A few thousand texts hold a fraction of the words of a vocabulary, which in turn is half of a small model. The gradient
of all other rows is zero, so AdamW has their moments at zero and lets them decay, and SGD leaves them alone. So they
need no gradient, no moments and no pass of the optimizer: the model that is trained has an embedding of the rows that
are used, under the same name, and shares all else with the pipeline's own. That one stays whole. It gets the rows,
and the decay of all others, whenever a run is evaluated, saved or over: to the bits that training all rows comes to
(with several threads to rounding: torch gives each a share of the norm of the gradients, and the shares are others).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from ptm.config.spec import RunSpec
from ptm.pipeline import Pipeline, ReadRows
from ptm.training import optim
from ptm.training.runtime import Runtime
from ptm.training.sharded import RowsOf, WholeModel, shares_weights

_FEWEST_NUMBERS = 1_000_000  # that are left out, below which a step gains less than a tenth of a millisecond
_DECAYED_AT_ONCE = 131_072  # numbers, half a megabyte, which stay in a core's own cache for all steps


class _RowsEmbedding(nn.Module):
    """Rows ``ids`` of an embedding, int64 [n], asked for by their numbers in all of it: int64 [...] to [..., width]."""

    def __init__(self, whole: nn.Embedding, ids: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(whole.weight.detach()[ids])
        self.weight.ptm_rows = RowsOf(ids, whole.num_embeddings)  # type: ignore[attr-defined]
        # What is not among them stands for one row too many: torch refuses it.
        places = torch.full((whole.num_embeddings,), len(ids))
        places[ids] = torch.arange(len(ids))
        self.register_buffer("places", places, persistent=False)
        fills = -1 if whole.padding_idx is None else int(places[whole.padding_idx])
        self.padding_idx = (
            fills if 0 <= fills < len(ids) else None
        )  # a tokenizer may fill up with another token

    def forward(self, ids: Tensor) -> Tensor:
        places: Any = self.places
        return nn.functional.embedding(places[ids], self.weight, self.padding_idx)


class RowsModel(WholeModel):
    """``model`` is trained, with the rows ``read`` of an embedding; ``whole`` gets them when they are collected."""

    def __init__(self, whole: nn.Module, read: ReadRows) -> None:
        self._full: nn.Embedding = whole.get_submodule(read.module)  # type: ignore[assignment]
        self._ids = torch.from_numpy(read.ids)
        self._others = torch.ones(self._full.num_embeddings, dtype=torch.bool)
        self._others[self._ids] = False
        self._rows = _RowsEmbedding(self._full, self._ids)
        self._whole = whole
        self._decays: list[float] = []  # of the steps since the rows were collected
        super().__init__(_with_module(whole, read.module, self._rows))

    def training_mode(self) -> None:
        super().training_mode()
        optim.training_mode(self._whole)  # which tasks ask for its mode

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if group["weight_decay"] and any(p is self._rows.weight for p in group["params"]):
                self._decays.append(1 - group["lr"] * group["weight_decay"])

    @torch.no_grad()
    def collect(self) -> None:
        self._full.weight[self._ids] = self._rows.weight
        if not self._decays:
            return
        rows = max(1, _DECAYED_AT_ONCE // self._full.embedding_dim)
        for ids in self._others.nonzero().flatten().split(rows):
            piece = self._full.weight[ids]
            for decay in self._decays:  # one by one: each step rounds
                piece.mul_(decay)
            self._full.weight[ids] = piece
        self._decays.clear()

    @contextmanager
    def collected(self) -> Iterator[None]:
        self.collect()
        yield

    @torch.no_grad()
    def spread(self) -> None:
        self._rows.weight.copy_(self._full.weight[self._ids])
        self._decays.clear()


def _with_module(root: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """``root`` with another module of this name. What contains it is copied, all else is the same modules."""
    twin, (first, _, rest) = copy(root), name.partition(".")
    inner = _with_module(root.get_submodule(first), rest, module) if rest else module
    twin._modules = {**root._modules, first: inner}
    return twin


def rows_model(model: nn.Module, pipeline: Pipeline, spec: RunSpec, runtime: Runtime) -> RowsModel | None:
    """None where all of the model is to be trained: nothing is known of the rows that are used, others change as well
    (of SGD's decay they have a momentum, Adafactor's rates are those of all rows), or too few would be left out."""
    train = spec.train
    averages = train.ema is not None or train.average_checkpoints is not None
    shares = shares_weights(spec.runtime, runtime)
    lets_be = train.optimizer == "adamw" or (train.optimizer == "sgd" and not train.weight_decay)
    if not lets_be or averages or shares or train.unfreeze_every or spec.runtime.compile:
        return None
    if runtime.device.type != "cpu":  # to be measured
        return None
    read = pipeline.read_rows()
    if read is None:
        return None
    full = model.get_submodule(read.module)
    if type(full) is not nn.Embedding:
        return None
    if not full.weight.requires_grad or full.max_norm or full.sparse or full.scale_grad_by_freq:
        return None
    owners = sum(p is full.weight for m in model.modules() for p in m._parameters.values())
    hooked = bool(full._forward_hooks or full._forward_pre_hooks)
    left_out = (full.num_embeddings - len(read.ids)) * full.embedding_dim
    return RowsModel(model, read) if owners == 1 and not hooked and left_out >= _FEWEST_NUMBERS else None
