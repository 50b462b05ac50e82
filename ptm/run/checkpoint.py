"""States of training on disk: safetensors and JSON, sealed with SHA-256, whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.config.spec import RunSpec
from ptm.errors import ModelError, StorageError
from ptm.models import adapters
from ptm.run.ownership import CHECKPOINT, foreign_in_checkpoint
from ptm.training import eight_bit
from ptm.training.averaging import WeightAverage
from ptm.training.optim import StepCounts, state_numbers
from ptm.training.progress import Progress
from ptm.training.sharded import placed_like, whole_shape, whole_state

FORMAT = 1
_FORMER = ("best_metrics", "last_metrics")  # keys of state.json that nobody reads any more
# What reading a file that is sealed, but was not written by ptm for this run, can raise.
_MISFITS = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    OSError,
    SafetensorError,
)
# What the format calls the element types that models are made of, in the order in which the library writes them.
_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class SpaceNeeded:
    """What a run takes on the disk at most: bytes of a checkpoint, how many lie there at once, bytes of ``model/``."""

    checkpoint: int
    checkpoints: int
    model: int

    @property
    def bytes(self) -> int:
        return self.checkpoint * self.checkpoints + self.model

    @classmethod
    def of(cls, spec: RunSpec, model: nn.Module, extra: nn.Module | None, examples: int) -> SpaceNeeded:
        """For a run over so many training examples. The newest checkpoint is whole before the oldest one goes; the
        best one stays."""
        train, counts = spec.train, StepCounts.of(spec.train, examples)
        saves = -(-counts.steps // (train.eval_every_steps or counts.steps_per_epoch))
        saves += counts.steps // train.save_every_steps if train.save_every_steps else 0
        adapter = spec.model.adapter
        saved = model.state_dict() if adapter is None or adapter.merge else changing(model)
        return cls(
            checkpoint=checkpoint_bytes(model, extra, partial(state_numbers, train))
            + (_bytes(tensors_of(changing(model)).values()) if train.averages else 0),
            checkpoints=min(saves, train.keep_checkpoints + 1 + (spec.best is not None)),
            model=_bytes(tensors_of(saved).values()),
        )


class CheckpointStore:
    """The ``checkpoints/`` of a run."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        extra: nn.Module | None,
        optimizer: Mapping[str, Tensor],
        average: WeightAverage | None = None,
    ) -> None:
        """Write ``step-N`` and remove the oldest. ``optimizer``: its state, :func:`optimizer_tensors`. Raises
        StorageError; what was there before is then intact."""
        with files.new_directory(self.path(progress.step)) as aside:
            states = {"model": tensors_of(changing(model)), "optimizer": optimizer}
            if extra is not None:
                states["objective"] = tensors_of(extra.state_dict())
            if average is not None:
                states["average"] = tensors_of(average.tensors)
            written = {
                f"{name}.safetensors": files.write_pieces(aside / f"{name}.safetensors", pieces(tensors))
                for name, tensors in states.items()
            }
            files.write_synced(aside / "state.json", files.json_bytes({"format": FORMAT, **asdict(progress)}))
            files.seal(aside, written)
        self._prune(progress)

    def require_space(self, space: SpaceNeeded, present: int = 0) -> None:
        """Raise StorageError when the disk has not this much free, or taken by what goes (``present`` bytes)."""
        needed, free = max(0, space.bytes - present), files.free_bytes(self._directory)
        if free < needed:
            raise StorageError(
                f"{_shown(needed)} are needed and {_shown(free)} are free",
                where=self._directory,
                expected=f"space for {space.checkpoints} checkpoints of {_shown(space.checkpoint)}, which lie there "
                f"at once, and a model of {_shown(space.model)}",
                cure="free some space or choose an --output on another disk",
            )

    def load(self, say: Callable[[str], None]) -> Path | None:
        """The newest intact checkpoint, None when there is none at all. Damaged ones are named through ``say``.

        A checkpoint whose best one so far is damaged is passed over too: from an older one that best one is
        trained again, to the same bits.
        """
        damaged = []
        for path in reversed(self.paths()):
            problem, name = files.broken_seal(path), path.name
            best = None if problem else self._best_before(path)
            if best is not None:
                problem, name = files.broken_seal(best), best.name
            if problem is None:
                return path
            damaged.append(path)
            say(f"checkpoint {name} is damaged: {problem}; going back to an older one")
        if damaged:
            raise ModelError(
                f"all {len(damaged)} checkpoints are damaged",
                where=self._directory,
                cure="start the run anew with --overwrite",
            )
        return None

    def require_intact(self, step: int) -> None:
        """Raise ModelError, naming the file, when the checkpoint of this step is not as it was written."""
        problem = files.broken_seal(self.path(step))
        if problem is not None:
            raise ModelError(
                f"the best checkpoint is damaged: {problem}",
                where=self.path(step),
                cure="the same command with --resume goes back to an older one and trains it again",
            )

    def _best_before(self, path: Path) -> Path | None:
        """The checkpoint of the best evaluation that an intact one speaks of, if that is another."""
        try:
            step = json.loads(read_bytes(path / "state.json"))["best_step"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None  # sealed, but not by us: restore() says so
        other = self.path(step) if isinstance(step, int) else path
        return other if other != path else None

    def path(self, step: int) -> Path:
        return self._directory / f"step-{step:06d}"

    def paths(self) -> list[Path]:
        """Checkpoints by rising step."""
        directories = [
            p
            for p in self._directory.glob("step-*")
            if p.is_dir() and not p.is_symlink() and CHECKPOINT.fullmatch(p.name)
        ]
        return sorted(directories, key=lambda path: int(path.name[5:]))

    def _prune(self, progress: Progress) -> None:
        protected = {self.path(progress.best_step)} if progress.best_step is not None else set()
        for path in [p for p in self.paths() if p not in protected][: -self._keep]:
            # Renamed first: a kill while deleting must not leave half a checkpoint under its name.
            aside = files.beside(path)
            with files.storage_errors(path):
                if foreign_in_checkpoint(path):  # put there meanwhile; the run names it when it ends
                    continue
                os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)


