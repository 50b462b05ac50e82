import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.base import strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_what_is_json_is_read_as_the_standard_library_reads_it(value):
    assert strict_json.loads(json.dumps(value)) == value == strict_json.loads(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' stands there twice"),
        ('[{"x": {"b": 1, "c": 2, "b": 3}}]', "the key 'b' stands there twice"),
        ("[" * 200_000, "nested too deeply"),
        ("9" * 5_000, "a number of more than 4300 digits"),
        ('{"a": 1', "Expecting ',' delimiter"),
        (b'"\xff"', "utf-8"),
    ],
    ids=["twice", "inside", "deep", "digits", "open", "bytes"],
)
def test_what_is_none_is_one_value_error(text, what):
    with pytest.raises(ValueError, match=what):
        strict_json.loads(text)


def test_constants_are_read_unless_somebody_refuses_them():
    def refuse(name):
        raise ValueError(f"{name} is no number")

    assert strict_json.loads("[Infinity]") == [float("inf")]
    with pytest.raises(ValueError, match="NaN is no number"):
        strict_json.loads("[NaN]", parse_constant=refuse)
