"""Numbers that are none: of a step, of an evaluation, of weights; the examples that they come from are named."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ptm.errors import NotFinite
from ptm.training.finite import (
    evaluation_not_finite,
    finite_values,
    largest_weight,
    step_not_finite,
    weights_not_finite,
)


class Measured:
    """Metrics with given values, and predictions with given scores."""

    def __init__(self, values, scores):
        self._values, self._scores = values, scores

    def compute(self):
        return self._values

    def predictions(self):
        return ({"id": row, "scores": {"a": [score]}} for row, score in enumerate(self._scores))


def pipeline(weight=1.0):
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, weight)
    return SimpleNamespace(model=model, named_example=lambda split, index: {"where": f"{split}.csv:{index}"})


def test_finite_numbers_are_given_as_they_are():
    values = {"loss": 0.5, "accuracy": 1.0}
    assert finite_values(Measured(values, [0.5]), pipeline(), "student") == values


def test_the_first_metric_that_is_none_is_named_with_the_examples():
    metrics = Measured({"loss": 0.5, "mcc": math.nan}, [0.1, math.nan, math.inf])
    with pytest.raises(NotFinite) as caught:
        finite_values(metrics, pipeline(), "teacher")
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == ("mcc is nan", "teacher, examples eval.csv:1, eval.csv:2")


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_that_are_none_are_told_where_metrics_are_finite(weight):
    with pytest.raises(NotFinite, match="weights are not finite") as caught:
        finite_values(Measured({"accuracy": 1.0}, [0.5]), pipeline(weight), "teacher")
    assert caught.value.problems[0].where == "teacher"


def test_the_largest_absolute_value_of_all_weights():
    parameters = [nn.Parameter(torch.tensor([1.0, -3.0])), nn.Parameter(torch.tensor([[2.0]]))]
    assert largest_weight(parameters) == 3.0
    parameters.append(nn.Parameter(torch.tensor(math.nan)))
    assert math.isnan(largest_weight(parameters))


def test_a_step_names_at_most_five_of_its_examples():
    numbers = SimpleNamespace(loss=math.nan, gradient_norm=math.inf, ids=np.arange(3, 10))
    (problem,) = step_not_finite(numbers, 12, pipeline()).problems
    assert problem.what == "the loss is nan and the gradient's norm inf at step 12"
    assert problem.where.endswith("examples " + ", ".join(f"train.csv:{n}" for n in range(3, 8)) + ", …")
    few = SimpleNamespace(loss=math.nan, gradient_norm=1.0, ids=np.array([0, 1, 2, 3, 4]))
    assert step_not_finite(few, 1, pipeline()).problems[0].where.endswith("train.csv:4")


def test_an_evaluation_names_the_first_five_examples_or_says_that_none_is_at_fault():
    (problem,) = evaluation_not_finite(math.inf, 3, Measured({}, [math.nan] * 9), pipeline()).problems
    assert problem.where == "step 3, examples " + ", ".join(f"eval.csv:{n}" for n in range(5))
    (problem,) = evaluation_not_finite(math.inf, 3, Measured({}, [0.5]), pipeline()).problems
    assert "only their sum is not finite" in problem.where
    assert weights_not_finite(4).problems[0].where == "step 4"
