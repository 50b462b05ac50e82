"""How a run tells of numbers."""

import io

import pytest

from ptm.base.console import parameters, reporter_for


@pytest.mark.parametrize(
    ("count", "said"),
    [(4_887, "4,887"), (999_999, "999,999"), (1_000_000, "1.0 M"), (22_713_216, "22.7 M")],
)
def test_small_models_have_parameters_too(count, said):
    assert parameters(count) == f"{said} parameters"


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ({}, ["data: 3", "warning: none of them is good"]),
        ({"quiet": True}, ["warning: none of them is good"]),
        ({"verbose": True}, ["data: 3", "warning: none of them is good", "steps 1/2", "steps 2/2"]),
    ],
)
def test_12_10_how_much_is_told_off_a_terminal(how, lines):
    stream = io.StringIO()
    reporter = reporter_for(stream, **how)
    reporter.say("data: 3")
    reporter.say("warning: none of them is good")
    reporter.begin("steps", 2)
    reporter.advance(1, "loss 1")
    reporter.advance(2, "loss 1")
    reporter.end()
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == lines
