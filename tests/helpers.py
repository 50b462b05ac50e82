"""Specs for tiny real runs, and ways to stop one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ptm.base.console import Silent
from ptm.config.spec import BestSpec, DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.train import run_training
from ptm.run.opening import Mode

TIMINGS = ("seconds", "examples_per_second")


def text_spec(model: Path, data: Path, output: Path, **changes: Any) -> RunSpec:
    """A tiny BERT on generated reviews; ``changes`` go to the section that has the key."""
    return _spec(
        "text-classification",
        model={"name": str(model)},
        data={
            "source": f"csv:{data}",
            "train": "train.csv",
            "eval": "eval.csv",
            "labels": ("negative", "positive"),
        },
        train={"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "log_every_steps": 2},
        output=output,
        changes=changes,
    )


def image_spec(output: Path, **changes: Any) -> RunSpec:
    """A narrow CIFAR residual network on a few of scikit-learn's digits."""
    return _spec(
        "image-classification",
        model={"name": "resnet8", "width": 4, "weights": "none"},
        data={
            "source": "builtin:digits",
            "train": "train",
            "eval": "test",
            "image_size": 16,
            "augment": "crop",
            "max_train_examples": 96,
            "max_eval_examples": 48,
        },
        train={"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "log_every_steps": 2},
        output=output,
        changes=changes,
    )


def _spec(task: str, *, output: Path, changes: dict[str, Any], **sections: dict[str, Any]) -> RunSpec:
    kinds = {"model": ModelSpec, "data": DataSpec, "train": TrainSpec, "runtime": RuntimeSpec}
    sections.setdefault("runtime", {"device": "cpu", "threads": 1})
    top = {"best": BestSpec(metric="accuracy")}
    for key, value in changes.items():
        holder = next((name for name in kinds if key in kinds[name].__dataclass_fields__), None)
        if key in RunSpec.__dataclass_fields__ and key not in kinds:
            top[key] = value
        elif holder is not None:
            sections[holder][key] = value
        else:
            raise KeyError(key)
    built = {name: kinds[name](**values) for name, values in sections.items()}
    return RunSpec(version=1, task=task, output=str(output), **built, **top)  # type: ignore[arg-type]


def run(spec: RunSpec, mode: Mode = "new", reporter: Any = None) -> dict[str, Any]:
    return run_training(spec, mode=mode, reporter=reporter or Silent()).as_dict()


def evaluation(target: Path, **options: Any) -> dict[str, Any]:
    """What ``ptm eval --json`` prints."""
    return run_evaluation(target, reporter=Silent(), **options).as_dict()


def export_of(target: Path, output: Path, **options: Any) -> Path:
    """What ``ptm export --no-measure`` writes."""
    from ptm.experiment.export import ExportOptions, run_export

    run_export(target, output, ExportOptions(measure=False, **options), reporter=Silent())
    return output


def small_spec(output: Path, **changes: Any) -> RunSpec:
    """Six steps, a checkpoint every two and at the end."""
    return image_spec(output, epochs=1, save_every_steps=2, keep_checkpoints=3, **changes)


def fetches_nothing(code: str, folder: Path) -> bool:
    """Whether Python code ends well and in silence, and imports no package ``kernels`` though one is there: libraries
    fetch a program from a hub through it, and run it."""
    trap, mark = folder / "kernels", folder / "mark"
    trap.mkdir()
    (trap / "__init__.py").write_text(f"open({str(mark)!r}, 'w').write('imported')\n")
    path = [str(folder), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.returncode, done.stdout, done.stderr) == (0, "", "") and not mark.exists()


def copy_of(made: Path, target: Path) -> Path:
    """A copy of a run whose config names the copy."""
    shutil.copytree(made, target)
    config = (target / "config.yaml").read_text()
    (target / "config.yaml").write_text(config.replace(str(made), str(target)))
    return target


class StopAt(Silent):
    """Sends this process a signal when the given step is reported."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self._step, self._number = step, number

    def advance(self, done: int, note: str) -> None:
        if done == self._step:
            self._step = -1
            os.kill(os.getpid(), self._number)


class Saying(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def weights(output: Path) -> bytes:
    return (output / "model" / "model.safetensors").read_bytes()


def history(output: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the times."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines]


def last_state(output: Path) -> dict[str, bytes]:
    """The files of the newest checkpoint, times left out."""
    newest = max((output / "checkpoints").glob("step-*"), key=lambda p: int(p.name[5:]))
    files = {p.name: p.read_bytes() for p in newest.iterdir() if p.name != "manifest.json"}
    state = json.loads(files.pop("state.json"))
    for key in ("seconds", "log_bytes", "counts"):
        state.pop(key)
    return {**files, "state": json.dumps(state).encode()}


def without_dropout(model: Path, target: Path) -> Path:
    """A copy of a saved BERT that computes the same however a batch is cut."""
    shutil.copytree(model, target)
    config = json.loads((target / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (target / "config.json").write_text(json.dumps(config))
    return target
