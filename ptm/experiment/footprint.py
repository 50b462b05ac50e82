"""What a trained model, or its export, costs on this machine, over the first examples of its evaluation split.

Each is measured in a process of its own, because a process's peak memory never falls again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ptm.base.console import Silent
from ptm.errors import PtmError
from ptm.experiment.measure import BATCHES, Cost, peak
from ptm.experiment.scorecard import latency_ms
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model


def measure_trained(target: Path, *, threads: int | None = None, batches: Sequence[int] = BATCHES) -> Cost:
    """The cost of the model of a run or an export, in a new process; one that dies is a ``problem`` as well."""
    words = [str(target), json.dumps({"threads": threads, "batches": list(batches)})]
    command = [sys.executable, "-P", "-m", "ptm.experiment.footprint", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return Cost(problem=f"its process ended with {done.returncode}: {last}")
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


def measure_trained_here(target: Path, threads: int | None, batches: Sequence[int]) -> Cost:
    """The same in this process, whose memory it leaves as high as it went."""
    trained = trained_model(
        target, [f"data.max_eval_examples={max(batches)}", "data.max_train_examples=null"]
    )
    spec = trained.spec
    spec = replace(spec, runtime=replace(spec.runtime, threads=threads or spec.runtime.threads))
    trained = replace(trained, spec=spec)
    with open_session(spec, Silent()) as session:
        runtime = session.runtime
        labels = session.task.stored_labels(trained.model.name)
        data = session.task.load_data(spec, labels=labels, train=False)
        before = peak(runtime.device)
        pipeline = trained.build(session, data)
        size = trained.size(pipeline)
        pipeline.model.to(runtime.device).eval()
        latencies: dict[str, dict[str, float]] = {}
        peaks: dict[str, int] = {}
        for number in sorted(each for each in batches if each <= pipeline.size("eval")):
            (batch,) = pipeline.batches("eval", [np.arange(number)], 0)
            batch = batch.to(runtime.device)
            run = lambda batch=batch: pipeline.forward(pipeline.model, batch)  # noqa: E731
            with suppress(MemoryError, torch.OutOfMemoryError):
                latencies[str(number)] = latency_ms(run, runtime)
                peaks[str(number)] = peak(runtime.device) - before
        return Cost(
            parameters=size.parameters,
            input=f"the first examples of {spec.data.eval or 'its evaluation split'}",
            device=str(runtime.device),
            threads=runtime.threads,
            latency_ms=latencies,
            peak_bytes=peaks,
        )


def main(words: Sequence[str]) -> None:
    """``TARGET OPTIONS``: the cost as a line of JSON on standard output."""
    target, options = words
    try:
        cost = measure_trained_here(Path(target), **json.loads(options))
    except PtmError as error:
        cost = Cost(problem=str(error.problems[0]))
    print(json.dumps(cost.as_dict()))


if __name__ == "__main__":
    main(sys.argv[1:])
