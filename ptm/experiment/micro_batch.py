"""``train.micro_batch_size: auto``: the largest pieces of a batch that fit into memory, tried before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from ptm.base.limits import free_memory
from ptm.experiment.measure import forget_peak, held, peak
from ptm.experiment.session import Session
from ptm.experiment.smallest_batch import unchanged
from ptm.objective import Objective
from ptm.pipeline import Pipeline
from ptm.training import optim
from ptm.training.memory import is_out_of_memory, shown
from ptm.training.runtime import batch_norms

_SHARE = 0.8  # of the free memory: other data, and other processes, need some as well
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Costs:
    """Bytes, beside what the process holds before its first step. ``fixed``: gradients; ``later``: what the optimizer
    adds with its first step; ``room``: what may be taken in all."""

    fixed: float
    later: float
    room: float


def with_micro_batch(session: Session, pipeline: Pipeline, objective: Objective) -> Session:
    """The session with a number in the place of ``auto``, the same in every process. The model is left as it was."""
    train = session.spec.train
    if train.micro_batch_size != "auto":
        return session
    batch = min(train.batch_size, pipeline.size("train"))
    device = session.runtime.device
    costs = _costs(session, pipeline, objective)
    with unchanged(pipeline.model):
        optim.training_mode(pipeline.model)
        sizes = halves(batch, least=2 if batch_norms(pipeline.model.modules()) else 1)
        if device.type == "cuda":
            found = largest_tried(sizes, lambda size: _fits(session, pipeline, objective, size, costs))
        else:
            found = largest_foreseen(sizes, lambda size: _growth(session, pipeline, objective, size), costs)
    size = min(session.runtime.gather(found))
    chosen = train.batch_size if size == batch else size
    session.reporter.say(
        f"micro-batch: {chosen} of {train.batch_size} examples, "
        + ("which fit at once" if size == batch else f"the most that fit into {shown(costs.room)}")
    )
    return replace(session, spec=replace(session.spec, train=replace(train, micro_batch_size=chosen)))


def halves(batch: int, least: int = 1) -> list[int]:
    """A batch cut into 1, 2, 4, … pieces: the size of the largest, falling, down to ``least``."""
    sizes = [batch]
    while sizes[-1] > least:  # a batch of one stays one
        sizes.append(max(least, -(-sizes[-1] // 2)))
    return sizes


def largest_tried(sizes: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The first of falling ``sizes`` that fits; the last where none does, which the run then says itself."""
    return next((size for size in sizes if fits(size)), sizes[-1])


def largest_foreseen(sizes: Sequence[int], growth: Callable[[int], float], costs: Costs) -> int:
    """The largest of falling ``sizes`` that fits. They are tried from the smallest on, and a larger one only when what
    the smaller one took says that there is room: a system without memory ends a process, and raises no error.

    ``growth``: bytes that a forward and a backward pass of so many examples take.
    """
    rising = sorted(sizes)
    room = costs.room - costs.later
    taken = growth(rising[0])
    fitting = rising[0]
    for smaller, size in pairwise(rising):
        # What does not grow with the examples are the gradients.
        foreseen = costs.fixed + max(0.0, taken - costs.fixed) * size / smaller
        if foreseen > room:
            break
        taken = growth(size)
        if taken > room:
            break
        fitting = size
    return fitting


def _costs(session: Session, pipeline: Pipeline, objective: Objective) -> Costs:
    modules = [module for module in (pipeline.model, objective.module) if module is not None]
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    trained = sum(p.numel() for p in parameters)
    later = sum(optim.state_numbers(session.spec.train, p) for p in parameters)
    later += trained if session.spec.train.averages else 0
    device, ranks = session.runtime.device, session.runtime.ranks
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory() / ranks
    return Costs(_FLOAT * trained, _FLOAT * later, _SHARE * free)


def _pass(session: Session, pipeline: Pipeline, objective: Objective, size: int) -> None:
    """A forward and a backward pass over the longest examples. Nothing of it stays."""
    lengths = pipeline.lengths("train")
    ids = np.arange(size) if lengths is None else np.sort(np.argsort(-lengths, kind="stable")[:size])
    counts = dict(objective.counts)
    try:
        (train_batch,) = objective.train_batches([ids], 0)
        asked = objective.ask_teachers(train_batch.to(session.runtime.device))
        with session.runtime.autocast():
            output = objective.loss(pipeline.model, asked)
        output.loss_sum.backward()
    finally:
        objective.counts.update(counts)
        for module in (pipeline.model, objective.module):
            if module is not None:
                module.zero_grad(set_to_none=True)


def _growth(session: Session, pipeline: Pipeline, objective: Objective, size: int) -> float:
    """Infinite where memory ran out."""
    forget_peak(session.runtime.device)
    before = held()
    try:
        _pass(session, pipeline, objective, size)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return float("inf")
    return max(0.0, peak(session.runtime.device) - before)


def _fits(session: Session, pipeline: Pipeline, objective: Objective, size: int, costs: Costs) -> bool:
    """Whether a pass runs beside what the optimizer will hold."""
    device = session.runtime.device
    try:
        state = torch.empty(int(costs.later), dtype=torch.uint8, device=device)
        forget_peak(device)
        before = torch.cuda.memory_allocated(device) - len(state)
        _pass(session, pipeline, objective, size)
        return peak(device) - before <= costs.room
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        torch.cuda.empty_cache()
