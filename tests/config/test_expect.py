"""Bounds on metrics: how they are read, and what holds."""

import math

import pytest

from ptm.config.expect import Expectation, check_expectations, parse_bound, parse_expectation
from ptm.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (">= 0.9", (">=", 0.9)),
        ("<=1", ("<=", 1.0)),
        ("  >  -2.5e-3 ", (">", -0.0025)),
        ("<.5", ("<", 0.5)),
        ("== 7.", ("==", 7.0)),
    ],
)
def test_a_bound_is_a_comparison_and_a_number(text, meaning):
    assert parse_expectation(text) == meaning


@pytest.mark.parametrize(
    "text", ["", "0.9", ">= ", "=> 0.9", ">= 90%", ">= nan", ">= inf", ">= 1_0", "about 1", ">= 1 2"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match="is not a bound on a metric"):
        parse_expectation(text)


def test_a_share_in_percent_is_told_how_to_be_written():
    with pytest.raises(ConfigError, match=r"90% is 0\.9"):
        parse_expectation(">= 90%")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("accuracy>=0.9", ("accuracy", ">=0.9")),
        (" accuracy >= 0.9 ", ("accuracy", ">= 0.9")),
        ("f1_macro<1", ("f1_macro", "<1")),
        ("AP50.95==1e-3", ("AP50.95", "==1e-3")),
    ],
)
def test_a_bound_of_the_command_line(text, meaning):
    assert parse_bound(text) == meaning


@pytest.mark.parametrize("text", ["accuracy", "", ">=0.9", "accuracy=0.9", "accuracy >= high", "a b >= 1"])
def test_a_bound_of_the_command_line_that_is_none(text):
    with pytest.raises(ConfigError):
        parse_bound(text)


def test_bounds_are_held_against_metrics_in_their_order():
    expect = {"loss": "< 0.5", "accuracy": ">= 0.9", "f1_macro": "== 1"}
    held = check_expectations(expect.items(), {"accuracy": 0.9, "loss": 0.6, "f1_macro": 1.0, "other": 0.0})
    assert held == [
        Expectation("loss", "< 0.5", 0.6, False),
        Expectation("accuracy", ">= 0.9", 0.9, True),
        Expectation("f1_macro", "== 1", 1.0, True),
    ]
    assert held[0].as_dict() == {
        "metric": "loss",
        "bound": "< 0.5",
        "value": 0.6,
        "met": False,
        "split": "eval",
    }


@pytest.mark.parametrize("bound", [">= 0", "<= 0", "> 0", "< 0", "== 0"])
def test_nan_meets_nothing(bound):
    assert not check_expectations([("loss", bound)], {"loss": math.nan})[0].met


def test_metrics_that_were_not_measured_are_all_named_with_those_that_were():
    with pytest.raises(ConfigError) as caught:
        check_expectations(
            [("acuracy", ">= 0.9"), ("bleu", ">= 30"), ("loss", "< 1")], {"accuracy": 0.9, "loss": 0.1}
        )
    first, second = caught.value.problems
    assert first.what == "there is no metric 'acuracy'"
    assert first.expected == "one of accuracy, loss"
    assert first.cure == "did you mean accuracy?"
    assert second.what == "there is no metric 'bleu'"
    assert second.cure == ""


@pytest.mark.parametrize("text", [">= 1e400", ">= -1e400", "<= 1e999"])
def test_15_08_a_bound_beyond_all_numbers_is_none(text):
    """Every value met it, or none."""
    with pytest.raises(ConfigError, match="too large"):
        parse_expectation(text)
