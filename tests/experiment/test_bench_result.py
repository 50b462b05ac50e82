"""What a bench says of its figures: what helps, and when they are not to be trusted."""

import json
from dataclasses import replace

import pytest

from ptm.experiment.bench_result import Bench, Tried

QUIET = Bench(
    device="cpu", threads=2, cores=2, precision="fp32", units="AVX512-BF16", steps=3, rounds=3, examples=32, tokens=800,
    seconds=0.5, spread=0.02, parts={"data": 0.01, "forward": 0.2, "backward": 0.29}, evaluation_seconds=1.0,
    save_seconds=None, operations=20 * 10**9, products_seconds=0.25, square_rate=1e11, others=0.05, load_average=0.2,
    tried=(Tried("runtime.precision=bf16", "r", (1.9, 2.1, 2.0)), Tried("runtime.threads=1", "r", (0.6, 0.62, 0.6))),
)  # fmt: skip


def test_13_05_what_helps_is_faster_in_every_round():
    assert [t.setting for t in QUIET.helpful] == ["runtime.precision=bf16"]
    text = "\n".join(QUIET.lines("examples"))
    assert (
        "64.0 examples a second, 1,600 tokens" in text
        and "helps: --set runtime.precision=bf16 (2.00 x)" in text
    )
    assert "20 GFLOP a step, 40 GFLOP/s" in text and "reach 80 and take 0.2500 s, 50% of the step" in text
    assert not QUIET.doubts and not QUIET.thread_warning
    none = replace(
        QUIET, tried=(Tried("x=1", "r", (0.99, 1.2, 1.3)), Tried("y=1", "r", problem="out of memory"))
    )
    text = "\n".join(none.lines("examples"))
    assert "no change helps" in text and "--set y=1: out of memory" in text
    assert "none that is counted" in "\n".join(replace(QUIET, operations=0).lines("images"))


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        ({"others": 1.3}, "other processes kept 1.3 of 2 cores busy"),
        ({"others": None, "load_average": 4.0}, "the load average is 4.0 on 2 cores"),
        ({"spread": 0.4}, "longer or shorter by 40%"),
    ],
)
def test_13_05_figures_of_a_busy_machine_are_doubted(changed, doubt):
    bench = replace(QUIET, **changed)
    assert doubt in " ".join(bench.doubts) and doubt in json.dumps(bench.as_dict())


@pytest.mark.parametrize("threads", [1, 2])
def test_13_05_threads_that_wait_for_each_other(threads):
    """Whether the config has one thread or several; of a quiet machine only the ratio is said."""
    other = (
        Tried("runtime.threads=1", "r", (2.0, 3.0))
        if threads == 2
        else Tried("runtime.threads=2", "r", (0.3, 0.4))
    )
    slow = replace(QUIET, threads=threads, tried=(other,), others=1.5)
    assert slow.thread_warning.startswith("2 threads are slower than one here: other processes")
    assert slow.as_dict()["warnings"] == [slow.thread_warning]
    assert not replace(slow, others=0.0).thread_warning and not replace(slow, others=None).thread_warning
    assert not replace(slow, tried=(replace(other, ratios=(0.9, 1.1)),)).thread_warning
