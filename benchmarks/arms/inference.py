"""A text classifier's evaluation split through ONNX Runtime: by ptm's export, or by the same graph in a plain loop, as
optimum's pipelines call it (rows in their order, padded to the longest of a batch)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import finish, settings, spec_of, timed


def main() -> None:
    options = settings()
    with tempfile.TemporaryDirectory() as folder:
        (by_export if options.by_ptm else by_loop)(options, Path(folder))


def exported(options: Any, folder: Path) -> tuple[Any, Path]:
    from ptm.base.console import Silent
    from ptm.experiment.export import ExportOptions, run_export
    from ptm.experiment.train import run_training

    spec = spec_of(options, folder)
    run_training(spec, mode="new", reporter=Silent())
    run_export(Path(spec.output), folder / "export", ExportOptions(measure=False), reporter=Silent())
    return spec, folder / "export"


def by_export(options: Any, folder: Path) -> None:
    from ptm.base.console import Silent
    from ptm.experiment.evaluate import run_evaluation

    _, export = exported(options, folder)
    results = run_evaluation(export, reporter=Silent()).as_dict()
    finish(
        loop_seconds=results["eval"]["seconds"],
        examples=results["eval"]["examples"],
        accuracy=results["metrics"]["accuracy"],
    )


def by_loop(options: Any, folder: Path) -> None:
    import numpy as np
    import onnxruntime
    from transformers import AutoTokenizer

    from ptm.text.classification import load_data

    spec, export = exported(options, folder)
    data = load_data(spec)
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.output) / "model")
    texts, right, seconds = list(data.eval.columns["text"]), 0, list[float]()
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(next(export.rglob("*.onnx")), chosen, ["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}
    with timed(seconds.append):
        for start in range(0, len(texts), 64):
            encoded = tokenizer(
                texts[start : start + 64], truncation=True, max_length=128, padding=True, return_tensors="np"
            )
            logits = session.run(None, {k: v.astype(np.int64) for k, v in encoded.items() if k in names})[0]
            right += int((logits.argmax(-1) == data.eval.targets[start : start + 64]).sum())
    finish(loop_seconds=seconds[0], examples=len(texts), accuracy=right / len(texts))


if __name__ == "__main__":
    main()
