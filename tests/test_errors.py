import pytest

from ptm.errors import DataError, Problem, first_line, listing, refuse, shorten


def problems(count):
    return [Problem(f"problem {n}", f"row {n}") for n in range(count)]


def test_a_few_problems_are_shown_as_they_are():
    assert shorten([]) == []
    assert shorten(problems(5)) == problems(5)


def test_of_many_problems_the_first_are_shown_and_the_rest_counted():
    assert shorten(iter(problems(7)), noun="images") == [
        *problems(5),
        Problem("and 2 more images like these"),
    ]


def test_data_with_problems_are_refused():
    refuse([])
    with pytest.raises(DataError) as caught:
        refuse(problems(6))
    assert [p.what for p in caught.value.problems][-2:] == ["problem 4", "and 1 more rows like these"]


def test_a_list_of_names_ends_where_it_would_be_too_long():
    assert listing([]) == "" and listing(["a", "b"]) == "a, b"
    assert listing(range(5), most=3) == "0, 1, 2, …"
    assert listing(["a", "b"], most=1, separator="; ") == "a; …"


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("one\ntwo"), "one"), (ValueError(""), "ValueError"), (OSError("\n \n"), "OSError")],
)
def test_the_first_line_of_an_error_is_its_type_where_it_says_nothing(error, line):
    assert first_line(error) == line and len(first_line(ValueError("x" * 500))) == 200


def test_15_16_a_line_end_in_the_name_of_a_file_begins_no_line():
    assert str(Problem("is missing", where="a\r\n::error::b")) == "a\\r\\n::error::b: is missing"
