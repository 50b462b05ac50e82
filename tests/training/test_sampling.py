"""Balanced sampling: every class alike, every example in its turn, a function of seed and epoch."""

import numpy as np
import pytest

from helpers import Saying, StopAt, image_spec, last_state, run
from ptm.errors import Interrupted
from ptm.training.order import epoch_plan
from ptm.training.sampling import balanced_draws, effective_epoch

CLASSES = np.array([0] * 70 + [2] * 20 + [3] * 10)  # class 1 has no example


def test_11_01_an_epoch_draws_as_many_examples_as_there_are_of_each_class_alike():
    for epoch in range(6):
        drawn = balanced_draws(CLASSES, 1, epoch)
        counts = np.bincount(CLASSES[drawn], minlength=4)
        assert len(drawn) == 100 and counts[1] == 0
        assert counts[[0, 2, 3]].max() - counts[[0, 2, 3]].min() == 1
    total = sum(np.bincount(CLASSES[balanced_draws(CLASSES, 1, e)], minlength=4) for e in range(3))
    assert total.tolist() == [100, 0, 100, 100]  # what is left over goes around


def test_11_01_no_example_comes_again_before_each_has_come():
    seen = np.concatenate([balanced_draws(CLASSES, 5, epoch) for epoch in range(21)])
    assert len(seen) == 2100
    for number, size in ((0, 70), (2, 20), (3, 10)):
        of_class = seen[CLASSES[seen] == number]
        assert len(of_class) == 700
        assert np.unique(of_class, return_counts=True)[1].tolist() == [700 // size] * size


def test_11_01_draws_are_a_function_of_seed_and_epoch():
    assert np.array_equal(balanced_draws(CLASSES, 1, 4), balanced_draws(CLASSES, 1, 4))
    assert not np.array_equal(balanced_draws(CLASSES, 1, 4), balanced_draws(CLASSES, 1, 5))
    assert not np.array_equal(balanced_draws(CLASSES, 1, 4), balanced_draws(CLASSES, 2, 4))


@pytest.mark.parametrize("lengths", [None, np.arange(100)])
def test_11_01_a_plan_holds_the_draws_in_another_order(lengths):
    plan = epoch_plan(100, 8, 1, 2, lengths, CLASSES)
    ids = np.concatenate(plan)
    drawn = balanced_draws(CLASSES, 1, 2)
    assert sorted(ids) == sorted(drawn) and not np.array_equal(ids, drawn)
    assert [len(batch) for batch in plan] == [8] * 12 + [4]


def test_11_01_the_effective_epoch_is_said():
    assert effective_epoch(CLASSES, ("a", "b", "c", "d")) == (
        "balanced sampling: an epoch is 100 draws, 33.33 of each of 3 labels: every example of 'd' (10) comes 3.33 "
        "times, of 'a' (70) 48% come"
    )


@pytest.mark.slow
def test_11_01_a_balanced_run_says_its_epoch_and_resumes_to_the_same_bits(tmp_path):
    changes = {"sampling": "balanced", "epochs": 2, "save_every_steps": 2}
    said = Saying()
    run(image_spec(tmp_path / "whole", **changes), reporter=said)
    assert any(line.startswith("balanced sampling: an epoch is 96 draws") for line in said.lines)
    with pytest.raises(Interrupted):
        run(image_spec(tmp_path / "parts", **changes), reporter=StopAt(9))
    run(image_spec(tmp_path / "parts", **changes), mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
