"""How a run tells of numbers."""

import pytest

from ptm.base.console import parameters


@pytest.mark.parametrize(
    ("count", "said"),
    [(4_887, "4,887"), (999_999, "999,999"), (1_000_000, "1.0 M"), (22_713_216, "22.7 M")],
)
def test_small_models_have_parameters_too(count, said):
    assert parameters(count) == f"{said} parameters"
