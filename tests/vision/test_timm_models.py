"""Classifiers of timm: names, weights, preprocessing, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from helpers import evaluation, image_spec, run
from ptm.base.extras import install
from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.pipeline import task_module
from ptm.training import order
from ptm.vision import timm_models
from ptm.vision.classifier_plan import ClassifierPlan, missing_downloads, plan_classifier
from ptm.vision.classifiers import build_classifier

NAME = "timm:test_resnet"


def built(plan: ClassifierPlan, classes: int = 3, *, seed: int = 1, complete: bool = False, size: int = 64):
    return build_classifier(plan, classes, image_size=size, seed=seed, complete=complete)


def plan(name: str = NAME, weights: str = "none") -> ClassifierPlan:
    return plan_classifier(ModelRef(name=name, weights=weights))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The weights of NAME in a cache of the hub's layout, made here; returns them."""
    import huggingface_hub

    source = timm.create_model("test_resnet", num_classes=7)
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(source.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    original = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repo, file: original(repo, file, cache_dir=tmp_path / "hub"),
    )
    monkeypatch.setenv("PTM_OFFLINE", "1")
    return source.state_dict()


def test_preprocessing_is_that_of_the_weights():
    stated = timm.get_pretrained_cfg("resnet18.a1_in1k")
    chosen = plan("timm:resnet18.a1_in1k", "none").preprocessing
    assert (chosen.image_size, chosen.resize) == (224, int(224 / stated.crop_pct))
    assert (chosen.mean, chosen.std, chosen.interpolation) == (stated.mean, stated.std, "bicubic")
    assert plan("timm:vit_base_patch16_224.augreg_in21k_ft_in1k").preprocessing.mean == (0.5, 0.5, 0.5)


def test_default_weights_are_found_in_the_cache_and_the_head_is_new(published):
    chosen = plan(weights="default")
    assert missing_downloads(ModelRef(name=NAME)) == []
    assert chosen.own_normalisation
    net, report = built(chosen)
    assert report.source == "timm/test_resnet.r160_in1k"
    assert report.new == ("fc.weight", "fc.bias")
    assert torch.equal(net.conv1[0].weight, published["conv1.0.weight"])
    again, _ = built(chosen)
    other, _ = built(chosen, seed=2)
    assert torch.equal(net.fc.weight, again.fc.weight) and not torch.equal(net.fc.weight, other.fc.weight)
    with pytest.raises(ModelError, match="output layer would be random"):
        built(chosen, complete=True)


def test_missing_weights_are_told_with_a_cure(monkeypatch):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    for role in ("model", "teacher"):
        (problem,) = missing_downloads(ModelRef(role=role, name=NAME))
        assert problem.where == f"{role} {NAME} (weights timm/test_resnet.r160_in1k)"
        assert "the network is switched off" in problem.what
        assert f"--set {role}.weights=none" in problem.cure
    assert missing_downloads(ModelRef(name=NAME, weights="none")) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    source = timm.create_model("test_vit", num_classes=5)
    path = tmp_path / f"w{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    net, report = built(plan("timm:test_vit", str(path)), size=160)
    assert report.new == ("head.weight", "head.bias")
    assert torch.equal(net.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)


def test_position_embeddings_are_resized_by_timm(tmp_path):
    source = timm.create_model("test_vit", num_classes=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    net, report = built(plan("timm:test_vit", str(tmp_path / "w.safetensors")), size=96, complete=True)
    assert report.new == ()
    assert net.pos_embed.shape[1] < source.pos_embed.shape[1]
    assert net(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="weights of another model"):
        built(plan(NAME, str(tmp_path / "w.safetensors")))


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("timm:resnet81", "timm:resnet18"),
        ("timm:resnet18.a1_in2k", "timm:resnet18.a1_in1k"),
        ("timm:zzzz", ""),
    ],
)
def test_unknown_names_are_refused_with_the_closest(name, cure):
    with pytest.raises(ModelError, match="timm has no network") as caught:
        plan(name)
    assert cure in caught.value.problems[0].cure


def test_unknown_weights_and_unreadable_ones_are_refused():
    with pytest.raises(ModelError, match="no weights 'IMAGENET1K_V1'"):
        plan(NAME, "IMAGENET1K_V1")
    configs = {name: timm.get_pretrained_cfg(name) for name in timm.list_models()}
    unpublished = next(name for name, config in configs.items() if config is None or not config.hf_hub_id)
    with pytest.raises(ModelError, match="no weights that can be read"):
        plan(f"timm:{unpublished}", "default")


def test_a_size_that_is_not_possible_names_the_usual_one():
    with pytest.raises(ModelError, match="does not take images of 150x150") as caught:
        built(plan("timm:test_vit"), size=150)
    assert caught.value.problems[0].cure == "--set data.image_size=160"


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="not installed") as caught:
        plan(NAME)
    assert install("timm") in caught.value.problems[0].cure


def test_a_distilled_transformer_has_two_heads():
    net, _ = built(plan("timm:deit_tiny_distilled_patch16_224"), size=224)
    assert timm_models.heads(net) == ("head", "head_dist")


@pytest.mark.slow
def test_auxiliary_outputs_are_refused():
    with pytest.raises(ModelError, match="auxiliary output"):
        built(plan("timm:volo_d1_224"), size=224)


@pytest.mark.slow
def test_a_run_is_saved_and_loaded_as_any_other(tmp_path):
    spec = image_spec(tmp_path / "run", name=NAME, width=None, image_size=32, epochs=1)
    results = run(spec)
    saved = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert saved["architecture"] == NAME
    again = evaluation(tmp_path / "run")
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    network = timm.create_model("test_resnet", num_classes=10).eval()
    network.load_state_dict(load_file(tmp_path / "run" / "model" / "model.safetensors"))
    module = task_module(spec.task)
    pipeline = module.build(
        spec, module.load_data(spec), model=ModelRef(name=str(tmp_path / "run")), complete=True
    )
    assert pipeline.feature_names == () and pipeline.head_input == "pooled" and pipeline.head == ("fc",)
    pipeline.model.eval()
    (batch,) = pipeline.batches("eval", order.eval_plan(pipeline.size("eval"), 64), 0)
    with torch.inference_mode():
        pixels = batch.inputs["pixels"].float() / 255
        mean, std = (torch.tensor(saved[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        theirs = network((pixels - mean) / std)
        ours = pipeline.forward(pipeline.model, batch).logits
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)
