"""What a trained model, or its export, costs on this machine, over the first examples of its evaluation split.

Each is measured in a process of its own, because a process's peak memory never falls again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptm.base.console import Silent
from ptm.experiment.measure import BATCHES, Cost, cost_of, in_process, peak, write_cost
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model


def measure_trained(target: Path, *, threads: int | None = None, batches: Sequence[int] = BATCHES) -> Cost:
    """The cost of the model of a run or an export, in a new process; one that dies is a ``problem`` as well."""
    return in_process("ptm.experiment.footprint", str(target), threads=threads, batches=list(batches))


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
        return cost_of(
            lambda batch: pipeline.forward(pipeline.model, batch),
            pipeline,
            [each for each in batches if each <= pipeline.size("eval")],
            runtime,
            before=before,
            parameters=size.parameters,
            input=f"the first examples of {spec.data.eval or 'its evaluation split'}",
        )


def main(words: Sequence[str]) -> None:
    """``TARGET OPTIONS``: the cost as a line of JSON on standard output."""
    target, options = words
    write_cost(lambda: measure_trained_here(Path(target), **json.loads(options)))
