"""Task name to the module that builds its pipeline; imported when a run needs it."""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = {
    "text-classification": "ptm.text.classification",
    "image-classification": "ptm.vision.classification",
}


def task_module(task: str) -> ModuleType:
    """The module of a task. It has three functions, the same for all:

    - ``missing(spec) -> list[Problem]``: what must be downloaded and cannot be;
    - ``load_data(spec, *, labels=None, train=True) -> Dataset``;
    - ``build(spec, data, *, model, trained) -> Pipeline``: the student's or the teacher's.
    """
    return importlib.import_module(TASKS[task])
