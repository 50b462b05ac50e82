"""The machine of a run: which device, how many threads, and everything as it was afterwards."""

import os
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from ptm.base.seeds import mix
from ptm.config.spec import RuntimeSpec
from ptm.errors import ConfigError, ResourceLimit
from ptm.training.runtime import (
    Runtime,
    batch_norms,
    bf16_units,
    choose_device,
    environment_ranks,
    open_runtime,
)

CPU = Runtime(device=torch.device("cpu"), precision="fp32", threads=1)


@pytest.fixture
def gpus(monkeypatch):
    """``gpus(n)``: as if there were so many."""

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("name", "count", "local_rank", "device"),
    [
        ("cpu", 4, None, "cpu"),
        ("auto", 0, None, "cpu"),
        ("auto", 2, None, "cuda:0"),
        ("cuda", 2, None, "cuda:0"),
        ("cuda:1", 2, None, "cuda:1"),
        ("auto", 2, 1, "cuda:1"),
        ("auto", 0, 1, "cpu"),
    ],
)
def test_the_device_of_a_process(gpus, name, count, local_rank, device):
    gpus(count)
    assert choose_device(name, local_rank) == torch.device(device)


@pytest.mark.parametrize(
    ("name", "count", "local_rank", "what"),
    [
        ("cuda", 0, None, "there is no CUDA device"),
        ("cuda:3", 2, None, "there is no CUDA device 3"),
        ("auto", 2, 2, "there is no CUDA device 2"),
    ],
)
def test_a_device_that_is_not_there_is_refused(gpus, name, count, local_rank, what):
    gpus(count)
    with pytest.raises(ConfigError) as caught:
        choose_device(name, local_rank)
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == (what, "runtime.device")


def state():
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_rng_state().tolist(),
    )


def test_13_08_an_operation_in_no_fixed_order_is_refused_by_name():
    places = torch.tensor([0, 0])
    with pytest.raises(ConfigError) as caught, open_runtime(RuntimeSpec(device="cpu", threads=1)):
        torch.zeros(3).put_(places, torch.ones(2))
    (problem,) = caught.value.problems
    assert problem.where == "runtime.deterministic" and "put_" in problem.what
    with pytest.raises(RuntimeError, match="another"), open_runtime(RuntimeSpec(device="cpu", threads=1)):
        raise RuntimeError("another error")


def test_torch_is_set_up_and_put_back_also_after_an_error():
    before = state()
    with pytest.raises(KeyError), open_runtime(RuntimeSpec(device="cpu", threads=1)) as runtime:
        assert replace(runtime, small_maps=False, one_dnn=False, recompute=False) == CPU and runtime.main
        assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(5)
        torch.rand(3)
        raise KeyError
    assert state() == before


@pytest.mark.parametrize("setting", [{"compile": True}, {"shard": "fsdp"}])
def test_13_02_nothing_is_computed_again_where_others_take_care_of_what_is_kept(setting):
    spec = RuntimeSpec(device="cpu", threads=1)
    with open_runtime(spec) as runtime:
        assert runtime.recompute
    with open_runtime(replace(spec, **setting)) as runtime:
        assert not runtime.recompute


def test_the_cores_are_the_threads_unless_the_config_says(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with open_runtime(RuntimeSpec(device="cpu")) as runtime:
        assert runtime.threads == torch.get_num_threads() == 2


def test_fp16_on_the_cpu_is_refused_and_changes_nothing():
    before = state()
    with (
        pytest.raises(ConfigError, match="fp16 needs CUDA"),
        open_runtime(RuntimeSpec(device="cpu", precision="fp16")),
    ):
        pass
    assert state() == before


@pytest.mark.parametrize(("compiled", "precision"), [(False, "fp32"), (False, "bf16"), (True, "fp32")])
def test_13_02_faster_ways_but_not_where_torch_compiles(compiled, precision, monkeypatch):
    calls = []
    monkeypatch.setattr("ptm.training.runtime.convolution", lambda *args: calls.append(1) or args[0])
    spec = RuntimeSpec(device="cpu", threads=1, precision=precision, compile=compiled)
    with open_runtime(spec) as runtime, runtime.autocast():
        nn.Conv2d(1, 1, 3, padding=1)(torch.ones(1, 1, 1, 1))
    assert bool(calls) is not compiled


def test_the_precision_is_that_of_matrix_products():
    a = torch.ones(2, 2)
    with CPU.autocast():
        assert (a @ a).dtype == torch.float32
    with Runtime(device=torch.device("cpu"), precision="bf16", threads=1).autocast():
        assert (a @ a).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("told", "units", "precision"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, "AMX-BF16", "bf16"),
        ({"avx512_bf16": True, "amx_bf16": False}, "AVX512-BF16", "bf16"),
        ({"avx512_bf16": False, "avx2": True}, None, "fp32"),
    ],
)
def test_13_04_auto_is_bf16_where_the_cpu_has_units_for_it(monkeypatch, told, units, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert bf16_units(torch.device("cpu")) == units
    with open_runtime(RuntimeSpec(device="cpu", precision="auto")) as runtime:
        assert runtime.precision == precision


def test_13_04_a_torch_that_does_not_tell_of_units_has_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert bf16_units(torch.device("cpu")) is None


def test_seeds_are_those_of_their_words():
    with torch.random.fork_rng():
        CPU.seed(1, 2, 3)
        drawn = torch.rand(4)
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(mix(1, 2, 3))))


def test_one_process_needs_no_other():
    numbers = torch.tensor([1.0, 2.0])
    assert CPU.sum(numbers) is numbers and CPU.gather({"a": 1}) == [{"a": 1}]
    assert CPU.any(True) and not CPU.any(False)
    CPU.barrier()


def test_the_environment_says_which_process_it_is(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert environment_ranks() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert environment_ranks() == (2, 4)
    assert not Runtime(device=torch.device("cpu"), precision="fp32", threads=1, rank=2, ranks=4).main


def test_batch_norms_are_those_whose_statistics_training_changes():
    model = nn.Sequential(
        nn.BatchNorm1d(2),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.BatchNorm2d(2, momentum=None),
        nn.LayerNorm(2),
        nn.BatchNorm2d(2),
        nn.InstanceNorm2d(2),
    )
    model[4].eval()
    assert batch_norms(model.modules()) == [model[0]]


@pytest.mark.parametrize(
    "rank, ranks", [("abc", "2"), ("0", "-3"), ("2", "2"), ("-1", "2"), ("0", ""), ("0", "0")]
)
def test_15_17_ranks_that_are_none_are_refused(monkeypatch, rank, ranks):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    with pytest.raises(ConfigError, match="RANK is"):
        environment_ranks()


def test_10_32_a_pool_of_threads_and_what_is_started_beside_it_must_find_room(monkeypatch):
    """A run with 8 threads has had 19 of them at its end, 3 of which stood before: fewer end in native code."""
    start, begun = threading.Thread.start, []

    def refuse_the_seventeenth(thread):
        if len(begun) == 16:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_seventeenth)
    with pytest.raises(ResourceLimit, match="16 more threads"), open_runtime(spec_of(8)):
        pass
    assert torch.get_num_threads() != 8
    begun.clear()
    with open_runtime(spec_of(2)) as runtime:
        assert runtime.threads == 2


def spec_of(threads):
    return RuntimeSpec(device="cpu", threads=threads)
