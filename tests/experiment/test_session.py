"""What every command that computes begins with: downloads, metrics, memory."""

from dataclasses import replace

import pytest

from helpers import Saying, image_spec
from ptm.config.spec import BestSpec, TeacherSpec
from ptm.data.examples import Dataset
from ptm.errors import ConfigError, MissingDownload
from ptm.experiment.session import (
    beside,
    missing_downloads,
    open_session,
    require_downloads,
    require_named_metrics,
)
from ptm.metrics.summary import Summary
from ptm.vision import classification


@pytest.fixture
def spec(tmp_path):
    return image_spec(tmp_path / "r")


def test_a_session_has_the_task_and_closes_what_it_was_given(spec):
    closed = []
    with open_session(spec, Saying()) as session:
        session.resources.callback(closed.append, "teacher")
        assert session.task is classification and session.runtime.threads == 1
        assert not closed
    assert closed == ["teacher"]


def test_metrics_that_the_labels_do_not_have_are_refused_with_their_keys(spec):
    data = Dataset(None, None, ("a", "b", "c"), {})
    require_named_metrics(spec, data)
    wrong = replace(spec, best=BestSpec(metric="auroc"), expect={"top5_accuracy": "> 0", "loss": "< 1"})
    with pytest.raises(ConfigError) as caught:
        require_named_metrics(wrong, data)
    assert {p.where for p in caught.value.problems} == {"best.metric", "expect"}


def test_what_is_missing_is_told_at_once_for_what_is_needed(spec, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PTM_OFFLINE", "1")
    needy = replace(
        spec,
        model=replace(spec.model, name="resnet18", width=None, weights="default"),
        teacher=TeacherSpec(name="resnet50"),
    )
    assert len(missing_downloads(needy)) == 2
    assert len(missing_downloads(needy, teacher=False)) == 1
    assert missing_downloads(needy, model=spec.model, teacher=False) == missing_downloads(spec) == []
    with pytest.raises(MissingDownload) as caught:
        require_downloads(needy)
    assert ["resnet18" in str(p) for p in caught.value.problems] == [True, False]
    require_downloads(spec)


class Summed:
    """Metrics that know of a constant answer."""

    def summary(self):
        return Summary(constant={"accuracy": 0.6, "loss": 0.7, "other": 1.0}, absent=("c",), positive="b")


def test_what_stands_beside_the_metrics(spec):
    aside = beside(spec, Summed(), {"accuracy": 0.5, "loss": 0.9})
    assert aside["constant"] == {"accuracy": 0.6, "loss": 0.7}
    assert (aside["positive_label"], aside["absent_labels"]) == ("b", ("c",))
    first, second = aside["warnings"]
    assert first == "accuracy is 0.5000, and 0.6000 for a constant answer" and "c" in second
    by_loss = replace(spec, best=BestSpec(metric="loss"))  # the headline is told all the same
    assert beside(by_loss, Summed(), {"accuracy": 0.5})["warnings"][0] == first
    assert beside(spec, object(), {"accuracy": 0.5})["warnings"] == ()
