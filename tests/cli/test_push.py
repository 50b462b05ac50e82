"""``ptm push``: what of its options is refused."""

import pytest

from ptm.cli.app import run

pytestmark = pytest.mark.slow  # trains, once a session


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "no repository"], "owner/name"),
        (["--to", 'me/x"); import os #'], "owner/name"),
        (["--to", "me/r", "--include", "../r"], "no file or folder"),
        (["--to", "me/r", "--include", "/etc/passwd"], "no file or folder"),
    ],
)
def test_14_06_names_that_are_none_are_refused(reviews_run, words, told, capsys):
    assert run(["push", str(reviews_run), "--dry-run", *words]) == 2
    assert told in capsys.readouterr().err
