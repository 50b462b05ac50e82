"""``ptm cache``: what is stored, whether it is as it was written, what is removed."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ptm.base.cache import root_directory
from ptm.cli.app import app
from ptm.distill.store import Field, Store
from ptm.errors import ConfigError, ModelError, StorageError


@pytest.fixture
def root(tmp_path):
    """A store of two blocks, of which one is filled."""
    blocks = [np.array([0, 1]), np.array([2, 3])]
    about = {"teacher": "big\x1b", "split": "train"}
    with Store(tmp_path / "stores", {"a": 1}, blocks, about) as store:
        shard = store.shard("fixed", Field(name="logits", shape=(2,)))
        shard.write(0, [np.ones(2, np.float32)] * 2)
        shard.sync()
        shard.release()
    return tmp_path / "stores"


def invoke(*words):
    return CliRunner().invoke(app, ["cache", *map(str, words)])


def test_a_store_is_listed_with_how_full_it_is(root):
    lines = invoke("list", "--store", root).stdout.splitlines()
    assert len(lines) == 2
    assert "50% full" in lines[0] and "big\\x1b" in lines[0]
    assert lines[1].startswith("1 stores, ") and lines[1].endswith(f"in {root}")
    assert invoke("list", "--store", root / "none").stdout.startswith("0 stores")


def test_what_is_damaged_is_named_and_is_an_error(root):
    assert "as it was written" in invoke("verify", "--store", root).stdout
    (numbers,) = [p for p in root.rglob("*") if p.is_file() and p.stat().st_size == 4 * 2 * 4]
    numbers.write_bytes(b"\x01" + numbers.read_bytes()[1:])
    result = invoke("verify", "--store", root)
    assert "damaged" in result.stdout and isinstance(result.exception, ModelError)


def test_what_is_not_in_use_is_removed(root):
    assert "MB freed" in invoke("prune", "--store", root, "--to", "1").stdout
    assert len(list(root.iterdir())) == 1
    invoke("prune", "--store", root, "--all")
    assert invoke("list", "--store", root).stdout.startswith("0 stores")


@pytest.mark.parametrize("options", [[], ["--all", "--to", "1"]])
def test_12_10_nothing_is_removed_unless_it_is_said_how_much(root, options):
    result = invoke("prune", "--store", root, *options)
    assert isinstance(result.exception, ConfigError)
    assert "--all" in str(result.exception) and len(list(root.iterdir())) == 1


def test_12_10_the_cache_as_json(root):
    (store,) = json.loads(invoke("list", "--store", root, "--json").stdout)["stores"]
    assert (store["teacher"], store["blocks"], store["blocks_filled"]) == ("big\x1b", 2, 1)
    assert json.loads(invoke("verify", "--store", root, "--json").stdout)["stores"][0]["problems"] == []
    freed = json.loads(invoke("prune", "--store", root, "--all", "--json").stdout)
    assert freed["freed_bytes"] == store["bytes"] and not list(root.iterdir())


@pytest.mark.parametrize("cause", ["permissions", "somebody's file", "lock with two names"])
def test_what_cannot_be_removed_is_named_and_is_an_error(root, monkeypatch, cause):
    (path,) = root.iterdir()
    if cause == "permissions":  # they bind no test that runs as root

        def denied(*_, **__):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "unlink", denied)
    elif cause == "lock with two names":
        (root.parent / "other").hardlink_to(path / "lock")
    else:
        (path / "thesis.tex").write_text("years of work")
    for words in (["--all"], ["--all", "--json"], ["--to", "0"]):
        result = invoke("prune", "--store", root, *words)
        assert isinstance(result.exception, StorageError) and path.is_dir()
        (problem,) = result.exception.problems
        assert problem.where == str(path) and problem.what.startswith("cannot be removed: ") and problem.cure
        assert ("0.00 MB freed" in result.stdout) == ("--json" not in words)
    assert invoke("prune", "--store", root, "--to", "1").exception is None  # as much may stay


def test_what_a_run_uses_may_stay(root):
    with Store(root, {"a": 1}, [np.array([0, 1]), np.array([2, 3])], {}):
        result = invoke("prune", "--store", root, "--all")
    assert result.exception is None and "is in use" in result.stdout


def test_12_10_the_cache_is_where_other_caches_are(monkeypatch, tmp_path):
    monkeypatch.delenv("PTM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert root_directory("auto") == tmp_path / "ptm" / "teachers"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # which the specification says to ignore
    assert root_directory("auto") == Path.home() / ".cache" / "ptm" / "teachers"
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "own"))
    assert root_directory("auto") == tmp_path / "own"
