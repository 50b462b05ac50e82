"""Packages that only some uses need."""

import pytest

from ptm.base.extras import require_package
from ptm.errors import ConfigError


def test_12_03_what_is_missing_is_named_with_the_command_that_installs_it():
    require_package("json", "search")
    with pytest.raises(ConfigError) as caught:
        require_package("no_such_package_at_all", "search")
    assert "pip install 'ptm[search]'" in str(caught.value)
