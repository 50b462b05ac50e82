"""Names of folds."""

import pytest

from config_texts import TEXT, only, parse
from ptm.config.folds import fold_name, is_share, parse_fold


def test_11_05_names_of_folds():
    assert parse_fold(fold_name(2, 5)) == (2, 5)
    assert is_share("fold-1-of-2") and is_share(" 20%") and not is_share("dev.csv") and not is_share(None)


@pytest.mark.parametrize(
    "name", ["fold-0-of-5", "fold-6-of-5", "fold-1-of-1", "fold-1-of-5.csv", "fold-1-of-101", ""]
)
def test_11_05_what_is_none(name):
    assert parse_fold(name) is None


def test_11_05_a_fold_takes_its_part_of_train():
    data = parse(TEXT, "data.eval=fold-2-of-5").data
    assert data.fold == (2, 5) and data.held_out == {"eval": 0.2}
    assert only(TEXT, "data.eval=fold-2-of-5", "data.test=10%").what.startswith("a test is held out of train")