def restore(
    path: Path,
    model: nn.Module,
    extra: nn.Module | None,
    optimizer: torch.optim.Optimizer | None,
    average: WeightAverage | None = None,
) -> Progress:
    """Load a checkpoint into what exists. Raises ModelError when it belongs to something else."""
    try:
        state = json.loads(read_bytes(path / "state.json"))
        if state.pop("format") != FORMAT:
            raise ValueError("written by another version of ptm")
        progress = Progress(**_plausible(state))
        load_tensors(model, load_file(path / "model.safetensors"))
        if extra is not None:
            load_tensors(extra, load_file(path / "objective.safetensors"))
        if average is not None:
            average.load(load_file(path / "average.safetensors"))
        if optimizer is not None:
            _load_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
    except _MISFITS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"does not fit this run: {reason}", where=path) from error
    return progress


def _plausible(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a Progress as they are, or TypeError for one that cannot be what it should."""
    whole = ("step", "examples", "evaluated_step", "worse_evaluations", "log_bytes", "best_step")
    for name in whole:
        value = state.get(name, 0)
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
        if not (good or (name == "best_step" and value is None)):
            raise TypeError(f"{name} is {str(value)[:40]!r}")
    for name in ("best_value", "seconds"):
        if not isinstance(state.get(name, 0.0), int | float | None):
            raise TypeError(f"{name} is no number")
    for name in ("window", "counts", "scaler", "trained"):
        entries = state.get(name, {})
        if not isinstance(entries, dict) or not all(isinstance(v, int | float) for v in entries.values()):
            raise TypeError(f"{name} is not numbers by name")
    return {name: value for name, value in state.items() if name not in _FORMER}


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[files.Piece]:
    """The content of a safetensors file, byte for byte as the library writes it, without copying a tensor.

    The library's ``save`` copies all of them twice, which took half the time of a checkpoint.
    """
    kinds = list(_DTYPES)  # wide elements first, so that each tensor is aligned; then by name
    order = sorted(tensors, key=lambda name: (kinds.index(tensors[name].dtype), name))
    header: dict[str, Any] = {}
    offset = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]


def checkpoint_bytes(
    model: nn.Module, extra: nn.Module | None, state_numbers: Callable[[Tensor], int]
) -> int:
    """Size of a checkpoint: all states, and the numbers that the optimizer keeps of each trained parameter."""
    modules = [model, *([extra] if extra is not None else [])]
    tensors = [tensor for module in modules for tensor in tensors_of(changing(module)).values()]
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    return _bytes(tensors) + sum(state_numbers(p) * p.element_size() for p in trained)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def changing(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model; of one with an adapter, without the weights that stay as they were loaded."""
    unchanged = adapters.left_as_loaded(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in unchanged}


def tensors_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What safetensors takes: contiguous CPU tensors, tied weights once, under their first name."""
    seen: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        tensors[name] = tensor.detach().cpu().contiguous()
    return tensors


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy every tensor of a state into a model that has exactly these (tied ones may be missing)."""
    state = changing(model)
    expected = set(tensors_of(state))
    if expected != set(tensors):
        raise ValueError(f"tensors differ: {', '.join(sorted(expected ^ set(tensors))[:4])}")
    for name, tensor in tensors.items():
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, not {list(state[name].shape)}")
        if state[name].dtype != tensor.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, not {state[name].dtype}")
        state[name].copy_(tensor)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state, whole: of parameters that are spread over processes, all of these must ask."""
    # Not its state_dict: in that of bitsandbytes some lie in a dictionary of their own.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{index}.{key}": whole_state(value, parameter).detach().cpu().contiguous()
        if isinstance(value, Tensor)
        else torch.tensor(value)  # bitsandbytes counts steps as Python does
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor | int)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        value: Any = tensor
        if tensor.shape == whole_shape(parameter) and tensor.dtype == parameter.dtype:
            # In the parameter's own memory layout (channels last): fused optimizers go by memory order.
            value = torch.empty_like(parameter).copy_(placed_like(tensor, parameter))
        elif (tensor.dtype, list(tensor.shape)) not in _state_forms(key, parameter):
            raise ValueError(f"{name} of the optimizer is {tensor.dtype} {list(tensor.shape)}")
        elif tensor.dtype == torch.int64:
            value = int(tensor)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _state_forms(key: str, parameter: Tensor) -> list[tuple[torch.dtype, list[int]] | None]:
    """Type and shape of what an optimizer may keep by this name that is not like a parameter: steps, Adafactor's rows
    and columns, moments in eight bits."""
    shape = list(parameter.shape)
    shapes = {"step": [], "row_var": [*shape[:-1], 1], "col_var": [*shape[:-2], 1, *shape[-1:]]}
    known = key == "step" or (key in shapes and len(shape) > 1)
    own = (torch.float32, shapes[key]) if known else None
    return [own, eight_bit.state_forms(parameter.numel(), shape).get(key)]


def _shown(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
