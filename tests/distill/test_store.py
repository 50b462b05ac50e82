"""The store on its own: what is written is found again, what does not belong is not."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from scipy.special import softmax

from ptm.base.cache import entries, prune, room_for, verify
from ptm.distill.store import Field, Store, grow_logits, shrink_logits
from ptm.errors import StorageError

BLOCKS = (np.array([4, 0]), np.array([3, 1]), np.array([2]))
ABOUT = {"teacher": "t", "data": "d", "split": "train"}
LOGITS = Field(name="logits", shape=(3,))
VALUES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def fill(store: Store, *, blocks=(0, 1, 2), field=LOGITS):
    shard = store.shard("fixed", field)
    for block in blocks:
        shard.write(block, list(VALUES[BLOCKS[block]]))
    shard.sync()
    return shard


def test_what_was_written_is_found_by_id_also_by_another_process(tmp_path):
    fill(Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT), blocks=(0, 1))
    shard = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT).shard("fixed", LOGITS)
    assert shard.missing() == [2]
    np.testing.assert_array_equal(shard.read(np.array([1, 4, 3])), VALUES[[1, 4, 3]])


def test_another_identity_view_field_or_precision_finds_nothing(tmp_path):
    fill(Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT))
    other = Store(tmp_path, {"weights": "b"}, BLOCKS, ABOUT)
    same = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    half = Field(name="logits", shape=(3,), precision="fp16")
    assert same.shard("fixed", LOGITS).missing() == []
    for shard in (
        other.shard("fixed", LOGITS),
        same.shard("seed1-epoch0", LOGITS),
        same.shard("fixed", half),
    ):
        assert shard.missing() == [0, 1, 2]


def test_a_torn_or_flipped_block_counts_as_missing(tmp_path):
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    fill(store)
    path = store.path / "fixed.logits.fp32.bin"
    content = bytearray(path.read_bytes())
    content[4 * 3 * 3] ^= 1  # the second block
    path.write_bytes(content)
    assert store.shard("fixed", LOGITS).missing() == [1]
    assert any("block 1 has changed" in line for line in verify(store.path))
    fill(store, blocks=(1,))
    assert verify(store.path) == []
    os.truncate(path, 10)
    assert any("another size" in line for line in verify(store.path))
    assert 0 in store.shard("fixed", LOGITS).missing() or 1 in store.shard("fixed", LOGITS).missing()


def test_numbers_a_token_are_as_many_as_the_text_is_long(tmp_path):
    lengths = np.array([2, 1, 3, 2, 1])
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(n, 4)).astype(np.float32) for n in lengths]
    field = Field(name="hidden.1", shape=(4,), per_token=True)
    shard = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT).shard("fixed", field, lengths)
    for block, ids in enumerate(BLOCKS):
        shard.write(block, [rows[i] for i in ids])
    read = shard.read(np.array([4, 2]))
    assert read.shape == (2, 3, 4)
    np.testing.assert_array_equal(read[1], rows[2])
    np.testing.assert_array_equal(read[0], np.concatenate([rows[4], np.zeros((2, 4))]))


def test_the_highest_logits_are_kept_and_the_rest_keep_their_probability():
    logits = np.random.default_rng(2).normal(scale=3, size=(6, 50)).astype(np.float32)
    numbers, index = shrink_logits(logits, 5)
    grown = grow_logits(numbers, index, 50)
    top = np.argsort(-logits, axis=-1)[:, :5]
    np.testing.assert_allclose(
        np.take_along_axis(softmax(grown, axis=-1), top, -1),
        np.take_along_axis(softmax(logits, axis=-1), top, -1),
        rtol=1e-5,
    )
    assert (np.sort(grown, axis=-1)[:, 0] == numbers[:, -1]).all()


def test_stores_unused_longest_are_removed_first_and_those_in_use_never(tmp_path):
    held = [Store(tmp_path, {"weights": name}, BLOCKS, ABOUT) for name in "abc"]
    for age, store in enumerate(held):
        fill(store)
        os.utime(store.path / "lock", (1000 - age, 1000 - age))  # c was used before b before a
    held[1].close()
    held[2].close()
    assert [entry.path for entry in entries(tmp_path)] == [store.path for store in held]
    assert entries(tmp_path)[0].blocks_filled == 3
    one = entries(tmp_path)[0].bytes
    assert prune(tmp_path, 2 * one) == one
    assert [entry.path for entry in entries(tmp_path)] == [held[0].path, held[1].path]
    lines: list[str] = []
    prune(tmp_path, 0, lines.append)
    assert [entry.path for entry in entries(tmp_path)] == [held[0].path]
    assert any("in use" in line for line in lines)


def test_a_size_limit_makes_room_or_says_no(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE_LIMIT_GB", "1e-3")
    old = Store(tmp_path, {"weights": "old"}, BLOCKS, ABOUT)
    fill(old)
    old.close()
    assert room_for(tmp_path, 999_000)
    assert entries(tmp_path) == []
    assert not room_for(tmp_path, 2_000_000)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"ends": "x"}', b'{"ends": [1]}', b"null"])
def test_files_that_somebody_broke_are_named(tmp_path, junk):
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    fill(store)
    for name in ("identity.json", "about.json", "facts.json", "fixed.logits.fp32.json"):
        (store.path / name).write_bytes(junk)
    assert len(verify(store.path)) >= 2
    entries(tmp_path)
    store.read_evaluation()
    assert json.dumps([entry.name for entry in entries(tmp_path)])


def test_the_command_lists_verifies_and_prunes(run_cli, tmp_path):
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    fill(store)
    store.close()
    done = run_cli("cache", "list", "--store", tmp_path)
    assert store.path.name in done.stdout and "100% full" in done.stdout, done.stderr
    assert run_cli("cache", "verify", "--store", tmp_path).returncode == 0
    path = store.path / "fixed.logits.fp32.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    done = run_cli("cache", "verify", "--store", tmp_path)
    assert done.returncode == 3 and "block 2 has changed" in done.stdout
    assert "freed" in run_cli("cache", "prune", "--all", "--store", tmp_path).stdout
    assert entries(tmp_path) == []


def on_a_small_disk(tmp_path, size, code):
    """Run Python in ``disk``, a file system of its own of ``size``. Skips where none can be mounted."""
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs disk"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], cwd=tmp_path, capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    (tmp_path / "code.py").write_text(textwrap.dedent(code))
    command = f"{mount} && exec {sys.executable} code.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_15_13_a_full_disk_is_an_error_of_python_not_a_signal(tmp_path):
    done = on_a_small_disk(
        tmp_path,
        "1m",
        """
        import os
        from pathlib import Path
        import numpy as np
        from ptm.distill.store import Field, Store
        from ptm.errors import StorageError

        blocks = tuple(np.arange(n, n + 100) for n in range(0, 1000, 100))
        store = Store(Path("disk"), {"weights": "a"}, blocks, {})
        small, large = Field(name="small", shape=(10,)), Field(name="logits", shape=(1000,))
        full = os.statvfs("disk").f_bavail
        try:
            store.shard("fixed", large)
        except StorageError as error:
            print(error)
        assert os.statvfs("disk").f_bavail >= full - 1, "what could not be used is free again"
        # Made by an earlier version: a file with holes, of which reading one takes room on this file system.
        with open(store.path / "fixed.logits.fp32.bin", "wb") as file:
            os.truncate(file.fileno(), 1000 * 1000 * 4)
        try:
            store.shard("fixed", large)
        except StorageError as error:
            print(error)
        (store.path / "fixed.logits.fp32.bin").unlink()
        shard = store.shard("fixed", small)
        with open("disk/rest", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for block in range(10):
            shard.write(block, list(np.full((100, 10), block, dtype=np.float32)))
        print(shard.missing(), shard.read(np.array([0, 999])).tolist())
        """,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.count("No space left on device") == 2
    assert done.stdout.endswith(f"[] {[[0.0] * 10, [9.0] * 10]}\n")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_15_13_where_nothing_can_be_allocated_zeros_are_written(tmp_path, monkeypatch, number):
    def refuse(descriptor, offset, size):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    shard = fill(store, blocks=(0, 1))
    data = store.path / "fixed.logits.fp32.bin"
    assert data.stat().st_size == 5 * 3 * 4
    assert shard.missing() == [2]
    np.testing.assert_array_equal(fill(store, blocks=(2,)).read(np.arange(5)), VALUES)


def test_15_13_what_was_allocated_in_vain_is_given_back(tmp_path, monkeypatch):
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    store.shard("fixed", LOGITS).release()
    assert [path.suffix for path in store.path.glob("fixed.*")] == [".json"]
    fill(store, blocks=(1,))
    store.shard("fixed", LOGITS).release()
    assert store.shard("fixed", LOGITS).missing() == [0, 2]
    new = store.shard("other", LOGITS)
    new.write(0, list(VALUES[BLOCKS[0]]))
    new.release()
    assert store.shard("other", LOGITS).missing() == [1, 2]

    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="No space left"):
        store.shard("third", LOGITS)
    assert (store.path / "third.logits.fp32.bin").stat().st_size == 0


def test_15_09_an_evaluation_with_a_number_that_is_none_is_not_read(tmp_path):
    store = Store(tmp_path, {"weights": "a"}, BLOCKS, ABOUT)
    store.write_evaluation({"metrics": {"accuracy": 0.5}})
    assert store.read_evaluation() == {"metrics": {"accuracy": 0.5}}
    (store.path / "facts.json").write_text('{"metrics": {"accuracy": NaN}}')
    assert store.read_evaluation() is None
