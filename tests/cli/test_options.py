"""A dataclass of options as the parameters of commands."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ptm.cli.options import takes


@dataclass(frozen=True, kw_only=True)
class Shared:
    name: Annotated[str, typer.Argument()]
    tags: Annotated[list[str], typer.Option("--tag")] = field(default_factory=list)
    loud: Annotated[bool, typer.Option("--loud", help="Shout.")] = False


@pytest.fixture
def run():
    """``run("one", …)``: what the command got, or None and what was printed."""
    calls = []
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @takes(Shared)
    def one(options: Shared) -> None:
        """The first."""
        calls.append((options,))

    @app.command()
    @takes(Shared)
    def two(options: Shared, count: Annotated[int, typer.Option("--count")] = 1) -> None:
        """The second."""
        calls.append((options, count))

    def invoke(*words):
        calls.clear()
        output = CliRunner().invoke(app, words).output
        return (calls[0] if calls else None), output

    return invoke


def test_fields_and_own_parameters_are_options_of_the_command(run):
    assert run("one", "a", "--tag", "x", "--tag", "y")[0] == (Shared(name="a", tags=["x", "y"]),)
    assert run("two", "a", "--loud", "--count", "3")[0] == (Shared(name="a", loud=True), 3)
    assert run("two", "a")[0] == (Shared(name="a"), 1)
    call, printed = run("one", "a", "--count", "3")
    assert call is None and "--count" in printed


def test_help_names_them_all(run):
    _, printed = run("two", "--help")
    assert all(text in printed for text in ("The second.", "--tag", "--loud", "Shout.", "--count"))


def test_no_list_is_shared_between_calls(run):
    first = run("one", "a")[0][0]
    first.tags.append("x")
    assert run("one", "a")[0][0].tags == []
