"""A frozen backbone runs once; the head learns what it would have learned."""

import pytest
import torch
from torchvision import models as zoo

from helpers import Saying, StopAt, history, image_spec, run, text_spec, weights
from ptm.base import cache
from ptm.distill import teacher as teachers
from ptm.errors import Interrupted


@pytest.fixture
def make(tiny_bert, reviews, tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))

    def make(kind, name, **changes):
        frozen = {"freeze": "backbone", "epochs": 3, "learning_rate": 0.05, **changes}
        if kind == "text":
            return text_spec(tiny_bert, reviews, tmp_path / name, **frozen)
        return image_spec(tmp_path / name, augment="none", **frozen)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_result_is_that_of_running_it_every_time(kind, make, monkeypatch, tmp_path):
    """Dropout before the head included: it draws the same numbers. The bits may differ by how batches are padded."""
    computed: list[int] = []
    original = teachers.Teacher._forward
    monkeypatch.setattr(
        teachers.Teacher, "_forward", lambda self, b: computed.append(len(b)) or original(self, b)
    )
    stored = run(make(kind, "stored"))
    size = stored["train"]["examples"] // 3
    assert sum(computed) == size + 1
    plain = run(make(kind, "plain", store_features="off"))
    assert sum(computed) == size + 1
    assert stored["metrics"]["accuracy"] == plain["metrics"]["accuracy"]
    for a, b in zip(history(tmp_path / "stored"), history(tmp_path / "plain"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    if kind == "text":  # the image network starts from random weights, which differ with the seed
        run(make(kind, "other_seed", seed=5))
        assert sum(computed) == size + 2 + teachers.SAMPLE


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bits(make, tmp_path):
    run(make("text", "whole"))
    with pytest.raises(Interrupted):
        run(make("text", "parts"), reporter=StopAt(10))
    run(make("text", "parts"), "resume")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


@pytest.mark.slow
def test_a_finished_run_leaves_no_store_locked(make, tmp_path):
    run(make("text", "r"))
    assert len(cache.entries(tmp_path / "cache")) == 1
    cache.prune(tmp_path / "cache", 0)
    assert cache.entries(tmp_path / "cache") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:tf_efficientnet_lite0", "timm:test_vit"])
def test_10_42_a_backbone_of_timm_runs_once(name, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    torch.save(timm.create_model(name.removeprefix("timm:"), num_classes=4).state_dict(), tmp_path / "w.pth")

    def spec(where, stored):
        options = {"name": name, "width": None, "weights": str(tmp_path / "w.pth"), "store_features": stored}
        size = 160 if "vit" in name else 32
        few = {"max_train_examples": 32, "max_eval_examples": 16, "image_size": size}
        return image_spec(tmp_path / where, augment="none", freeze="backbone", **options, **few)

    stored, plain = run(spec("stored", "auto")), run(spec("plain", "off"))
    assert len(cache.entries(tmp_path / "cache")) == 1
    assert stored["metrics"] == pytest.approx(plain["metrics"], rel=1e-4)


@pytest.mark.slow
def test_10_42_features_that_are_not_stored_are_told(tmp_path):
    torch.save(zoo.mobilenet_v3_small(num_classes=4).state_dict(), tmp_path / "w.pth")
    reporter = Saying()
    options = {"name": "mobilenet_v3_small", "width": None, "weights": str(tmp_path / "w.pth")}
    few = {"max_train_examples": 32, "max_eval_examples": 16, "image_size": 32, "epochs": 1}
    run(image_spec(tmp_path / "r", augment="none", freeze="backbone", **options, **few), reporter=reporter)
    assert any("computed in every epoch" in line and "dropout" in line for line in reporter.lines)
