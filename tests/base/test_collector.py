"""13.3: Python's collector while a command starts."""

import gc

import pytest

from ptm.base.collector import collect_as_usual, collect_rarely


@pytest.fixture(autouse=True)
def as_it_was():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_13_03_what_a_start_makes_is_not_searched_again():
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()
    collect_rarely()
    assert gc.get_threshold()[0] > usual[0]
    collect_as_usual()
    assert gc.get_threshold() == usual and gc.get_freeze_count() > frozen


def test_13_03_a_process_that_ptm_did_not_start_collects_as_it_did():
    gc.set_threshold(123, 4, 5)
    frozen = gc.get_freeze_count()
    collect_as_usual()
    assert gc.get_threshold() == (123, 4, 5) and gc.get_freeze_count() == frozen
