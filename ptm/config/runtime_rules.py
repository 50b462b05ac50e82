"""What must hold between ``runtime`` and the rest of a spec. No torch in here."""

from __future__ import annotations

from collections.abc import Iterator

from ptm.config.spec import RunSpec


def check_runtime(spec: RunSpec) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(key path, what, cure)."""
    runtime = spec.runtime
    if runtime.precision == "fp16" and runtime.device == "cpu":
        yield ("runtime", "precision"), "fp16 needs CUDA", "use bf16 or fp32 on the CPU"
    train, model = spec.train, spec.model
    if train.optimizer == "adamw8bit" and spec.descriptor.modality == "image":
        what = "adamw8bit is for text tasks: it would lay out the weights of convolutions anew"
        yield ("train", "optimizer"), what, "use adamw or sgd"
    if runtime.cuda_graphs:
        unrecorded = {
            "runtime.compile": runtime.compile,
            "runtime.shard": runtime.shard != "none",
            "train.gradient_checkpointing": train.gradient_checkpointing,
            "data.long_texts": spec.data.long_texts == "windows",
        }
        for name in (name for name, present in unrecorded.items() if present):
            setting = ": windows" if name == "data.long_texts" else ""
            what = f"{name}{setting} and runtime.cuda_graphs were not built together"
            yield tuple(name.split(".")), what, "remove one of them"
    if runtime.shard == "none":
        return
    apart = {
        "teacher": spec.teacher is not None,
        "model.adapter": model.adapter is not None,
        "model.freeze": model.freeze != "none",
        "data.pool": spec.data.pool == "learned",
        "train.ema": train.ema is not None,
        "train.average_checkpoints": train.average_checkpoints is not None,
        "train.unfreeze_every": train.unfreeze_every is not None,
        "train.optimizer": train.optimizer in ("adafactor", "adamw8bit"),
        "runtime.compile": runtime.compile,
        "runtime.precision": runtime.precision == "fp16",
    }
    settings = {
        "data.pool": ": learned",
        "train.optimizer": f": {train.optimizer}",
        "runtime.precision": ": fp16",
    }
    for name, present in apart.items():
        if present:
            setting = settings.get(name, "")
            what = f"{name}{setting} and runtime.shard: {runtime.shard} were not built together"
            yield tuple(name.split(".")), what, "remove one of them"
