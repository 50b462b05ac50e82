"""What an evaluation of a task can measure, by name: known before anything is loaded, so that a typo costs no training.

``tests/test_contract.py`` holds these lists against what evaluations give. A name that ends in ``/`` stands for one a
label: ``iou/`` for ``iou/cell``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from ptm.errors import ConfigError, Problem

_CLASSES = ("loss", "accuracy", "f1_macro", "precision_macro", "recall_macro", "mcc")
_TWO = ("f1", "auroc")  # of two classes
_MANY = ("top5_accuracy",)  # of more than five
_BY_LABEL_TYPE = {
    "classes": ("loss", "f1_micro", "f1_macro", "subset_accuracy", "auroc_macro"),
    "number": ("loss", "pearson", "spearman", "mean_squared_error", "mean_absolute_error"),
}
_BY_TASK = {
    "token-classification": ("loss", "accuracy", "precision", "recall", "f1", "f1/"),
    "masked-lm": ("loss", "perplexity", "masked_accuracy"),
    "causal-lm": ("loss", "perplexity", "bits_per_byte"),
    "translation": ("loss", "perplexity", "bleu", "chrf"),
    "object-detection": ("map", "map50", "map75", "mar100", "map/"),
    "semantic-segmentation": ("loss", "miou", "dice", "pixel_accuracy", "iou/", "dice/"),
}


def require_metrics(named: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
    """``named``: (where, metric). Raises ConfigError that tells all that are not measured."""
    found = [(where, name, unknown_metric(name, known)) for where, name in named]
    problems = [
        Problem(f"there is no metric {name!r} with these labels", where, *problem)
        for where, name, problem in found
        if problem
    ]
    if problems:
        raise ConfigError(problems)


def metric_names(task: str, label_type: str, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """All that an evaluation may give. ``labels``: those of the data; None while they are not known."""
    if task in _BY_TASK:
        return _BY_TASK[task]
    if label_type in _BY_LABEL_TYPE:
        return _BY_LABEL_TYPE[label_type]
    two = _TWO if labels is None or len(labels) == 2 else ()
    return (*_CLASSES, *two, *(_MANY if labels is None or len(labels) > 5 else ()))


def unknown_metric(name: str, known: Sequence[str]) -> tuple[str, str] | None:
    """(what may be named, what to do) where ``name`` is none of ``known``; None where it is one."""
    if any(name == each or (each.endswith("/") and name.startswith(each) and name != each) for each in known):
        return None
    if "mcc" in known and name in (*_TWO, *_MANY):
        many = "two" if name in _TWO else "more than five"
        return f"one of {', '.join(known)}", f"{name} is measured with {many} labels"
    close = difflib.get_close_matches(name, known, n=1)
    shown = [f"{each}LABEL" if each.endswith("/") else each for each in known]
    return f"one of {', '.join(shown)}", f"did you mean {close[0]}?" if close else "name one of them"
