"""``ptm check`` and ``ptm schema``."""

import json

from typer.testing import CliRunner

from config_texts import TEXT
from ptm.cli.app import app, run
from ptm.config.load import json_schema
from ptm.errors import ConfigError
from ptm.run.ownership import put_mark


def invoke(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_every_problem_of_every_file_is_said_on_standard_error(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(TEXT.replace("epochs: 3", "epochs: 0"))
    (tmp_path / "b.yaml").write_text(TEXT)
    files = [str(tmp_path / name) for name in ("a.yaml", "b.yaml", "c.yaml")]
    assert run(["check", *files]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "a.yaml:10:11" in err and "c.yaml: there is no such file" in err
    assert run(["check", *files, "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["error"]["problems"]) == 2


def test_it_says_what_it_did_not_look_at(tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT)
    assert invoke("check", tmp_path / "a.yaml").stdout == (
        "1 config: no problem found; data and models were not looked at (--data)\n"
    )
    result = invoke("check", tmp_path / "a.yaml", tmp_path / "a.yaml", "--set", "train.epochs=1")
    assert result.stdout.startswith("2 configs: no problem found")
    assert isinstance(invoke("check", tmp_path / "a.yaml", "--set", "train.epochs=x").exception, ConfigError)


def test_the_schema_is_that_of_the_library():
    assert json.loads(invoke("schema").stdout) == json_schema()


def test_15_06_no_lock_file_is_written_into_a_run_or_an_export(tmp_path, capsys):
    """In a run it says what that was started with, and in an export it is a file more than ptm wrote."""
    for place in ("run", "export"):
        (tmp_path / place / "model").mkdir(parents=True)
        for name in ("config.yaml", "model/mine.yaml"):
            (tmp_path / place / name).write_text(TEXT)
    put_mark(tmp_path / "run")
    (tmp_path / "export" / "manifest.json").write_text('{"files": {"export.json": {}}}')
    (tmp_path / "link").symlink_to(tmp_path / "export")
    before = sorted(tmp_path.rglob("*"))
    for place in ("run/config.yaml", "run/model/mine.yaml", "export/config.yaml", "link/model/mine.yaml"):
        assert run(["lock", str(tmp_path / place)]) == 2
        said = capsys.readouterr().err
        assert "lie in an" in said and "--output" not in said  # which ptm lock has not
    assert sorted(tmp_path.rglob("*")) == before
