"""What a model costs on this machine: time of a forward pass, and memory. Random weights: they cost the same.

Each model is measured in a process of its own, because a process's peak memory never falls again. A forward pass
goes through the task's pipeline, as in an evaluation: what is computed besides the network (normalisation, boxes,
written texts) counts as well.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ptm.base.allocator import give_back_freed_memory
from ptm.base.launch import guarded
from ptm.config.schema import is_for
from ptm.config.spec import DataSpec, GenerateSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.errors import PtmError
from ptm.models.catalogue import Choice
from ptm.text.catalogue import TextModel, text_model

if TYPE_CHECKING:
    from ptm.pipeline import Batch, Pipeline
    from ptm.training.runtime import Runtime

BATCHES = (1, 32)
TOKENS = 128  # length of the texts
_SPECIAL = 4  # tokens that stand between several texts, at most
WRITTEN = 32  # tokens that a translation may have
SIDE = (480, 640)  # height and width of the images, in pixels, before they are brought to the model's size
MOST_SECONDS = 60.0  # a batch that would take longer to measure is left out
_PASSES = 8  # so many are timed at least
_LABELS = ("no", "yes")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """``latency_ms``: batch size → median and 95th percentile; ``peak_bytes``: batch size → how much memory the
    process took at most beyond what it had before the model was built, on a GPU what torch took there. A batch size
    that is missing did not fit, or would have taken more than a minute. ``problem`` says why nothing was measured."""

    parameters: int | None = None
    input: str = ""
    device: str = ""
    threads: int | None = None
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(choice: Choice, *, threads: int | None = None, batches: Sequence[int] = BATCHES) -> Cost:
    """The cost of a model, in a new process; one that dies is a ``problem`` as well."""
    return in_process(
        "ptm.experiment.measure", choice.task, choice.name, threads=threads, batches=list(batches)
    )


def in_process(module: str, *words: str, **options: Any) -> Cost:
    """What a module's ``main`` writes in a new process; one that dies is a ``problem``."""
    command = [*guarded(f"import sys, {module} as it; it.main(sys.argv[1:])"), *words, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return Cost(problem=f"its process ended with {done.returncode}: {last}")
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


def measure_here(task: str, name: str, threads: int | None, batches: Sequence[int]) -> Cost:
    """The cost of a model in this process, whose memory it leaves as high as it went.

    Raises a PtmError for what cannot be built.
    """
    with TemporaryDirectory(prefix="ptm-measure-") as folder:
        spec = _spec(task, name, threads, Path(folder))
        return _measured(spec, batches, Path(folder))


def _measured(spec: RunSpec, batches: Sequence[int], folder: Path) -> Cost:
    from ptm.data.examples import Dataset
    from ptm.pipeline import task_module
    from ptm.training.runtime import open_runtime

    module = task_module(spec.task)
    with open_runtime(spec.runtime) as runtime:
        before = peak(runtime.device)
        data = Dataset(None, _examples(spec, max(batches), folder), _LABELS, {})
        pipeline = module.build(spec, data, model=spec.model.ref(), complete=False)
        pipeline.model.to(runtime.device).eval()
        return cost_of(
            lambda batch: pipeline.evaluate_batch(pipeline.model, batch),
            pipeline,
            batches,
            runtime,
            before=before,
            parameters=sum(p.numel() for p in pipeline.model.parameters()),
            input=_input(spec),
        )


def cost_of(
    call: Callable[[Batch], object],
    pipeline: Pipeline,
    sizes: Sequence[int],
    runtime: Runtime,
    *,
    before: int,
    parameters: int,
    input: str,
) -> Cost:
    """The cost of ``call`` on the first examples of the evaluation split, in batches of ``sizes``; ``before``: the peak
    of this process before the model was there."""
    import numpy as np
    import torch

    from ptm.experiment.scorecard import latency_ms

    latencies: dict[str, dict[str, float]] = {}
    peaks: dict[str, int] = {}
    for size in sorted(sizes):
        expected = sum(entry["median"] for entry in latencies.values()) * size / 1000 * _PASSES
        if expected > MOST_SECONDS:
            break
        (batch,) = pipeline.batches("eval", [np.arange(size)], 0)
        run = partial(call, batch.to(runtime.device))
        with suppress(MemoryError, torch.OutOfMemoryError):
            latencies[str(size)] = latency_ms(run, runtime)
            peaks[str(size)] = peak(runtime.device) - before
    return Cost(
        parameters=parameters,
        input=input,
        device=str(runtime.device),
        threads=runtime.threads,
        latency_ms=latencies,
        peak_bytes=peaks,
    )


def peak(device: Any) -> int:
    """Bytes that this process took at most so far: on a GPU of its memory, else of the machine's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    return held("VmHWM")


def forget_peak(device: Any) -> None:
    """Let :func:`peak` begin with what is held now."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    give_back_freed_memory()  # or a step would find it there, and seem to need nothing
    with suppress(OSError):  # then the peak is that of everything so far, not of what is held now
        Path("/proc/self/clear_refs").write_text("5")


def held(key: str = "VmRSS") -> int:
    """Bytes of the machine's memory that this process holds now, or with ``VmHWM`` held at most."""
    # Not ru_maxrss where there is another: a process begins with that of the one that started it.
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _spec(task: str, name: str, threads: int | None, folder: Path) -> RunSpec:
    known, cut = text_model(name), is_for(("data", "max_length"), task)
    place = name if known is None else str(_write_text_model(known, folder))
    return RunSpec(
        version=1,
        task=task,
        model=ModelSpec(name=place, weights="none"),
        data=DataSpec(
            source="csv:none",
            labels=_LABELS,
            max_length=TOKENS if cut else None,
        ),
        train=TrainSpec(epochs=1, learning_rate=1e-3),
        generate=GenerateSpec(max_length=WRITTEN) if is_for(("generate",), task) else None,
        runtime=RuntimeSpec(threads=threads),
        output="none",
    )


def _write_text_model(model: TextModel, folder: Path) -> Path:
    """A directory with the model's configuration, and a tokenizer of as many words as it has: all that is needed."""
    from transformers import AutoConfig, BertTokenizer

    config = AutoConfig.for_model(**model.config)
    config.save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(f"w{number}" for number in range(config.vocab_size - len(special)))]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    return folder


