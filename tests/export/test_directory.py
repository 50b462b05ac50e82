import os

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


def test_15_15_a_seal_without_end_is_not_read(tmp_path):
    (tmp_path / "export.json").write_text("{}")
    files.seal(tmp_path)
    os.truncate(tmp_path / "manifest.json", 1 << 40)
    assert not is_export(tmp_path)
    assert files.broken_seal(tmp_path) == "manifest.json is damaged"


@pytest.mark.parametrize("name", ["thesis.txt", "data.csv", "model/photo.png", "folder/config.json"])
def test_15_04_a_seal_that_names_what_is_not_ours_deletes_nothing(tmp_path, name):
    for own in ("export.json", "model.onnx", "predict.py", "model/tokenizer.json", name):
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).touch()
    files.seal(tmp_path)
    with pytest.raises(RunDirectoryError, match=f"would delete what ptm did not write: .*{name}"):
        require_place(tmp_path, overwrite=True, inputs=[])
    (tmp_path / name).unlink()
    if name.startswith("folder"):
        (tmp_path / "folder").rmdir()  # ptm makes none of that name
    require_place(tmp_path, overwrite=True, inputs=[])


@pytest.mark.parametrize("name", ["model.onnx", "config.yaml", "model/tokenizer.json"])
def test_15_09_a_file_that_the_seal_does_not_know_is_not_read(tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "export.json").write_text("{}")
    files.seal(tmp_path)
    (tmp_path / name).write_text("changed")
    with pytest.raises(ModelError, match="does not stand in manifest"):
        require_export(tmp_path)


def test_15_17_an_export_is_read_through_a_link_of_the_users_own(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "export.json").write_text("{}")
    files.seal(tmp_path / "there")
    with pytest.raises(ModelError, match=r"export\.json is damaged"):  # not the link
        require_export(tmp_path / "link")
    (tmp_path / "there" / "inside").symlink_to("/etc")
    with pytest.raises(ModelError, match="inside is a symbolic link"):
        require_export(tmp_path / "link")
