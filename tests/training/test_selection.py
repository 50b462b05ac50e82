"""Which evaluation is the best one, and when patience ends."""

import pytest

from ptm.config.spec import BestSpec
from ptm.errors import ConfigError
from ptm.training.progress import Progress
from ptm.training.selection import Selection


def steps_kept(selection: Selection, values: list[float]) -> tuple[list[bool], Progress]:
    progress, better = Progress(), []
    for step, value in enumerate(values, start=1):
        progress.step = step
        better.append(selection.consider({"loss": 1 - value, "accuracy": value}, progress))
    return better, progress


def test_the_highest_value_wins_and_the_first_of_equal_ones():
    better, progress = steps_kept(Selection(BestSpec(metric="accuracy"), None), [0.5, 0.7, 0.7, 0.6])
    assert better == [True, True, False, False]
    assert (progress.best_step, progress.best_value, progress.worse_evaluations) == (2, 0.7, 2)


def test_the_lowest_loss_wins():
    _, progress = steps_kept(Selection(BestSpec(metric="loss", mode="min"), None), [0.5, 0.7, 0.6])
    assert progress.best_step == 2


def test_patience_counts_evaluations_since_the_best_one():
    selection = Selection(BestSpec(metric="accuracy"), 2)
    _, progress = steps_kept(selection, [0.7, 0.6])
    assert not selection.exhausted(progress)
    _, progress = steps_kept(selection, [0.7, 0.6, 0.5])
    assert selection.exhausted(progress)


def test_without_a_metric_nothing_is_better_and_nothing_ends():
    better, progress = steps_kept(Selection(None, None), [0.5, 0.4, 0.3])
    assert better == [False] * 3 and progress.best_step is None
    assert not Selection(None, None).exhausted(progress)


def test_a_metric_that_was_not_measured_is_named_with_those_that_were():
    with pytest.raises(ConfigError, match="there is no metric 'f1'") as caught:
        steps_kept(Selection(BestSpec(metric="f1"), None), [0.5])
    assert "loss, accuracy" in str(caught.value)


def test_the_headline_is_the_loss_and_the_metric_that_chooses():
    values = {"loss": 0.1, "accuracy": 0.9, "mcc": 0.8}
    assert set(Selection(BestSpec(metric="mcc"), None).headline(values)) == {"loss", "mcc"}
    assert set(Selection(None, None).headline(values)) == {"loss", "accuracy"}


def test_10_26_among_equal_values_the_lower_loss_wins():
    selection, progress = Selection(BestSpec(metric="f1_micro"), 3), Progress()
    better = []
    for step, loss in enumerate([0.7, 0.6, 0.65, 0.5], start=1):
        progress.step = step
        better.append(selection.consider({"loss": loss, "f1_micro": 0.0}, progress))
    assert better == [True, True, False, True]
    assert (progress.best_step, progress.best_loss) == (4, 0.5)
    assert selection.exhausted(progress)  # the metric itself never rose
