"""A batch of one image that a batch norm cannot take is found before the first step."""

import pytest

from helpers import image_spec, run
from ptm.base.console import Silent
from ptm.errors import ModelError
from ptm.experiment.check import check_inputs
from ptm.experiment.smallest_batch import forward_sizes
from ptm.training import order


class Steps(Silent):
    """Counts the steps that were taken."""

    taken = 0

    def advance(self, done, note):
        self.taken += 1


def deep_spec(output, **changes):
    """At 32 pixels nothing but one value a channel is left of an image before the last batch norms of a MobileNet."""
    model = {"name": "mobilenet_v3_small", "width": None}
    return image_spec(output, **{**model, "image_size": 32, "epochs": 1, "batch_size": 8, **changes})


@pytest.mark.slow
def test_10_18_a_last_batch_of_one_image_is_refused_before_the_first_step(tmp_path):
    spec, steps = deep_spec(tmp_path / "r", max_train_examples=33), Steps()
    with pytest.raises(ModelError, match="a training batch of one image cannot pass") as caught:
        run(spec, reporter=steps)
    assert steps.taken == 0
    assert not (tmp_path / "r").exists()
    (problem,) = caught.value.problems
    assert problem in check_inputs(spec).problems
    assert problem.cure == "--set train.batch_size=7 --set train.micro_batch_size=null"
    run(deep_spec(tmp_path / "r", max_train_examples=33, batch_size=7))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"max_train_examples": 32},
        {"max_train_examples": 33, "epochs": None, "steps": 4},  # the last batch is not reached
        {"max_train_examples": 33, "name": "resnet8", "width": 4, "image_size": 16},  # pixels are left
    ],
)
def test_10_18_what_can_be_learned_is(changes, tmp_path):
    run(deep_spec(tmp_path / "r", **changes))


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 17, 33])
@pytest.mark.parametrize(("batch", "micro"), [(8, None), (8, 7), (8, 3), (5, 4), (40, None)])
def test_10_18_the_sizes_are_those_of_the_plan(examples, batch, micro, tmp_path):
    train = image_spec(tmp_path, batch_size=batch, micro_batch_size=micro).train
    sizes = {
        len(piece)
        for ids in order.epoch_plan(examples, batch, 0, 0)
        for piece in order.micro_batches(ids, micro or batch)
    }
    assert forward_sizes(train, examples) == sizes
