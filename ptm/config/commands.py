"""Which command a config is for."""

from __future__ import annotations

from typing import Literal

from ptm.config.spec import RunSpec
from ptm.config.tasks import TASKS
from ptm.errors import ConfigError

Command = Literal["finetune", "pretrain", "distill"]


def require_command(command: Command, spec: RunSpec, where: object) -> None:
    """Raises ConfigError when the experiment is one for another command; ``where``: its file."""
    if command == "distill" and spec.teacher is None:
        raise ConfigError(
            "there is no teacher: to distil from", where=where, cure="add one, or use ptm finetune"
        )
    if command == "pretrain" and not spec.descriptor.language_model:
        raise ConfigError(
            f"{spec.task} needs more than text",
            where=where,
            expected=f"task: {' or '.join(name for name, task in TASKS.items() if task.language_model)}",
            cure="use ptm finetune",
        )
    if command != "distill" and spec.teacher is not None:
        raise ConfigError(
            "this config has a teacher:, so it is a distillation",
            where=where,
            cure="use ptm distill, or leave the teacher out: --set teacher=null --set distill=null",
        )
