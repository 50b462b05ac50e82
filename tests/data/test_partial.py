import pytest

from ptm.data.partial import PartlyRead, as_rest, read_parts, refuse_but
from ptm.errors import DataError, Problem


def refused(what):
    raise DataError(what)


def partly(what, rest):
    raise PartlyRead([Problem(what)], rest)


def test_10_21_what_is_left_of_each_part_comes_with_all_problems():
    readers = {"a": lambda: [1], "b": lambda: partly("row 2", [2]), "c": lambda: partly("row 3", [3])}
    parts, problems = read_parts(readers)
    assert parts == {"a": [1], "b": [2], "c": [3]}
    assert [problem.what for problem in problems] == ["row 2", "row 3"]


def test_10_21_where_one_part_has_nothing_to_give_all_problems_are_raised():
    with pytest.raises(DataError) as caught:
        read_parts({"a": lambda: partly("row 2", [2]), "b": lambda: refused("no file")})
    assert [problem.what for problem in caught.value.problems] == ["row 2", "no file"]
    assert not isinstance(caught.value, PartlyRead)


def test_10_21_without_a_rest_it_is_an_error_as_any_other():
    problems = [Problem(f"row {number}") for number in range(9)]
    with pytest.raises(PartlyRead, match="row 0") as caught:
        refuse_but(problems, [5], "lines")
    assert caught.value.rest == [5] and "and 4 more lines" in str(caught.value)
    with pytest.raises(DataError) as caught:
        refuse_but(problems[:1], [])
    assert not isinstance(caught.value, PartlyRead)
    refuse_but([], [])


def test_10_21_the_rest_changes_with_what_a_reader_gives():
    with pytest.raises(PartlyRead) as caught, as_rest(len):
        partly("row 1", [1, 2])
    assert caught.value.rest == 2
