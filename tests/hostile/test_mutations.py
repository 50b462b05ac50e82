"""Spoilt copies of every kind of file that ptm reads: it is read, or refused as a user's error; never anything else."""

import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from safetensors.torch import save
from torch import nn

from ptm.base import files
from ptm.data.tables import READERS
from ptm.errors import PtmError
from ptm.models.weights import read_weights
from ptm.run.checkpoint import CheckpointStore, optimizer_tensors, restore
from ptm.run.directory import RunDirectory
from ptm.run.lockfile import Pins, lock_path, read_lock, require_unchanged
from ptm.run.log import MetricsLog
from ptm.run.manifest import changes, read_manifest
from ptm.training.progress import Progress
from ptm.vision.images import decode
from records import RECORD
from tiny.samples import sentences, write_csv, write_parquet

sys.path.insert(0, str(Path(__file__).parent))

from mutation import FACTOR, edits, spoil

SLOWEST_SECONDS = 20.0  # for one file; on a busy machine
ROWS = sentences(6, 1)


@dataclass(frozen=True)
class Kind:
    """A valid file, and what reads it."""

    name: str
    valid: Callable[[Path], bytes]
    read: Callable[[Path], object]
    cases: int = 150


def picture(form: str, mode: str = "RGB") -> Callable[[Path], bytes]:
    def valid(folder: Path) -> bytes:
        buffer = io.BytesIO()
        Image.radial_gradient("L").resize((24, 20)).convert(mode).save(buffer, form)
        return buffer.getvalue()

    return valid


def table(write: Callable[[Path], object]) -> Callable[[Path], bytes]:
    def valid(folder: Path) -> bytes:
        write(folder / "made")
        return (folder / "made").read_bytes()

    return valid


def lines(folder: Path) -> bytes:
    return "\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS).encode()


def columns() -> dict[str, list[str]]:
    return {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}


def pickled(folder: Path) -> bytes:
    torch.save({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}, folder / "made")
    return (folder / "made").read_bytes()


def reader(kind: str) -> Callable[[Path], object]:
    return lambda path: READERS[kind][0](path, ["text", "label"])


# --- checkpoints: a valid one beside it, of which one file is replaced


class Checkpoint:
    """A small checkpoint; :meth:`with_file` resumes from it with one file replaced and the seal made again."""

    def __init__(self, folder: Path) -> None:
        self.model = nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.model(torch.ones(1, 3)).sum().backward()
        self.optimizer.step()
        self.store = CheckpointStore(folder / "checkpoints", 2)
        if not self.store.paths():
            progress = Progress(step=1, best_step=1, best_value=0.5, log_bytes=4)
            self.store.save(progress, self.model, None, optimizer_tensors(self.optimizer))
        self.place = self.store.path(1)

    def with_file(self, name: str, path: Path, *, sealed: bool) -> object:
        whole = (self.place / name).read_bytes()
        seal = (self.place / "manifest.json").read_bytes()
        told: list[str] = []
        try:
            (self.place / name).write_bytes(path.read_bytes())
            if sealed:
                files.seal(self.place)
            changed = path.read_bytes() != whole
            found = self.store.load(told.append)
            assert sealed or not changed or name == "manifest.json"  # without a new seal nothing passes
            assert found is not None
            progress = restore(found, self.model, None, self.optimizer)
            (path.parent / "metrics").write_text("1234")
            MetricsLog(path.parent / "metrics").cut(progress.log_bytes)
            return progress
        finally:
            (self.place / name).write_bytes(whole)
            (self.place / "manifest.json").write_bytes(seal)


def part_of_checkpoint(name: str, cases: int, *, sealed: bool = True) -> Kind:
    return Kind(
        f"checkpoint/{name}{'' if sealed else ', not sealed again'}",
        lambda folder: (Checkpoint(folder).place / name).read_bytes(),
        lambda path: Checkpoint(path.parent).with_file(name, path, sealed=sealed),
        cases,
    )


# --- records and locks


def lock_file(path: Path) -> None:
    lock_path(path.with_suffix(".yaml")).write_bytes(path.read_bytes())
    require_unchanged(read_lock(path.with_suffix(".yaml")), Pins.of(RECORD), path)


def record(path: Path) -> None:
    manifest = read_manifest(path)
    if manifest is not None:
        changes(manifest, RECORD)


def results(path: Path) -> None:
    run = path.with_suffix(".run")
    run.mkdir(exist_ok=True)
    (run / "results.json").write_bytes(path.read_bytes())
    RunDirectory(run).finished()


FORMS = (
    ("PNG", "P"),
    ("JPEG", "CMYK"),
    ("GIF", "P"),
    ("BMP", "RGB"),
    ("WEBP", "RGB"),
    ("TIFF", "I;16"),
    ("PPM", "RGB"),
)
KINDS = [
    Kind("csv", table(lambda path: write_csv(path, ROWS)), reader("csv"), 250),
    Kind("tsv", lambda folder: b"text\tlabel\n" + b"good\tpositive\n" * 3, reader("tsv"), 150),
    Kind("json", lines, reader("json"), 250),
    Kind("json list", lambda folder: b"[" + lines(folder).replace(b"\n", b",") + b"]", reader("json"), 100),
    Kind("parquet", table(lambda path: write_parquet(path, **columns())), reader("parquet"), 200),
    *(Kind(form, picture(form, mode), lambda path: decode(path, str(path)), 100) for form, mode in FORMS),
    Kind(
        "safetensors",
        lambda folder: save({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}),
        lambda path: read_weights(path.rename(path.with_suffix(".safetensors"))),
        200,
    ),
    Kind("pickle", pickled, lambda path: read_weights(path.rename(path.with_suffix(".pth"))), 150),
    part_of_checkpoint("state.json", 250),
    part_of_checkpoint("model.safetensors", 100),
    part_of_checkpoint("optimizer.safetensors", 100),
    part_of_checkpoint("manifest.json", 100, sealed=False),
    part_of_checkpoint("model.safetensors", 50, sealed=False),
    Kind("lock", lambda folder: files.json_bytes(Pins.of(RECORD).as_dict()), lock_file, 150),
    Kind(
        "record",
        lambda folder: files.json_bytes(RECORD.as_dict()),
        record,
        100,
    ),
    Kind("results", lambda folder: files.json_bytes({"status": "done", "metrics": {}}), results, 100),
]


def test_two_thousand_cases_are_tried():
    assert sum(kind.cases for kind in KINDS) >= 2000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_spoilt_file_is_read_or_refused(kind, tmp_path):
    valid = kind.valid(tmp_path)
    path = tmp_path / "spoilt"
    path.write_bytes(valid)
    kind.read(path)  # as it stands it is good

    @settings(max_examples=kind.cases * FACTOR, suppress_health_check=list(HealthCheck))
    @given(edits)
    def attempt(changes):
        path.write_bytes(spoil(valid, changes))
        begun = time.perf_counter()
        try:
            kind.read(path)
        except PtmError as error:
            assert error.exit_code in (2, 3)
            assert str(error)
        assert time.perf_counter() - begun < SLOWEST_SECONDS

    attempt()
