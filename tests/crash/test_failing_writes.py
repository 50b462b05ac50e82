"""Each write of a run fails in turn: one message, what was saved before is intact, --resume ends with the same bits."""

import errno
import os

import pytest

from helpers import history, image_spec, last_state, run, weights
from ptm import files
from ptm.errors import StorageError

SAMPLE = 9  # every so many operations of a run is made to fail; all of them would take minutes


class Failing:
    """Counts fsyncs, renames and file contents, and fails the chosen one as a full or broken disk does."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None, code: int, *, short: bool = False) -> None:
        self.count = 0
        self._at, self._code, self._short = at, code, short
        for name in ("fsync", "rename", "replace"):
            patch.setattr(os, name, self._wrap(getattr(os, name)))
        patch.setattr(files, "write_synced", self._wrap(files.write_synced))

    def _wrap(self, original):
        def call(*words, **more):
            self.count += 1
            if self.count == self._at:
                if self._short and len(words) == 2 and isinstance(words[1], bytes):
                    words[0].write_bytes(words[1][: len(words[1]) // 2])
                raise OSError(self._code, os.strerror(self._code))
            return original(*words, **more)

        return call


def spec(output):
    return image_spec(output, epochs=1, save_every_steps=2, max_train_examples=64)


@pytest.mark.parametrize(("code", "short"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_any_write_may_fail(code, short, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        counter = Failing(patch, None, code)
        run(spec(tmp_path / "whole"))
    assert counter.count > 30
    for at in range(1 + short, counter.count + 1, SAMPLE):
        target = tmp_path / f"failed-{at}"
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, at, code, short=short)
            with pytest.raises(StorageError, match=os.strerror(code)) as caught:
                run(spec(target))
        assert caught.value.exit_code == 3
        run(spec(target), "resume")
        debris = [p.name for p in target.rglob(".*") if p.name != ".lock"]
        assert debris == [], at
        assert weights(target) == weights(tmp_path / "whole")
        assert history(target) == history(tmp_path / "whole")
        assert last_state(target) == last_state(tmp_path / "whole")
