"""The outputs of a frozen model: read from a store where there is one, computed for each batch where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptm.base.cache import room_for
from ptm.base.console import Reporter
from ptm.config.spec import DistillSpec
from ptm.distill.store import Field, Shard, Store, grow_logits, shrink_logits
from ptm.errors import StorageError, first_line
from ptm.objective import TeacherOutputs, TrainBatch
from ptm.pipeline import Batch, Output, Pipeline
from ptm.training import order
from ptm.training.cuda_graphs import Recorder
from ptm.training.memory import batch_memory
from ptm.training.runtime import Runtime

SAMPLE = 4  # stored examples that are computed again and compared at the start
_SYNC_SECONDS = 10.0  # between two syncs; a filling that took less can as well be repeated after a power cut


class Teacher:
    """One teacher over the training examples of its student.

    With a store, outputs are computed in blocks that are a function of the data alone, before the first step
    that needs them; they then do not depend on seed, batch size or interruptions. Without one, the teacher runs on
    each batch as it comes. ``requested`` are features besides the logits; ``logits``: whether these are needed.
    ``counts`` are sums that the engine keeps in its checkpoints (:func:`ptm.objective.new_counts`).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        student: Pipeline,
        runtime: Runtime,
        spec: DistillSpec,
        *,
        requested: tuple[str, ...],
        seed: int,
        counts: dict[str, float],
        logits: bool = True,
    ) -> None:
        self.pipeline = pipeline
        # With equal fingerprints the student's batches serve, and the examples need not be read twice.
        self._same_inputs = pipeline.input_fingerprint == student.input_fingerprint
        self._source = student if self._same_inputs else pipeline
        self._runtime = runtime
        self._spec = spec
        self._requested = requested + dense_logits(pipeline)
        self._logits = logits
        self._seed = seed
        self._counts = counts
        self._store: Store | None = None
        self.no_store = ""  # why there is none, or none any longer
        self._lengths = self._source.lengths("train")
        self._shards: dict[str, dict[str, Shard]] = {}  # of the views that are complete
        self._verified = False
        self._recorder: Recorder[TrainBatch, dict[str, Tensor]] | None = None
        self._fields: tuple[Field, ...] | None = None
        pipeline.model.eval()
        # Where both are one, it is a frozen backbone below a head: the engine marks what is trained.
        if pipeline is not student:
            pipeline.model.requires_grad_(False)

    # --- the store

    def open_store(
        self,
        root: Path,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        *,
        block: int,
        views: int,
        reserve: int = 0,
    ) -> None:
        """Use the store of this identity for the outputs; where that cannot be, ``no_store`` says why.

        ``block``: examples that are computed at once; ``views``: how many a run will need; ``reserve``: bytes of the
        disk that the run needs for other things.
        """
        blocks = order.eval_plan(self._source.size("train"), block, self._lengths)
        size = views * sum(self._bytes(field) for field in self.fields)
        # One answer for all processes: each would wait for the others' outputs.
        self.no_store = self._first_problem(_no_room(root, size, reserve) if self._runtime.main else "")
        if self.no_store:
            return
        problem = ""
        try:
            self._store = Store(root, identity, blocks, about)
        except StorageError as error:
            problem = first_line(error)
        if problem := self._first_problem(problem):
            self._do_without(problem)

    def _first_problem(self, problem: str) -> str:
        """What any process found wrong, in all of them; "" where none did."""
        return next((reason for reason in self._runtime.gather(problem) if reason), "")

    def _do_without(self, problem: str) -> None:
        """From now on the teacher is run on each batch as it comes."""
        self.close()
        self._store, self.no_store = None, problem

    def _bytes(self, field: Field) -> int:
        """What a field of all examples takes under one view."""
        rows = self._source.size("train")
        if field.per_token and self._lengths is not None:
            rows = int(self._lengths.sum())
        return rows * field.width * field.dtype.itemsize

    def close(self) -> None:
        """Let go of the store; from now on it may be removed."""
        self._shards.clear()
        if self._store is not None:
            self._store.close()

    @property
    def store(self) -> Store | None:
        return self._store

    @property
    def fields(self) -> tuple[Field, ...]:
        """What is stored of an example; shapes are those of a forward pass over one."""
        if self._fields is None:
            outputs = self._forward(next(iter(self._source.batches("train", [np.array([0])], 0))))
            self._fields = tuple(self._field(name, tensor) for name, tensor in outputs.items())
        return self._fields

    def _field(self, name: str, tensor: Tensor) -> Field:
        classes, top, precision = tensor.shape[-1], self._spec.top_k, self._spec.store_precision
        if name == "logits":
            if top is not None and top < classes:
                return Field(name=f"top{top}", shape=(top + 1,), precision=precision)
            return Field(name=name, shape=(classes,), precision=precision)
        per_token = self._lengths is not None and tensor.ndim > 2  # [n, tokens, …]
        shape = tuple(tensor.shape[2:] if per_token else tensor.shape[1:])
        return Field(name=name, shape=shape, per_token=per_token, precision=precision)

    @property
    def random_views(self) -> bool:
        return self._source.random_views

    def view_of(self, epoch: int) -> tuple[str, int]:
        """(name of the view that an epoch uses, the epoch it was made for)."""
        if not self._source.random_views:
            return "fixed", 0
        own = epoch % self._spec.views if self._spec.views else epoch
        return f"seed{self._seed}-epoch{own}", own

    def prepare(self, epoch: int, stop: Callable[[], bool], reporter: Reporter) -> bool:
        """Fill what the store lacks for an epoch. False: asked to stop before it was done.

        A store that takes no more, as on a full disk, is given up: ``no_store`` then says why. All processes take the
        same way through here.
        """
        view, own_epoch = self.view_of(epoch)
        if self._store is None or view in self._shards:
            return True
        begun = time.perf_counter()
        shards, problem = self._open_shards(view)
        complete = False
        if not problem:
            missing, problem = self._missing(shards, own_epoch, reporter)
        if not problem:
            share = missing[self._runtime.rank :: self._runtime.ranks]
            try:
                complete = self._fill(shards, share, own_epoch, stop, reporter)
            except StorageError as error:
                problem = first_line(error)
            # Waits for the others, too.
            problem = self._first_problem(problem)
        self._counts["teacher_seconds"] += time.perf_counter() - begun
        if problem:
            self._do_without(problem)
            reporter.say(f"warning: outputs are stored no longer, but computed for each batch ({problem})")
            return True
        if not complete:
            return False
        if not self._source.random_views or self._spec.views is None:
            # The views of an epoch are not needed again in this run.
            self._shards.clear()
        self._shards[view] = shards
        return True

    def _open_shards(self, view: str) -> tuple[dict[str, Shard], str]:
        """The files of a view by field, and what any process found wrong, in all of them; the first makes the files."""
        assert self._store is not None
        fields = list(self.fields)
        fields += [
            Field(name=f.name + "-index", shape=(f.width - 1,), precision="int32")
            for f in self.fields
            if f.name.startswith("top")
        ]
        shards: dict[str, Shard] = {}
        for first in (True, False):
            problem = ""
            if self._runtime.main is first:
                try:
                    for field in fields:
                        shards[field.name] = self._store.shard(view, field, self._lengths)
                except StorageError as error:
                    problem = first_line(error)
            if problem := self._first_problem(problem):
                for shard in shards.values():
                    shard.release()
                break
        return shards, problem

    def _missing(self, shards: Mapping[str, Shard], epoch: int, reporter: Reporter) -> tuple[list[int], str]:
        """Numbers of the blocks to compute, and what was wrong, in all processes. The first one looks: the others
        would see what it fills."""
        missing: list[int] = []
        problem = ""
        if self._runtime.main:
            try:
                missing = sorted({block for shard in shards.values() for block in shard.missing()})
                if not self._verified:
                    missing = self._verify(shards, missing, epoch, reporter)
            except StorageError as error:
                problem = first_line(error)
        of_first: tuple[list[int], str] = self._runtime.gather((missing, problem))[0]
        return of_first

    def _verify(
        self, shards: Mapping[str, Shard], missing: list[int], epoch: int, reporter: Reporter
    ) -> list[int]:
        """``missing``, or all blocks where what is stored is not what the teacher says."""
        assert self._store is not None
        everything = list(range(len(self._store.blocks)))
        if len(missing) == len(everything):
            return missing
        self._verified = True
        if self._matches(shards, set(missing), epoch):
            return missing
        reporter.say("teacher store: a stored output is not what the teacher says; all are computed anew")
        for shard in shards.values():
            shard.clear()
        return everything

    def _fill(
        self,
        shards: Mapping[str, Shard],
        missing: Sequence[int],
        epoch: int,
        stop: Callable[[], bool],
        reporter: Reporter,
    ) -> bool:
        if not missing:
            return True
        assert self._store is not None
        begun = synced = time.monotonic()
        reporter.begin("teacher", len(missing))
        batches = self._source.batches("train", [self._store.blocks[block] for block in missing], epoch)
        for done, (block, batch) in enumerate(zip(missing, batches, strict=True), start=1):
            # Several processes must stop at the same place: they do so when the whole store is filled.
            if self._runtime.ranks == 1 and stop():
                return False
            with batch_memory(self.pipeline, batch, "train.eval_batch_size"):
                self._write(shards, block, batch)
            self._counts["computed"] += len(batch)
            if time.monotonic() - synced > _SYNC_SECONDS:
                synced = time.monotonic()
                for shard in shards.values():
                    shard.sync()
            reporter.advance(done, f"{len(batch)} examples a block")
        reporter.end()
        if time.monotonic() - begun > _SYNC_SECONDS:
            for shard in shards.values():
                shard.sync()
        return True

    def _write(self, shards: Mapping[str, Shard], block: int, batch: Batch) -> None:
        self._to_device()
        outputs = self._forward(batch)
        for field in self.fields:
            name = "logits" if field.name.startswith("top") else field.name
            numbers = outputs[name].float().cpu().numpy()
            if name != field.name:
                numbers, index = shrink_logits(numbers, field.width - 1)
                shards[field.name + "-index"].write(block, list(index))
            if field.per_token:
                assert self._lengths is not None
                sizes = self._lengths[batch.ids]
                shards[field.name].write(block, [row[:n] for row, n in zip(numbers, sizes, strict=True)])
            else:
                shards[field.name].write(block, list(numbers))

    def _matches(self, shards: Mapping[str, Shard], missing: set[int], epoch: int) -> bool:
        """Whether a few stored outputs are, but for rounding, what the teacher gives now."""
        assert self._store is not None
        filled = [ids for i, ids in enumerate(self._store.blocks) if i not in missing]
        ids = np.array([filled[i * len(filled) // SAMPLE][0] for i in range(SAMPLE)])
        (batch,) = self._source.batches("train", [ids], epoch)
        outputs, numbers = self._forward(batch), self._read(shards, ids)
        tolerance = (
            0.02 if self._runtime.precision == "fp32" and self._spec.store_precision == "fp32" else 0.1
        )
        for name, stored in numbers.items():
            live = outputs[name].float().cpu()
            if name == "logits" and self._spec.top_k:
                live, stored = live.topk(2).values, stored.topk(2).values
            elif self._lengths is not None and live.ndim >= 3:
                # The store has zeros at padding.
                mask = torch.arange(live.shape[1]) < torch.from_numpy(self._lengths[ids])[:, None]
                live = live * mask.view(*mask.shape, *[1] * (live.ndim - 2))
            if not bool(((live - stored).abs() <= tolerance * (1 + live.abs().max())).all()):
                return False
        return True

    def _read(self, shards: Mapping[str, Shard], ids: np.ndarray) -> dict[str, Tensor]:
        outputs = {}
        for field in self.fields:
            numbers = shards[field.name].read(ids)
            if field.name.startswith("top"):
                index = shards[field.name + "-index"].read(ids).astype(np.int64)
                outputs["logits"] = torch.from_numpy(grow_logits(numbers, index, len(self.pipeline.labels)))
            else:
                outputs[field.name] = torch.from_numpy(numbers)
        return outputs

    # --- what the objective needs

    def load(self, plan: Sequence[np.ndarray], epoch: int) -> Iterator[TeacherOutputs]:
        """The outputs for each batch of ``plan``, in that order. Unless :meth:`prepare` was called for the epoch
        before, as it is not where a few steps are tried, the teacher is asked live."""
        view, own_epoch = self.view_of(epoch)
        shards = self._shards.get(view) if self._store is not None else None
        if shards is not None:
            return (TeacherOutputs(outputs=self._read(shards, ids)) for ids in plan)
        if self._same_inputs:
            return (TeacherOutputs() for _ in plan)
        return (TeacherOutputs(batch=batch) for batch in self.pipeline.batches("train", plan, own_epoch))

    def outputs(self, stored: TeacherOutputs, batch: Batch) -> Mapping[str, Tensor]:
        """By name, for a batch of the student: as stored, else computed."""
        self._counts["used"] += len(batch)
        if stored.outputs is not None:
            return stored.outputs
        begun = time.perf_counter()
        self._to_device()
        outputs = self._live(stored.batch or batch)
        self._counts["computed"] += len(batch)
        seconds = time.perf_counter() - begun
        self._counts["teacher_seconds"] += seconds
        self._counts["step_seconds"] += seconds
        return outputs

    def _live(self, batch: Batch) -> dict[str, Tensor]:
        if not self._runtime.cuda_graphs:
            return self._forward(batch)
        if self._recorder is None:
            self._recorder = Recorder(lambda b: self._forward(b.batch), self._runtime.device, nullcontext)
        return self._recorder(TrainBatch(batch), lambda: None)

    def _to_device(self) -> None:
        """Move the model to the run's device, when it is needed for more than a sample for the first time."""
        if next(self.pipeline.model.parameters()).device != self._runtime.device:
            self.pipeline.model.to(self._runtime.device)

    @torch.no_grad()
    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        # The model is on the CPU until more than a sample is needed.
        device = next(self.pipeline.model.parameters()).device
        autocast = self._runtime.autocast() if device == self._runtime.device else nullcontext()
        with autocast:
            outputs = named_outputs(
                self.pipeline.forward(self.pipeline.model, batch.to(device), self._requested)
            )
        return outputs if self._logits else {name: outputs[name] for name in self._requested}


def dense_logits(pipeline: Pipeline) -> tuple[str, ...]:
    """What to request of ``forward`` besides: a task with a row a token or pixel may leave large logits out."""
    return () if pipeline.per_example else ("logits",)


def named_outputs(output: Output) -> dict[str, Tensor]:
    """Logits and features of a forward pass by name."""
    assert output.logits is not None
    return {"logits": output.logits, **output.features}


def _no_room(root: Path, size: int, reserve: int) -> str:
    """Why so many bytes cannot be stored; "" when they can."""
    try:
        return "" if room_for(root, size, reserve) else f"{size / 1e9:.1f} GB do not fit in {root}"
    except StorageError as error:
        return first_line(error)
