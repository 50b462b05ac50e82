"""What metrics of slices are called, and which tasks have none; test_split_results.py measures them in a run."""

from types import SimpleNamespace

import pytest

from ptm.config.spec import DataSpec
from ptm.data.examples import Examples
from ptm.errors import ConfigError, NotFinite
from ptm.experiment.slices import measure_slices, require_sliced
from ptm.metrics.summary import Sliced
from ptm.run.results import Slice, slice_metrics


def test_12_06_metrics_of_slices_have_the_names_that_expectations_give_them():
    rows = [Slice(slice="source", value="a b", examples=3, metrics={"accuracy": 0.5, "f1/PER": 1.0})]
    assert slice_metrics(rows) == {"accuracy[source=a b]": 0.5, "f1/PER[source=a b]": 1.0}


def test_15_08_a_metric_of_a_slice_that_is_no_number_is_said():
    """A bound of it was held against infinity, which is above all of them."""

    class Measured(Sliced):
        def subset(self, ids):
            return SimpleNamespace(compute=lambda: {"perplexity": float("inf")})

    spec = SimpleNamespace(data=DataSpec(source="csv:d", slices=("source",)))
    examples = Examples({"text": ["a"]}, None, str, attributes={"source": ["b"]})
    pipeline = SimpleNamespace(attribute=lambda name: ["b"])
    with pytest.raises(NotFinite, match=r"the 1 examples of source=b: perplexity is inf"):
        measure_slices(spec, Measured(), pipeline, examples)


def test_12_06_a_task_whose_metrics_are_not_known_of_single_examples_is_refused_by_its_name():
    spec = SimpleNamespace(task="a-task", data=DataSpec(source="csv:d", slices=("source",)))
    with pytest.raises(ConfigError, match="the metrics of a-task are not known of single examples"):
        require_sliced(spec, SimpleNamespace(new_metrics=object))
    require_sliced(SimpleNamespace(data=DataSpec(source="csv:d")), SimpleNamespace(new_metrics=object))
