"""What a label is worth as a number."""

import math

import numpy as np
import pytest

from ptm.data.label_values import number_of, whole_number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3), (3.0, 3), (True, 1), ("3", 3), ("3.0", 3), (" +03 ", 3), ("-0", 0), ("5.", 5), (np.int8(3), 3),
        (np.float32(3), 3), (np.bool_(False), 0), (10**20, 10**20),
        (3.5, None), ("3.5", None), ("1e3", None), ("three", None), ("", None), (None, None), ("٣", None),
        ("1_0", None), ("--1", None), (math.nan, None), (math.inf, None), ([3], None),
    ],
)  # fmt: skip
def test_whole_numbers_however_they_are_written(value, number):
    assert whole_number(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0), (True, 1.0), ("3.25", 3.25), (" -1e-3 ", -0.001), (".5", 0.5), ("5.", 5.0), (np.float32(0.5), 0.5),
        ("1e999", None), (math.inf, None), ("nan", None), (10**400, None), ("0x10", None), ("1,5", None),
        ("", None), (None, None), ([1], None), ("1e5000", None),
    ],
)  # fmt: skip
def test_finite_numbers_however_they_are_written(value, number):
    assert number_of(value) == number
