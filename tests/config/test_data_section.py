"""The section ``data:``: its defaults, and what a percentage of it means."""

import pytest
from pydantic import ValidationError

from ptm.config.spec import DataSpec
from ptm.errors import ConfigError


@pytest.mark.parametrize("fraction", ["0%", "100%", "x%", "-5%"])
def test_a_held_out_fraction_leaves_something_on_both_sides(fraction):
    assert DataSpec(source="csv:d", eval="12.5%").held_out == {"eval": 0.125}
    assert DataSpec(source="csv:d", eval="test").held_out == {}
    assert DataSpec(source="csv:d").held_out == {}
    with pytest.raises(ConfigError, match="a percentage between 0% and 100%"):
        _ = DataSpec(source="csv:d", eval=fraction).held_out


@pytest.mark.parametrize(("written", "fraction"), [("20%", 0.2), ("0.5%", 0.005), ("99.9%", 0.999)])
def test_a_percentage_is_a_fraction_of_train(written, fraction):
    assert DataSpec(source="csv:d", eval=written).held_out == {"eval": pytest.approx(fraction)}


@pytest.mark.parametrize("written", ["nan%", "inf%", "%", "20 %%", "1e9%"])
def test_what_is_no_percentage_is_shown_as_it_was_written(written):
    with pytest.raises(ConfigError) as caught:
        _ = DataSpec(source="csv:d", eval=written).held_out
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == (f"data.eval is {written!r}", "data.eval")


@pytest.mark.parametrize(
    "values",
    [
        {"source": ""},
        {"label": ""},
        {"label_type": "clases"},
        {"max_length": 1},
        {"mask_values": (0, 256)},
        {"ignore_value": -1},
        {"mask_share": 0.0},
        {"mask_share": 1.0},
        {"augment": "flip"},
        {"image_size": 0},
    ],
)
def test_values_out_of_their_range_are_refused(values):
    with pytest.raises(ValidationError):
        DataSpec(**{"source": "csv:d", **values})


def test_null_is_no_augmentation():
    assert DataSpec(source="csv:d", augment=None).augment == "none"
