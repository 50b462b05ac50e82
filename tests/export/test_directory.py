import pytest

from ptm.base import files
from ptm.errors import ModelError, RunDirectoryError
from ptm.export.directory import is_export, require_export, require_place


def test_only_exports_are_exports(tmp_path):
    assert not is_export(tmp_path)
    (tmp_path / "export.json").write_text("{}")
    assert not is_export(tmp_path)
    files.seal(tmp_path)
    assert is_export(tmp_path)
    with pytest.raises(ModelError, match=r"export\.json is damaged"):
        require_export(tmp_path)


def test_a_link_in_the_place_is_not_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(RunDirectoryError, match="symbolic link"):
        require_place(tmp_path / "link", overwrite=True, inputs=[])
