"""What metrics of slices are called, and which tasks have none; test_split_results.py measures them in a run."""

from types import SimpleNamespace

import pytest

from ptm.config.spec import DataSpec
from ptm.errors import ConfigError
from ptm.experiment.slices import require_sliced, slice_metrics
from ptm.run.results import Slice


def test_12_06_metrics_of_slices_have_the_names_that_expectations_give_them():
    rows = [Slice(slice="source", value="a b", examples=3, metrics={"accuracy": 0.5, "f1/PER": 1.0})]
    assert slice_metrics(rows) == {"accuracy[source=a b]": 0.5, "f1/PER[source=a b]": 1.0}


def test_12_06_a_task_whose_metrics_are_not_known_of_single_examples_is_refused_by_its_name():
    spec = SimpleNamespace(task="a-task", data=DataSpec(source="csv:d", slices=("source",)))
    with pytest.raises(ConfigError, match="the metrics of a-task are not known of single examples"):
        require_sliced(spec, SimpleNamespace(new_metrics=object))
    require_sliced(SimpleNamespace(data=DataSpec(source="csv:d")), SimpleNamespace(new_metrics=object))
