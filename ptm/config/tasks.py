"""Task name to the module that builds its pipeline; imported when a run needs it."""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = {
    "text-classification": "ptm.text.classification",
    "token-classification": "ptm.text.token_classification",
    "masked-lm": "ptm.text.language_modeling",
    "causal-lm": "ptm.text.language_modeling",
    "translation": "ptm.text.translation",
    "image-classification": "ptm.vision.classification",
    "object-detection": "ptm.vision.detection",
    "semantic-segmentation": "ptm.vision.segmentation",
}


def task_module(task: str) -> ModuleType:
    """The module of a task. It has these functions, the same for all:

    - ``missing(spec) -> list[Problem]``: what must be downloaded and cannot be;
    - ``load_data(spec, *, labels=None, train=True) -> Dataset``;
    - ``stored_labels(name) -> tuple[str, ...] | None``: the label names that a local model was saved with;
    - ``build(spec, data, *, model, trained) -> Pipeline``: the student's or the teacher's;
    - ``read_inputs(spec, paths) -> Iterator[Examples]``: what ``ptm predict`` was given, without targets, in
      pieces that fit into memory (:mod:`ptm.data.inputs`).
    """
    return importlib.import_module(TASKS[task])