def _examples(spec: RunSpec, count: int, folder: Path) -> Any:
    """Texts of ``TOKENS`` words, which are longer than ``TOKENS`` tokens, or images of noise in ``folder``; where an
    input is several texts, such as a question and its context, they come to ``TOKENS`` together."""
    from ptm.data.examples import Examples
    from ptm.data.given import Given
    from ptm.data.inputs import Typed
    from ptm.pipeline import task_module

    if spec.descriptor.modality == "image":
        images = [_noise(folder / f"{row}.png", seed=row) for row in range(count)]
        return Examples({"image": images}, None, lambda row: str(images[row]))
    module = task_module(spec.task)
    roles = list(next(module.read_inputs(spec, [Given(())])).columns)
    words = TOKENS if len(roles) == 1 else (TOKENS - _SPECIAL) // len(roles)
    texts = tuple(" ".join(f"w{1 + row + word}" for word in range(words)) for row in range(count))
    if len(roles) > 1:
        return Examples(dict.fromkeys(roles, texts), None, lambda row: f"text {row}")
    inputs = next(module.read_inputs(spec, [Typed(texts)]))
    return Examples(inputs.columns, None, inputs.where)  # a plain forward pass of language models, too


def _noise(path: Path, seed: int) -> Path:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (*SIDE, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=0)
    path.write_bytes(content.getvalue())  # of a full disk Pillow may say nothing
    return path


def _input(spec: RunSpec) -> str:
    if spec.descriptor.modality == "image":
        return f"{SIDE[1]}x{SIDE[0]} pixels, brought to its size"
    return f"{TOKENS} tokens" + ("" if spec.generate is None else f", at most {WRITTEN} written")


def main(words: Sequence[str]) -> None:
    """``TASK NAME OPTIONS``: the cost of a model as a line of JSON on standard output."""
    task, name, options = words
    write_cost(lambda: measure_here(task, name, **json.loads(options)))


def write_cost(measured: Callable[[], Cost]) -> None:
    """A cost as a line of JSON on standard output."""
    try:
        cost = measured()
    except PtmError as error:
        cost = Cost(problem=str(error.problems[0]))
    print(json.dumps(cost.as_dict()))
