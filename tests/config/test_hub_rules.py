"""What must hold of the names that a hub is asked for."""

import json

import pytest

from config_texts import TEXT, only, parse

DISTILLED = TEXT + "teacher: {name: big}\n"


@pytest.mark.parametrize("revision", ["/home/me/thesis.tex", "../../../../thesis.tex", "a/../../b", "..", ""])
@pytest.mark.parametrize("section", ["model", "teacher"])
def test_15_01_a_revision_that_is_a_path_is_refused(section, revision):
    """The client of the hub wrote the commit into a file of that name, over whatever was there."""
    problem = only(DISTILLED, f"{section}.revision={json.dumps(revision)}")
    assert "is no branch, tag or commit" in problem.what and "revision" in problem.where
    good = parse(DISTILLED, f"{section}.revision=refs/pr/1")
    assert getattr(good, section).revision == "refs/pr/1"
