"""The state of a repository is told without starting what its settings name."""

import os
import subprocess

import pytest

from ptm.run.provenance import git_state


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "received"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        git(folder, "config", name, value)
    (folder / "a.txt").write_text("a")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a")
    return folder


def test_commit_and_dirty_flag(repository, tmp_path):
    state = git_state(repository)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (repository / "a.txt").write_text("b")
    assert git_state(repository) == {**state, "dirty": True}
    assert git_state(tmp_path) is None


@pytest.mark.parametrize("how", ["fsmonitor", "hook", "filter", "process", "included"])
def test_15_03_nothing_that_a_received_repository_names_is_started(repository, tmp_path, how):
    witness = tmp_path / "witness"
    program = tmp_path / "program.sh"
    program.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("*.txt filter=x\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "b")
    if how == "fsmonitor":
        git(repository, "config", "core.fsmonitor", str(program))
    elif how == "hook":
        hook = repository / ".git" / "hooks" / "post-index-change"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(program.read_text())
        hook.chmod(0o755)
    elif how == "included":
        (tmp_path / "more").write_text(f'[filter "x"]\n\tclean = {program}\n')
        git(repository, "config", "include.path", str(tmp_path / "more"))
    else:
        git(repository, "config", f"filter.x.{'clean' if how == 'filter' else 'process'}", str(program))
    (repository / "a.txt").write_text("c")
    state = git_state(repository)
    assert not witness.exists()
    assert state is not None and state["dirty"] is (True if how in ("fsmonitor", "hook") else None)
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, timeout=20, check=False)
    assert witness.exists(), "this attack would not have worked, so the test shows nothing"


@pytest.mark.parametrize("how", ["upload-pack", "remote helper"])
def test_15_03_what_a_partial_clone_lacks_is_not_fetched(repository, tmp_path, how):
    """Its settings name the program that would fetch it, and allow it."""
    witness = tmp_path / "witness"
    tree = git(repository, "rev-parse", "HEAD^{tree}").strip()
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    url = str(repository) if how == "upload-pack" else f"ext::sh -c touch% {witness}"
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "x",
        "remote.x.promisor": "true",
        "remote.x.url": url,
        "remote.x.uploadpack": f"touch {witness}; false",
        "protocol.ext.allow": "always",
    }.items():
        git(repository, "config", key, value)
    git_state(repository)
    assert not witness.exists()
    subprocess.run(["git", "status"], cwd=repository, capture_output=True, timeout=20, check=False)
    assert witness.exists(), "this attack would not have worked, so the test shows nothing"


@pytest.mark.parametrize("setting", [b'[filter "a"]\n\tclean = \xff\xe9\n', b"[core]\n\tquotePath = false\n"])
def test_15_03_names_and_settings_of_any_bytes(repository, setting):
    with (repository / ".git/config").open("ab") as file:
        file.write(setting)
    (repository / os.fsdecode(b"\xff\xe9")).touch()
    assert git_state(repository)["commit"]
