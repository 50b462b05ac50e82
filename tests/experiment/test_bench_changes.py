"""What is tried in place of a config's settings: only what the config, the model and the machine take."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers import image_spec, text_spec
from ptm.experiment import bench_changes
from ptm.experiment.bench_changes import changes_of
from ptm.training.runtime import Runtime


def settings(
    spec, *, lengths, units="AVX512-BF16", cores=4, threads=1, workers_work=False, monkeypatch, size=64
):
    monkeypatch.setattr(bench_changes, "bf16_units", lambda device: units)
    monkeypatch.setattr(bench_changes, "core_count", lambda: cores)
    pipeline = SimpleNamespace(
        size=lambda split: size,
        lengths=lambda split: np.arange(size) if lengths else None,
        embeddings=("bert.embeddings.",) if lengths else (),
        head=("classifier.",),
    )
    runtime = Runtime(torch.device("cpu"), spec.runtime.precision, threads)
    return [c.setting for c in changes_of(spec, pipeline, runtime, workers_work=workers_work)]


def test_13_05_settings_of_texts(tmp_path, monkeypatch):
    spec = text_spec(tmp_path, tmp_path, tmp_path / "r")
    assert settings(spec, lengths=True, monkeypatch=monkeypatch) == [
        "runtime.precision=bf16", "runtime.threads=2", "runtime.threads=4", "train.micro_batch_size=4",
        "train.micro_batch_size=2", "train.group_by_length=false", "train.batch_size=16", "model.freeze=embeddings",
        "model.freeze=backbone",
    ]  # fmt: skip
    found = settings(spec, lengths=True, units=None, cores=1, size=8, monkeypatch=monkeypatch)
    assert not [s for s in found if s.startswith(("runtime.", "train.batch_size"))]


def test_13_05_settings_of_images_and_what_the_config_rules_out(tmp_path, monkeypatch):
    """Random weights cannot be frozen; cheap views need no workers."""
    spec = image_spec(tmp_path / "r", precision="bf16", workers=1, micro_batch_size=8)
    found = settings(spec, lengths=False, threads=4, workers_work=True, monkeypatch=monkeypatch)
    assert found == [
        "runtime.precision=fp32", "runtime.threads=1", "runtime.threads=2", "runtime.workers=0", "runtime.workers=4",
        "train.micro_batch_size=4", "train.micro_batch_size=2", "train.micro_batch_size=null", "train.batch_size=32",
    ]  # fmt: skip
    found = settings(spec, lengths=False, workers_work=False, monkeypatch=monkeypatch)
    assert not [s for s in found if "workers" in s]


@pytest.mark.parametrize("freeze", ["backbone", "embeddings"])
def test_13_05_what_is_frozen_already_is_left(freeze, tmp_path, monkeypatch):
    spec = text_spec(tmp_path, tmp_path, tmp_path / "r", freeze=freeze)
    assert not [s for s in settings(spec, lengths=True, monkeypatch=monkeypatch) if "freeze" in s]
