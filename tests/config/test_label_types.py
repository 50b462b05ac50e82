"""Label types: each has what the layers above need of it."""

import pytest

from ptm.config.evaluation import best_mode
from ptm.config.label_types import LABEL_TYPES
from ptm.config.tasks import TASKS
from ptm.data.targets import KINDS
from ptm.distill.losses import DISTANCES
from ptm.metrics.label_types import SUPERVISION
from ptm.text.classifiers import PURPOSES


def test_a_label_type_has_an_entry_in_each_table() -> None:
    of_classifiers = {name for task in TASKS.values() if task.classifies for name in task.label_types}
    assert of_classifiers <= set(KINDS)
    assert of_classifiers == set(SUPERVISION)
    assert set(DISTANCES) == set(LABEL_TYPES) == {*of_classifiers, "pairs"}
    assert set(TASKS["text-classification"].label_types) <= set(PURPOSES)


def test_of_one_class_exactly_one_applies_and_a_number_has_no_names():
    told = {name: (kind.named, kind.exclusive, kind.smoothable) for name, kind in LABEL_TYPES.items()}
    assert told == {
        "class": (True, True, True),
        "classes": (True, False, True),
        "number": (False, False, False),
        "pairs": (False, False, False),
    }


@pytest.mark.parametrize(
    ("count", "more"),
    [(2, {"f1", "auroc"}), (3, set()), (5, set()), (6, {"top5_accuracy"}), (1000, {"top5_accuracy"})],
)
def test_metrics_of_one_class_by_the_number_of_labels(count, more):
    evaluation = LABEL_TYPES["class"].evaluation
    labels = [f"class{n}" for n in range(count)]
    assert set(evaluation.names(labels)) - set(evaluation.metrics) == more


@pytest.mark.parametrize("name", LABEL_TYPES)
def test_what_an_audit_and_a_headline_name_is_measured(name):
    evaluation = LABEL_TYPES[name].evaluation
    assert evaluation.objection(evaluation.headline) is None
    assert evaluation.audit is None or evaluation.objection(evaluation.audit) is None
    assert best_mode("mean_squared_error") == "min"
