"""Whatever commands print is cleaned of what a terminal obeys."""

import json

from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table


def test_lines_go_to_the_stream_that_was_named(capsys):
    echo("a\x1b[2J")
    echo(ValueError("b\u202e"), err=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("a\\x1b[2J\n", "b\\u202e\n")


def test_json_is_json_and_has_no_number_that_is_none(capsys):
    echo_json({"a": float("nan"), "b": "\x1b"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": "\x1b"} and "\x1b" not in out and out.count("\n") == 4
    echo_json([1], indent=None)
    assert capsys.readouterr().out == "[1]\n"


def test_cells_of_a_table_are_text_not_markup(capsys):
    table = new_table("a\x1btitle")
    table.add_column("name")
    add_row(table, "[red]x[/red] :smile: \x07")
    echo_table(table)
    out = capsys.readouterr().out
    assert "a\\x1btitle" in out and "[red]x[/red] :smile: \\x07" in out
