"""What a classifier is to learn from each type of label: its loss, and what measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional as F

from ptm.config.label_types import CLASS, CLASSES, NUMBER
from ptm.metrics.classification import ClassificationMetrics
from ptm.metrics.multilabel import MultiLabelMetrics
from ptm.metrics.regression import NumberMetrics
from ptm.pipeline import Metrics


@dataclass(frozen=True)
class Supervision:
    """``loss(logits, targets, smoothing)`` is summed over examples, ``logits`` fp32 [n, outputs]; ``smoothing`` is the
    share of a target that is spread over all classes, or over yes and no. ``metrics(labels, positive, thresholds,
    least)``: empty ones."""

    loss: Callable[[Tensor, Tensor, float], Tensor]
    metrics: Callable[[Sequence[str], str | None, Mapping[str, float], float | None], Metrics]


def supervised_loss(logits: Tensor, targets: Tensor, label_type: str, smoothing: float = 0.0) -> Tensor:
    """The loss summed over examples, see :class:`Supervision`."""
    return SUPERVISION[label_type].loss(logits, targets, smoothing)


def new_metrics(
    labels: Sequence[str],
    label_type: str,
    positive: str | None = None,
    thresholds: Mapping[str, float] = MappingProxyType({}),
    least: float | None = None,
) -> Metrics:
    """Empty metrics for outputs of this type. ``positive``: of two labels, the one that ``f1`` is of; ``thresholds``:
    label → probability from which it applies, where that is not the usual one; ``least``: of one class, the
    probability from which on a label is in the set that a prediction has."""
    return SUPERVISION[label_type].metrics(labels, positive, thresholds, least)


def _cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Targets int64 [n], -1 where there is none, or shares of classes, fp32 [n, classes]."""
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing, ignore_index=-1)


def _binary_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The mean over classes of each example; targets 0 or 1 as float32 [n, classes]."""
    smoothed = targets * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(-1).sum()


def _squared_error(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Of the one output; targets float64 [n], as the data have them. There is nothing to smooth."""
    return F.mse_loss(logits[:, 0], targets.float(), reduction="sum")


SUPERVISION: Mapping[str, Supervision] = {
    CLASS.name: Supervision(_cross_entropy, ClassificationMetrics),
    CLASSES.name: Supervision(
        _binary_cross_entropy, lambda labels, positive, cuts, _: MultiLabelMetrics(labels, positive, cuts)
    ),
    NUMBER.name: Supervision(_squared_error, lambda labels, positive, cuts, _: NumberMetrics()),
}
