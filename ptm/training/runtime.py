"""Where a run is computed: device, precision, threads, processes. What these say to each other is here, but gradients:
those are in :mod:`ptm.training.shared_loss`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.utils.deterministic as deterministic_options
from torch import Tensor, nn

from ptm.base.launch import peer_timeout
from ptm.base.limits import require_pool
from ptm.base.seeds import mix
from ptm.config.spec import RuntimeSpec
from ptm.errors import ConfigError, PeerLost, listing
from ptm.training import recompute
from ptm.training.one_dnn import linear_where_it_pays, one_dnn_is_faster
from ptm.training.replaced import Replaced
from ptm.training.small_maps import convolution

_CPU_UNITS = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16"}
_PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """What the engine needs to know of the machine. ``rank`` 0 of ``ranks`` writes the files."""

    device: torch.device
    precision: str
    threads: int
    rank: int = 0
    ranks: int = 1
    small_maps: bool = False  # convolutions as small_maps.py computes them
    one_dnn: bool = False  # linear layers in fp32 by oneDNN (one_dnn.py)
    cuda_graphs: bool = False  # passes are recorded (cuda_graphs.py)
    recompute: bool = False  # less is kept for the backward pass (recompute.py)

    @property
    def main(self) -> bool:
        return self.rank == 0

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Forward passes in bf16 or fp16, or fp32, by the faster ways of this machine; losses are computed in fp32 all
        the same."""
        fp32 = self.precision == "fp32"
        with (
            self.recomputation(),
            nullcontext() if fp32 else torch.autocast(self.device.type, self.product_type),
        ):
            yield

    def recomputation(self) -> AbstractContextManager[Any]:
        """What layers that gradient checkpointing computes again are to be computed in, so that they are as they were:
        all of :meth:`autocast` but what torch takes along by itself."""
        replacements: dict[Callable[..., Any], Callable[..., Any]] = {}
        if self.recompute:
            replacements |= recompute.REPLACEMENTS
        if self.small_maps:
            replacements[nn.functional.conv2d] = convolution
        if self.one_dnn and self.precision == "fp32":
            replacements[nn.functional.linear] = linear_where_it_pays
        return Replaced(replacements) if replacements else nullcontext()

    @property
    def product_type(self) -> torch.dtype:
        """What products of matrices are computed in."""
        return _PRECISION[self.precision]

    def seed(self, *words: int) -> None:
        """Set torch's generators to a function of ``words``: called before each forward pass of training."""
        torch.manual_seed(mix(*words))

    def sum(self, numbers: Tensor) -> Tensor:
        """Element-wise sum over the processes."""
        if self.ranks > 1:
            with peers():
                dist.all_reduce(numbers)
        return numbers

    def chain_batch_norms(
        self, modules: Sequence[nn.Module], before: Sequence[Sequence[Tensor]], passes: Sequence[int]
    ) -> None:
        """Bring running statistics to what one process would have after all forward passes of a step.

        With momentum m, k passes of process i map a statistic r to a·r + b with a = (1-m)^k. Every process
        knows its own image of the common start, so b is known, and the maps are composed in rank order.
        ``before`` holds the buffers at the start of the step, ``passes`` the forward passes of each process.
        """
        if self.ranks == 1 or not modules:
            return
        for module, old in zip(modules, before, strict=True):
            momentum = float(module.momentum)  # type: ignore[arg-type]
            for name, start in zip(("running_mean", "running_var"), old, strict=True):
                buffer = getattr(module, name)
                images = [torch.empty_like(buffer) for _ in range(self.ranks)]
                with peers():
                    dist.all_gather(images, buffer.contiguous())
                value = start
                for image, count in zip(images, passes, strict=True):
                    keep = (1 - momentum) ** count
                    value = keep * value + (image - keep * start)
                buffer.copy_(value)
            module.num_batches_tracked += sum(passes) - passes[self.rank]  # type: ignore[operator, assignment]

    def gather(self, value: Any) -> list[Any]:
        """One picklable object from each process, in rank order, in every process."""
        if self.ranks == 1:
            return [value]
        values: list[Any] = [None] * self.ranks
        with peers():
            dist.all_gather_object(values, value)
        return values

    def require_alike(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError, in all processes, where another than the first has other facts: on several machines, where
        each may see files of its own."""
        of_all = self.gather(dict(facts))
        for rank, others in enumerate(of_all):
            names = [name for name, value in of_all[0].items() if others.get(name) != value]
            if names:
                raise ConfigError(
                    f"process {rank} has another {listing(names)} than process 0",
                    expected="the same on all machines",
                    cure="put the config, its data and models, and the run directory where all machines see them",
                )

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.ranks == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)).item())

    def barrier(self) -> None:
        if self.ranks > 1:
            with peers():
                dist.barrier()


Coming = Callable[[], list[float]]


def coming(numbers: Tensor) -> Coming:
    """What gives the numbers of a vector. Of one on a GPU they are on their way from here on: asking waits for them,
    and not for what the GPU is told to do later."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    here = numbers.to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(numbers.device))

    def wait() -> list[float]:
        arrived.synchronize()
        values: list[float] = here.tolist()
        return values

    return wait


# How gloo, NCCL and torch's store tell of a process that is gone, or silent for too long.
_LOST = re.compile(r"closed by peer|reset by peer|connection|socket|store|broken pipe|remote process", re.I)
_SILENT = re.compile(r"time(d)?[ -]?out", re.I)


@contextmanager
def peers() -> Iterator[None]:
    """A call in which all processes take part. Raises PeerLost when one of them does not."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, dist.DistError) and not _LOST.search(text) and not _SILENT.search(text):
            raise
        silent = f"did not answer for {peer_timeout():g} s"
        raise PeerLost(
            f"another process of this run {silent if _SILENT.search(text) else 'is gone'}",
            cure="the same command with --resume goes on from what was saved",
        ) from error


def environment_ranks() -> tuple[int, int]:
    """(rank, ranks) as torchrun or ``--nproc`` set them; (0, 1) in an ordinary process. Raises ConfigError."""
    rank, ranks = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    with suppress(ValueError):
        if 0 <= int(rank) < int(ranks):
            return int(rank), int(ranks)
    raise ConfigError(
        f"RANK is {rank[:40]!r}, WORLD_SIZE is {ranks[:40]!r}",
        where="the environment",
        expected="numbers as torchrun sets them, RANK the smaller",
        cure="unset both: --nproc N sets them",
    )


def _of_machine(name: str, default: int) -> int:
    """What torchrun says of the processes on this machine: ``LOCAL_RANK``, ``LOCAL_WORLD_SIZE``. Raises ConfigError."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"{name} is {text[:40]!r}", where="the environment", expected="a number from 0 on")
    return int(text)


@contextmanager
def open_runtime(spec: RuntimeSpec) -> Iterator[Runtime]:
    """Set torch up for a run and put everything back afterwards. Joins the process group if there is one."""
    rank, ranks = environment_ranks()
    device = choose_device(spec.device, _of_machine("LOCAL_RANK", 0) if ranks > 1 else None)
    if spec.precision == "fp16" and device.type != "cuda":
        raise ConfigError("fp16 needs CUDA", where="runtime.precision", cure="use bf16 or fp32 on the CPU")
    if spec.cuda_graphs and ranks > 1:
        raise ConfigError(
            f"passes are recorded in a run of one process, this one has {ranks}",
            where="runtime.cuda_graphs",
            cure="--set runtime.cuda_graphs=false",
        )
    here = max(1, _of_machine("LOCAL_WORLD_SIZE", ranks)) if ranks > 1 else 1
    threads = spec.threads or max(1, (os.cpu_count() or 1) // here)
    require_pool(threads)
    deterministic = spec.deterministic or device.type == "cpu"
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.get_num_threads(),
        torch.get_deterministic_debug_mode(),
        deterministic_options.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
    )
    torch.set_num_threads(threads)
    # What torch.use_deterministic_algorithms sets, without its import of the compiler.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    if spec.compile:
        torch.use_deterministic_algorithms(deterministic)  # sets the compiler's own mode too
    deterministic_options.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time, and ptm reads no such memory
    torch.backends.cudnn.benchmark = not deterministic
    if ranks > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with peers():
            limit = timedelta(seconds=peer_timeout())
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=limit)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # What the compiler makes of a model is its own; it has no use for another way. A GPU waits for kernels to
            # be started, not for their products.
            other_ways = device.type == "cpu" and not spec.compile
            runtime = Runtime(
                device=device,
                precision=spec.precision,
                threads=threads,
                rank=rank,
                ranks=ranks,
                small_maps=other_ways,
                one_dnn=other_ways and one_dnn_is_faster(),
                cuda_graphs=spec.cuda_graphs and device.type == "cuda",
                # FSDP takes weights away between a layer's passes, and so what to compute again from.
                recompute=other_ways and spec.shard == "none",
            )
            if spec.precision == "auto":
                # One for all: the slowest unit decides.
                units = not runtime.any(not bf16_units(device))
                runtime = replace(runtime, precision="bf16" if units else "fp32")
            with _deterministic_operations(device):
                yield runtime
    finally:
        if ranks > 1:
            dist.destroy_process_group()
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        deterministic_options.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = before[3]


