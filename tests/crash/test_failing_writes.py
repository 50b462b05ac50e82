"""Each write operation of a save fails in turn, then some of a whole run: one message, nothing saved is lost."""

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import faults
from helpers import history, image_spec, last_state, run, weights
from ptm.base import files
from ptm.errors import StorageError
from ptm.run.checkpoint import CheckpointStore, optimizer_tensors, restore
from ptm.training.progress import Progress

pytestmark = pytest.mark.slow  # each trains

SAMPLE = int(
    os.environ.get("PTM_FAULT_EVERY", "61")
)  # operations of a whole run; all would take many minutes
FAILURES = [(errno.ENOSPC, True), (errno.EIO, False)]  # a full disk takes half of what it is given


class State:
    """Two checkpoints of a small model, and what is about to be the third: the oldest is then removed."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(8, 4)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.store = CheckpointStore(folder, 2)
        folder.mkdir()
        for step in (1, 2):
            self.save(step)

    def save(self, step: int) -> None:
        self.model(torch.ones(1, 8)).sum().backward()
        self.optimizer.step()
        self.store.save(Progress(step=step), self.model, nn.Linear(2, 2), optimizer_tensors(self.optimizer))


def count(folder: Path, action) -> int:
    operations = faults.Operations(folder, faults.killing(None, "before"))
    try:
        action()
    finally:
        operations.undo()
    return operations.count


def attempt(folder: Path, act: faults.Act, action) -> StorageError | None:
    """Do it with the fault in place; the error it ended in, if it did."""
    operations = faults.Operations(folder, act)
    try:
        action()
    except StorageError as error:
        return error
    finally:
        operations.undo()
    return None


@pytest.mark.parametrize(("code", "half"), FAILURES)
def test_every_operation_of_a_save_may_fail(code, half, tmp_path):
    state = State(tmp_path / "counted")
    total = count(tmp_path / "counted", lambda: state.save(3))
    assert total > 25
    refused = 0
    for at in range(1, total + 1):
        folder = tmp_path / f"at-{at}"
        state = State(folder)
        error = attempt(folder, faults.failing(at, code, half=half), lambda: state.save(3))  # noqa: B023
        if error is not None:
            refused += 1
            assert os.strerror(code) in str(error)
            assert "what was saved before is intact" in str(error)
            assert error.exit_code == 3
        files.clear_debris(folder)
        assert [p.name for p in folder.rglob(".*")] == [], at
        newest = state.store.load(lambda line: pytest.fail(line))
        assert newest is not None
        assert newest.name in ("step-000002", "step-000003"), at
        assert restore(newest, state.model, nn.Linear(2, 2), state.optimizer).step >= 2
    assert refused > 0.7 * total  # the others are those that remove what is not needed any more


@pytest.mark.parametrize(("code", "half"), FAILURES)
def test_every_operation_of_replacing_a_file_or_directory_may_fail(code, half, tmp_path):
    def replace(folder: Path) -> None:
        files.write_json(folder / "results.json", {"new": 1})
        with files.new_directory(folder / "model") as aside:
            (aside / "inner").mkdir()
            files.write_synced(aside / "inner" / "w", b"new")
            files.seal(aside)

    def old(folder: Path) -> Path:
        folder.mkdir()
        files.write_json(folder / "results.json", {"old": 1})
        with files.new_directory(folder / "model") as aside:
            files.write_synced(aside / "w", b"old")
            files.seal(aside)
        return folder

    total = count(tmp_path / "counted", lambda: replace(old(tmp_path / "counted")))
    for at in range(1, total + 1):
        folder = old(tmp_path / f"at-{at}")
        attempt(folder, faults.failing(at, code, half=half), lambda: replace(folder))  # noqa: B023
        files.clear_debris(folder)
        assert sorted(p.name for p in folder.iterdir()) == ["model", "results.json"], at
        assert (folder / "results.json").read_bytes() in (b'{\n  "old": 1\n}\n', b'{\n  "new": 1\n}\n')
        assert files.broken_seal(folder / "model") is None


def test_short_writes_are_gone_on_with(tmp_path):
    """The system may take a part of what it is given, without an error."""
    content = os.urandom(1000)
    assert attempt(tmp_path, faults.short, lambda: files.write_synced(tmp_path / "w", content)) is None
    assert (tmp_path / "w").read_bytes() == content


def spec(output: Path):
    return image_spec(output, epochs=1, save_every_steps=2, max_train_examples=64)


@pytest.mark.parametrize(("code", "half"), FAILURES)
def test_any_write_of_a_run_may_fail(code, half, tmp_path):
    total = count(tmp_path, lambda: run(spec(tmp_path / "whole")))
    assert total > 150
    for at in range(1 + 7 * half, total + 1, SAMPLE):
        target = tmp_path / f"failed-{at}"
        error = attempt(target, faults.failing(at, code, half=half), lambda: run(spec(target)))  # noqa: B023
        assert error is None or error.exit_code == 3
        run(spec(target), "resume")
        debris = [p.name for p in target.rglob(".*") if p.name not in (".lock", ".ptm-run")]
        assert debris == [], at
        assert weights(target) == weights(tmp_path / "whole")
        assert history(target) == history(tmp_path / "whole")
        assert last_state(target) == last_state(tmp_path / "whole")
