"""The files of an export, beside its graph."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.config.spec import RunSpec
from ptm.config.tasks import QUESTION_ANSWERING, TASKS
from ptm.experiment.footprint import measure_trained
from ptm.experiment.session import Session
from ptm.experiment.trained import Trained
from ptm.export.directory import CONFIG, DESCRIPTION, PROGRAM, SETTINGS, require_place
from ptm.export.record import ExportRecord, Side, write_record
from ptm.export.settings import image_settings, program_of, text_settings
from ptm.metrics.conformal import stored_conformal
from ptm.pipeline import Pipeline
from ptm.report import words
from ptm.report.exports import export_table
from ptm.text.pipeline import TextPipeline

_OF_PROGRAM = ("onnxruntime", "tokenizers", "numpy", "pillow")


def write_export(
    session: Session,
    trained: Trained,
    pipeline: Pipeline,
    record: ExportRecord,
    file: Path,
    place: Path,
    *,
    measure: bool,
    overwrite: bool,
) -> ExportRecord:
    """Fill the directory ``place``, which appears whole: the graph from ``file``, what else the model has, the record
    and, if they are to be measured, times and memory. Returns the record as it was written. Raises StorageError;
    RunDirectoryError for what was put into ``place`` meanwhile."""
    with files.new_directory(place) as directory:
        shutil.copyfile(file, directory / record.graph)
        description = directory / DESCRIPTION
        description.mkdir()
        pipeline.save_model(description)
        if pipeline.decisions is not None:
            pipeline.decisions.write(description)
        conformal = stored_conformal(trained.model.name)
        if conformal is not None:
            conformal.write(description)
        for weights in description.rglob("*.safetensors*"):
            weights.unlink()
        shutil.copyfile(trained.target / "config.yaml", directory / CONFIG)
        settings = _settings(session.spec, pipeline, description, record)
        (directory / SETTINGS).write_bytes(files.json_bytes(settings))
        if record.format == "onnx":
            (directory / PROGRAM).write_bytes(program_of(session.spec))
            (directory / "requirements.txt").write_text(_requirements(session.spec), encoding="utf-8")
        write_record(directory, record)
        files.seal(directory)
        if measure:
            record = _measured(session, trained, directory, record)
            write_record(directory, record)
        (directory / "README.md").write_bytes(files.utf8(export_card(record, place.name)))
        files.seal(directory)
        require_place(place, overwrite=overwrite, inputs=[trained.target])  # put there meanwhile
    return record


def _settings(spec: RunSpec, pipeline: Pipeline, description: Path, record: ExportRecord) -> dict[str, Any]:
    if spec.descriptor.modality == "image":
        return image_settings(spec, description, record.inputs, pipeline.decisions)
    assert isinstance(pipeline, TextPipeline)
    return text_settings(
        spec,
        pipeline.model,
        pipeline.tokenizer,
        record.labels,
        record.inputs,
        pipeline.decisions,
        pipeline.program_settings(),
    )


def _measured(session: Session, trained: Trained, directory: Path, record: ExportRecord) -> ExportRecord:
    """With times and memory of both, each in a process of its own. A format that ptm does not read has none."""
    sides = {}
    targets = {"before": trained.target, **({"after": directory} if record.format == "onnx" else {})}
    for name, target in targets.items():
        session.reporter.say(f"measuring {'the model' if name == 'before' else 'the export'}")
        cost = measure_trained(target, threads=session.runtime.threads)
        if cost.problem:
            session.reporter.say(f"warning: not measured: {cost.problem}")
        side: Side = getattr(record, name)
        latencies = {size: dict(times) for size, times in cost.latency_ms.items()}
        sides[name] = replace(side, latency_ms=latencies, peak_bytes=dict(cost.peak_bytes))
    return replace(record, before=sides["before"], after=sides.get("after", record.after))


def _requirements(spec: RunSpec) -> str:
    needless = "tokenizers" if spec.descriptor.modality == "image" else "pillow"
    names = [name for name in _OF_PROGRAM if name != needless]
    return "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in names)


_USE: dict[str, Callable[[str], str]] = {
    "text": lambda name: f'python {name} "a text"',
    "image": lambda name: f"python {name} image.jpg",
    QUESTION_ANSWERING.name: lambda name: f"python {name} $'a question\\ta context that answers it'",
}


def export_card(record: ExportRecord, name: str) -> str:
    """README.md of an export."""
    lines = [
        f"# {words.markdown(name)}",
        "",
        f"Exported by ptm {record.ptm}: {record.task}, {record.format}.",
    ]
    if record.format == "onnx":
        use = _USE.get(record.task) or _USE[TASKS[record.task].modality]
        lines += ["", "```bash", "pip install -r requirements.txt", use(PROGRAM), "```"]
    else:
        lines += ["", "```python", f'program = torch.export.load("{record.graph}").module()', "```"]
    columns, rows = export_table({"export": record.as_dict()})
    # Metrics of slices have names that come from the data.
    cells = [[words.markdown(cell) for cell in row] for row in (["", *columns], *rows)]
    lines += ["", f"| {' | '.join(cells[0])} |", "|---" * len(cells[0]) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in cells[1:]]
    return "\n".join([*lines, ""])