_NO_FIXED_ORDER = re.compile(r"^(\S+) does not have a deterministic implementation")


@contextmanager
def _deterministic_operations(device: torch.device) -> Iterator[None]:
    """Raises ConfigError for an operation that this device has in no fixed order, where one is asked for."""
    try:
        yield
    except RuntimeError as error:
        match = _NO_FIXED_ORDER.match(str(error))
        if match is None:
            raise
        gpu = device.type == "cuda"
        raise ConfigError(
            f"this model needs {match[1]}, which this device does not compute in a fixed order",
            where="runtime.deterministic",
            expected="a model without it" + gpu * ", or a run that may end with other bits each time",
            cure="--set runtime.deterministic=false" if gpu else "choose another model",
        ) from error


def bf16_units(device: torch.device) -> str | None:
    """What of this device multiplies matrices of bf16 faster than those of fp32; None where nothing does."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere, the first with such tensor cores
        return "tensor cores for bf16" if fast else None
    # Of torch 2.12 and later; what an older one does not tell is taken for missing.
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((name for key, name in _CPU_UNITS.items() if told.get(key)), None)


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device of this process. Raises ConfigError when there is no such GPU."""
    count = torch.cuda.device_count() if name != "cpu" and torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0) if local_rank is None else local_rank
    if index >= count:
        raise ConfigError(
            f"there is no CUDA device {index}" if count else "there is no CUDA device",
            where="runtime.device",
            expected=f"one of {count} devices" if count else "a GPU and its driver",
            cure="use device: auto or cpu",
        )
    return torch.device("cuda", index)


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules with running statistics that training changes."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return [
        m
        for m in modules
        if isinstance(m, kinds) and m.training and m.track_running_stats and m.momentum is not None
    ]
