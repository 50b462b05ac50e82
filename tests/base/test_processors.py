"""How many processors there are, without torch."""

import os

import pytest

from ptm.base.processors import core_count, gpu_count


def test_12_10_cores_are_those_that_this_process_may_run_on():
    assert core_count() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("variable", "count"),
    [(None, 3), ("", 0), ("0", 1), ("1,2", 2), ("-1", 0), ("0,-1,2", 1), ("0,1,2,3", 3)],
)
def test_12_10_gpus_are_the_devices_that_are_not_hidden(tmp_path, variable, count):
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpu_count({} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}, tmp_path) == count
