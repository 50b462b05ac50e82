"""Which classes masks with names have, and in which order."""

import pytest

from ptm.config.spec import DataSpec
from ptm.data.mask_labels import named_labels
from ptm.errors import DataError


def names(labels=None, occurring=(), stated=(), **data):
    return named_labels(DataSpec(source="labelme:x", **data), labels, set(occurring), list(stated))


def test_11_04_the_order_of_names():
    assert names(occurring=["dog", "background", "cat"]) == ("background", "cat", "dog")
    assert names(occurring=["dog", "cat"]) == ("cat", "dog")
    assert names(stated=["dog", "cat"], occurring=["background", "dog"]) == ("background", "dog", "cat")
    assert names(stated=["dog", "cat"], ignore_label="dog", occurring=["background"]) == ("background", "cat")
    assert names(stated=["dog", "cat"], labels=("cat", "dog")) == ("cat", "dog")
    with pytest.raises(DataError, match="one class only"):
        names(occurring=["cat"])
