"""Sums over the steps of a window: means by what was counted, not by step."""

import numpy as np

from ptm.training.meter import Meter, StepNumbers
from ptm.training.progress import Progress


def numbers(loss_sum: float, count: int, examples: int = 4, **parts: float) -> StepNumbers:
    return StepNumbers(examples, np.arange(examples), loss_sum, count, parts, 1.0)


def test_a_line_weighs_steps_by_what_they_counted():
    progress = Progress(step=2, seconds=1.23456)
    meter = Meter(progress)
    meter.add(numbers(8.0, 8, kd=2.0))
    meter.add(numbers(1.0, 1, examples=1, kd=7.0))
    line = meter.take_line(epoch=0.5, learning_rate=1e-3, gradient_norm=2.0)
    assert line["loss"] == 1.0 and line["parts"] == {"kd": 1.0}
    assert (line["examples"], line["seconds"], line["step"]) == (5, 1.235, 2)
    assert progress.window == {}


def test_the_window_is_in_what_a_checkpoint_keeps():
    progress = Progress()
    Meter(progress).add(numbers(3.0, 2))
    again = Meter(Progress(step=2, window=dict(progress.window)))
    again.add(numbers(1.0, 2))
    assert again.take_line(epoch=1, learning_rate=0.1, gradient_norm=0.0)["loss"] == 1.0


def test_a_loss_of_one_part_has_no_parts():
    meter = Meter(Progress())
    meter.add(numbers(3.0, 2))
    assert "parts" not in meter.take_line(epoch=1, learning_rate=0.1, gradient_norm=0.0)
