"""Published weights: told when they are missing, checked when they are there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from ptm.base import network
from ptm.config.model_ref import ModelRef
from ptm.errors import MissingDownload, ModelError
from ptm.vision import downloads, resnet_cifar
from ptm.vision.classifier_plan import (
    ClassifierPlan,
    missing_downloads,
    plan_classifier,
)
from ptm.vision.classifiers import build_classifier


def plan(name: str, weights: str = "none", width: int | None = None) -> ClassifierPlan:
    return plan_classifier(ModelRef(name=name, weights=weights, width=width))


def small(name: str = "resnet8", classes: int = 3, *, seed: int = 0, **options: Any) -> nn.Module:
    width = 4 if name in resnet_cifar.NAMES else None
    return build_classifier(
        plan(name, width=width), classes, image_size=32, seed=seed, complete=False, **options
    )[0]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for name in ("PTM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "cache" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "cache" / "hub" / "checkpoints"


def test_missing_weights_are_told_with_everything_that_helps(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("tried the network"))
    (problem,) = missing_downloads(ModelRef(name="resnet18"))
    text = str(problem)
    url = zoo.ResNet18_Weights.DEFAULT.url
    for told in ("resnet18", "IMAGENET1K_V1", url, str(cache / Path(url).name), "model.weights=none"):
        assert told in text
    (problem,) = missing_downloads(ModelRef(role="teacher", name="resnet50"))
    assert "teacher.weights=none" in str(problem)
    with pytest.raises(MissingDownload) as caught:
        build_classifier(plan("resnet18", "default"), 3, image_size=32, seed=0, complete=False)
    assert caught.value.exit_code == 6


def test_nothing_is_missing_when_cached_or_reachable_or_not_wanted(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "reachable", lambda url: False)
    assert missing_downloads(ModelRef(name="resnet18", weights="none")) == []
    assert missing_downloads(ModelRef(name="resnet20", weights="none")) == []
    assert len(missing_downloads(ModelRef(name="resnet18"))) == 1
    downloads.cached_file(zoo.ResNet18_Weights.DEFAULT.url).write_bytes(b"")
    assert missing_downloads(ModelRef(name="resnet18")) == []
    monkeypatch.setattr(network, "reachable", lambda url: True)
    assert missing_downloads(ModelRef(name="resnet34")) == []


@pytest.mark.slow
def test_cached_weights_are_checked_and_loaded_with_a_new_head(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTM_OFFLINE", "1")
    wanted = plan("shufflenet_v2_x0_5", "default")
    path = downloads.cached_file(zoo.ShuffleNet_V2_X0_5_Weights.DEFAULT.url)
    source = small("shufflenet_v2_x0_5", 1000)
    torch.save(source.state_dict(), path)
    with pytest.raises(ModelError, match="SHA-256"):
        build_classifier(wanted, 3, image_size=64, seed=0, complete=False)
    monkeypatch.setattr(downloads, "_digest_prefix", lambda _: None)
    model, report = build_classifier(wanted, 3, image_size=64, seed=0, complete=False)
    assert report.source == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    assert report.new == ("fc.weight", "fc.bias")
    assert torch.equal(model.conv1[0].weight, source.conv1[0].weight)


def test_a_download_is_kept_only_if_its_digest_is_right(cache: Path, tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()[:8]
    good, bad = tmp_path / f"a-{digest}.pth", tmp_path / "b-00000000.pth"
    good.write_bytes(content)
    bad.write_bytes(content)
    assert downloads.fetch(good.as_uri()).read_bytes() == content
    assert downloads.fetch(good.as_uri()) == cache / good.name
    with pytest.raises(ModelError, match="not what was published"):
        downloads.fetch(bad.as_uri())
    assert not (cache / bad.name).exists()
    with pytest.raises(MissingDownload, match="cannot be downloaded"):
        downloads.fetch((tmp_path / "absent-00000000.pth").as_uri())
