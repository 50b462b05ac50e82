"""Data of installed packages, found without importing them."""

import sys

import pytest

from ptm.errors import MissingDownload, ModelError
from ptm.models.packages import is_installed, package_of, package_path


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "carrier"


def test_a_package_is_found_and_not_imported(carrier):
    assert package_path("package:carrier/a/b", "model") == carrier / "a" / "b"
    assert package_of("package:carrier/a/b") == "carrier" and is_installed("package:carrier")
    assert "carrier" not in sys.modules


@pytest.mark.parametrize(
    "name", ["package:no_such_package/model", "package:../x", "package:", "package:a.b", "package:__main__"]
)
def test_one_that_is_not_there_is_told_with_how_to_install_it(name):
    assert not is_installed(name)
    with pytest.raises(MissingDownload, match="not installed"):
        package_path(name, "model")


@pytest.mark.parametrize("inner", ["..", "../x", "a/../../x", "a\0b"])
def test_15_04_no_path_leads_out_of_a_package(carrier, inner):
    with pytest.raises(ModelError, match="leads out"):
        package_path(f"package:carrier/{inner}", "model")
    assert package_path("package:carrier//etc", "model") == carrier / "etc"
