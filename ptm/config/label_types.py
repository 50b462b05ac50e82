"""What a label is: one frozen descriptor for each value of ``data.label_type``. No torch in here.

What needs arrays or tensors stands in one table a layer, keyed by the same names: how labels are read
(:data:`ptm.data.targets.KINDS`), the loss and the metrics (:data:`ptm.metrics.label_types.SUPERVISION`), the distance
to a teacher (:data:`ptm.distill.losses.DISTANCES`), the output layer of text models
(:data:`ptm.text.classifiers.PURPOSES`). ``pairs``, texts that belong together, is no label of a classifier: of these
tables it stands in that of distances alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptm.config.evaluation import Evaluation, LabelCount


@dataclass(frozen=True, kw_only=True)
class LabelType:
    """A value of ``data.label_type``.

    ``named``: whether the outputs have names, as classes do. ``exclusive``: whether exactly one of them applies, which
    some ways to compare two models need. ``smoothable``: whether a part of a target can be given to other classes.
    """

    name: str
    evaluation: Evaluation
    named: bool = True
    exclusive: bool = False
    smoothable: bool = True

    def outputs(self, labels: Sequence[str]) -> int:
        """How many outputs a model has: one a label, or the one that is a number."""
        return len(labels) if self.named else 1


CLASS = LabelType(
    name="class",
    exclusive=True,
    evaluation=Evaluation(
        metrics=("loss", "accuracy", "f1_macro", "precision_macro", "recall_macro", "mcc"),
        by_label_count={
            "f1": LabelCount(2, 2, "two"),
            "auroc": LabelCount(2, 2, "two"),
            "top5_accuracy": LabelCount(6, None, "more than five"),
        },
        headline="accuracy",
        comparison="examples",
    ),
)
CLASSES = LabelType(
    name="classes",
    evaluation=Evaluation(
        metrics=("loss", "f1_micro", "f1_macro", "subset_accuracy", "auroc_macro"),
        headline="auroc_macro",
        comparison="label sets",
        audit="auroc_macro",
    ),
)
NUMBER = LabelType(
    name="number",
    named=False,
    smoothable=False,
    evaluation=Evaluation(
        metrics=("loss", "pearson", "spearman", "mean_squared_error", "mean_absolute_error"),
        headline="pearson",
        comparison="numbers",
        audit="mean_squared_error",
    ),
)
PAIRS = LabelType(
    name="pairs",
    named=False,
    smoothable=False,
    evaluation=Evaluation(
        metrics=("loss", "recall1", "recall5", "recall10", "mrr"),
        unsliced=(),
        headline="mrr",
        comparison="pairs",
        audit="recall1",
    ),
)
LABEL_TYPES = {label_type.name: label_type for label_type in (CLASS, CLASSES, NUMBER, PAIRS)}
