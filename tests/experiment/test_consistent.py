"""A finished run whose files say different things is no run to judge by."""

from dataclasses import replace

import pytest

from ptm.config.spec import DataSpec, ModelSpec, RunSpec, TrainSpec
from ptm.errors import RunDirectoryError
from ptm.experiment.comparison import MEASURES, require_metric
from ptm.experiment.consistent import contradiction, require_consistent
from ptm.run.directory import RunDirectory
from ptm.run.results import parse_results

SPEC = RunSpec(
    version=1,
    task="text-classification",
    model=ModelSpec(name="m"),
    data=DataSpec(source="csv:d", slices=("length",)),
    train=TrainSpec(epochs=1, learning_rate=1e-3),
    expect={"accuracy": ">= 0.9", "accuracy[length=0-31]": ">= 0.5"},
    output="r",
)


def bound(metric, limit, value, met):
    return {"metric": metric, "bound": limit, "value": value, "met": met, "split": "eval"}


BOUNDS = [bound("accuracy", ">= 0.9", 0.95, True), bound("accuracy[length=0-31]", ">= 0.5", 0.75, True)]


def results(**keys):
    slices = [{"slice": "length", "value": "0-31", "examples": 4, "metrics": {"accuracy": 0.75}}]
    content = {"task": SPEC.task, "status": "done", "metrics": {"accuracy": 0.95}, "slices": slices}
    return parse_results(content | {"expect": BOUNDS} | keys)


def test_results_of_the_config_contradict_nothing(tmp_path):
    assert contradiction(SPEC, results()) is None
    require_consistent(tmp_path, SPEC, results())
    loose = replace(SPEC, expect={})
    assert contradiction(loose, results(expect=[])) is None


@pytest.mark.parametrize(
    "keys",
    [
        {"expect": []},
        {"expect": BOUNDS[:1]},
        {"expect": [bound("accuracy", ">= 0.1", 0.95, True), BOUNDS[1]]},
        {"expect": [bound("accuracy", ">= 0.9", 0.99, True), BOUNDS[1]]},
        {"metrics": {"accuracy": 0.5}},
        {"metrics": {"loss": 0.5}},
        {"slices": []},
    ],
    ids=["none", "one is gone", "another limit", "another value", "another metric", "no metric", "no slice"],
)
def test_15_08_bounds_that_are_not_those_of_the_config_are_a_contradiction(keys, tmp_path):
    """A batch took such a run for finished, and ended with 0."""
    assert contradiction(SPEC, results(**keys)) is not None
    with pytest.raises(RunDirectoryError, match="contradicts itself"):
        require_consistent(tmp_path, SPEC, results(**keys))


def test_15_09_a_test_that_only_the_config_knows_is_a_contradiction():
    tested = replace(SPEC, data=replace(SPEC.data, test="test.csv"))
    assert "test split" in str(contradiction(tested, results()))


def test_15_08_a_metric_that_its_predictions_do_not_come_to_is_refused(tmp_path):
    """--fail-if-worse held the recorded one, the paired test the other."""
    run = RunDirectory(tmp_path)
    require_metric(MEASURES["examples"], 0.95, results(), run, "eval")
    require_metric(MEASURES["words"], 0.1, results(metrics={"loss": 1.0}), run, "eval")
    with pytest.raises(RunDirectoryError, match=r"accuracy is 0\.5, and results\.json has 0\.95"):
        require_metric(MEASURES["examples"], 0.5, results(), run, "eval")
