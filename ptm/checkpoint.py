"""States of training on disk: safetensors and JSON, sealed with SHA-256, whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ptm import files
from ptm.errors import ModelError

FORMAT = 1


@dataclass
class Progress:
    """All that training changes besides tensors. Randomness is not in it: it is a function of the step."""

    step: int = 0  # optimizer steps done
    examples: int = 0  # examples seen, repeats counted
    evaluated_step: int = 0  # step of the last finished evaluation
    finished: bool = False
    best_value: float | None = None
    best_step: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    last_metrics: dict[str, float] = field(default_factory=dict)
    worse_evaluations: int = 0  # since the best one
    window: dict[str, float] = field(default_factory=dict)  # sums since the last line of the log
    log_bytes: int = 0  # length of metrics.jsonl
    seconds: float = 0.0  # spent in training steps
    scaler: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)  # the objective's: what its teachers were asked


class CheckpointStore:
    """The ``checkpoints/`` of a run."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def save(
        self, progress: Progress, model: nn.Module, extra: nn.Module | None, optimizer: torch.optim.Optimizer
    ) -> None:
        """Write ``step-N`` and remove the oldest. Raises StorageError; what was there before is then intact."""
        with files.new_directory(self.path(progress.step)) as aside:
            files.write_synced(aside / "model.safetensors", save(tensors_of(model.state_dict())))
            if extra is not None:
                files.write_synced(aside / "objective.safetensors", save(tensors_of(extra.state_dict())))
            files.write_synced(aside / "optimizer.safetensors", save(_optimizer_tensors(optimizer)))
            files.write_synced(aside / "state.json", files.json_bytes({"format": FORMAT, **asdict(progress)}))
            files.seal(aside)
        self._prune(progress)

    def load(self, say: Callable[[str], None]) -> Path | None:
        """The newest intact checkpoint, None when there is none at all. Damaged ones are named through ``say``."""
        damaged = []
        for path in reversed(self.paths()):
            problem = files.broken_seal(path)
            if problem is None:
                return path
            damaged.append(path)
            say(f"checkpoint {path.name} is damaged: {problem}; going back to an older one")
        if damaged:
            raise ModelError(
                f"all {len(damaged)} checkpoints are damaged",
                where=self._directory,
                cure="start the run anew with --overwrite",
            )
        return None

    def path(self, step: int) -> Path:
        return self._directory / f"step-{step:06d}"

    def paths(self) -> list[Path]:
        """Checkpoints by rising step."""
        found = [p for p in self._directory.glob("step-*") if p.is_dir() and p.name[5:].isdigit()]
        return sorted(found, key=lambda path: int(path.name[5:]))

    def _prune(self, progress: Progress) -> None:
        kept = {self.path(progress.best_step)} if progress.best_step is not None else set()
        for path in [p for p in self.paths() if p not in kept][: -self._keep]:
            # Renamed first: a kill while deleting must not leave half a checkpoint under its name.
            aside = path.with_name(files.ASIDE + path.name)
            with files.storage_errors(path):
                os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)


def restore(
    path: Path, model: nn.Module, extra: nn.Module | None, optimizer: torch.optim.Optimizer | None
) -> Progress:
    """Load a checkpoint into what exists. Raises ModelError when it belongs to something else."""
    try:
        state = json.loads((path / "state.json").read_bytes())
        if state.pop("format") != FORMAT:
            raise ValueError("written by another version of ptm")
        progress = Progress(**state)
        load_tensors(model, load_file(path / "model.safetensors"))
        if extra is not None:
            load_tensors(extra, load_file(path / "objective.safetensors"))
        if optimizer is not None:
            _load_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise ModelError(f"does not fit this run: {str(error).splitlines()[0]}", where=path) from error
    return progress


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
    state = model.state_dict()
    expected = set(tensors_of(state))
    if expected != set(tensors):
        raise ValueError(f"tensors differ: {', '.join(sorted(expected ^ set(tensors))[:4])}")
    for name, tensor in tensors.items():
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} is {list(tensor.shape)}, not {list(state[name].shape)}")
        state[name].copy_(tensor)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{key}": value.detach().cpu().contiguous()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # In the parameter's own memory layout (channels last): fused optimizers go by memory order.
            tensor = torch.empty_like(parameter).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
