"""Architectures, heads, weights and preprocessing by name; saved models; downloads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as zoo
from torchvision.models import regnet

from ptm.base import network
from ptm.config.model_ref import ModelRef
from ptm.errors import MissingDownload, ModelError
from ptm.vision import downloads, models
from ptm.vision.models import build_model, plan_model
from ptm.vision.saved import Preprocessing, SavedModel, read_saved, write_saved

TORCHVISION = zoo.list_models(module=zoo)
ONE_A_FAMILY = (
    "alexnet",
    "convnext_tiny",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vit_b_32",
)


def plan(name: str, weights: str = "none", width: int | None = None) -> models.ModelPlan:
    return plan_model(ModelRef(name=name, weights=weights, width=width))


def small(name: str = "resnet8", classes: int = 3, *, seed: int = 0, **options: Any) -> nn.Module:
    width = 4 if name in models.resnet_cifar.NAMES else None
    return build_model(plan(name, width=width), classes, image_size=32, seed=seed, complete=False, **options)[
        0
    ]


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules without memory. RegNets compute their widths with tensors, which then need a real device."""
    widths = regnet.BlockParams.from_init_params.__func__

    def on_cpu(*args: Any, **options: Any) -> Any:
        with torch.device("cpu"):
            return widths(*args, **options)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
    return torch.device("meta")


def out_features(module: nn.Module) -> int:
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels  # type: ignore


def test_every_classifier_has_a_plan_and_a_head_with_as_many_outputs_as_classes(on_meta: Any) -> None:
    assert len(TORCHVISION) >= 80
    for name in models.architectures():
        if name.startswith(("regnet_y_128", "efficientnet_b5", "efficientnet_b6", "efficientnet_v2_l")):
            continue  # seconds to construct, and no other code than their smaller siblings
        with on_meta:
            model = models._construct(plan(name), 7, plan(name).preprocessing.image_size, auxiliary=True)
        heads = models.head_of(model, name)
        assert [out_features(model.get_submodule(head)) for head in heads] == [7] * len(heads), name
        assert len(heads) == {"inception_v3": 2, "googlenet": 3}.get(name, 1)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_the_size_of_its_weights_is_taken_by_a_model_of_every_family(on_meta: Any, name: str) -> None:
    size = plan(name).preprocessing.image_size
    with on_meta:
        model = models._construct(plan(name), 7, size, auxiliary=True)
    models._check_size(model, name, size)


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 96), ("vit_b_32", 100), ("alexnet", 32), ("maxvit_t", 230)]
)
def test_a_size_that_a_model_cannot_take_is_refused_before_training(name: str, size: int) -> None:
    with pytest.raises(ModelError, match=f"does not take images of {size}x{size}") as caught:
        build_model(plan(name), 3, image_size=size, seed=0, complete=False)
    assert "data.image_size=" in caught.value.problems[0].cure


def test_preprocessing_is_that_of_the_weights() -> None:
    v1, v2 = plan("resnet50", "IMAGENET1K_V1").preprocessing, plan("resnet50").preprocessing
    assert (v1.image_size, v1.resize, v2.resize) == (224, 256, 232)
    assert v1.mean == (0.485, 0.456, 0.406)
    assert plan("resnet20").preprocessing == models.CIFAR
    assert plan("efficientnet_b0").preprocessing.interpolation == "bicubic"
    inception = plan("inception_v3").preprocessing
    assert (inception.image_size, inception.resize, inception.mean) == (299, 342, (0.5, 0.5, 0.5))


def test_inception_normalises_once_what_torchvision_does_twice() -> None:
    inside = zoo.inception_v3(weights=None, init_weights=False, transform_input=True)
    pixels = torch.rand(2, 3, 8, 8)
    preset = zoo.Inception_V3_Weights.DEFAULT.transforms()
    mean, std = torch.tensor(preset.mean).view(1, 3, 1, 1), torch.tensor(preset.std).view(1, 3, 1, 1)
    torch.testing.assert_close(inside._transform_input((pixels - mean) / std), (pixels - 0.5) / 0.5)


def test_another_size_keeps_the_margin_and_small_images_have_none() -> None:
    own = plan("resnet18").preprocessing
    assert own.at_size(224) is own
    assert (own.at_size(112).image_size, own.at_size(112).resize) == (112, 128)
    assert own.at_size(32).resize is None
    assert models.CIFAR.at_size(112).resize == 128


@pytest.mark.parametrize("name", ["resent20", "resnet_50", "Resnet18"])
def test_unknown_models_are_refused_with_the_closest_names(name: str) -> None:
    with pytest.raises(ModelError, match="did you mean") as caught:
        plan(name)
    assert "resnet20" in str(caught.value) and "vit_b_16" in str(caught.value)


def test_weights_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean IMAGENET1K_V"):
        plan("resnet50", "IMAGENET1K_V3")
    with pytest.raises(ModelError, match="no pre-trained weights belong to resnet20"):
        plan("resnet20", "default")
    with pytest.raises(ModelError, match="no such file"):
        plan("resnet20", str(tmp_path / "absent.pth"))
    with pytest.raises(ModelError, match="no weights"):  # these hold no classifier
        plan("vgg16", "IMAGENET1K_FEATURES")
    with pytest.raises(ModelError, match="no width"):
        plan("resnet18", width=8)


def test_random_weights_are_a_function_of_the_seed_and_touch_no_other_randomness() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = small(seed=5), small(seed=5), small(seed=6)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert not torch.equal(first.linear.weight, other.linear.weight)


def test_a_file_is_fitted_and_the_head_is_new_for_other_classes(tmp_path: Path) -> None:
    source = small("shufflenet_v2_x0_5", 5)
    torch.save({"state_dict": {f"module.{n}": t for n, t in source.state_dict().items()}}, tmp_path / "w.pth")
    from_file = plan("shufflenet_v2_x0_5", str(tmp_path / "w.pth"))
    model, report = build_model(from_file, 3, image_size=64, seed=1, complete=False)
    assert report.new == ("fc.weight", "fc.bias") and report.source == str(tmp_path / "w.pth")
    assert torch.equal(model.conv5[0].weight, source.conv5[0].weight)
    same, report = build_model(from_file, 5, image_size=64, seed=1, complete=True)
    assert report.new == () and torch.equal(same.fc.weight, source.fc.weight)
    other, report = build_model(from_file, 5, image_size=64, seed=1, complete=False, keep_head=False)
    assert report.new == ("fc.weight", "fc.bias") and not torch.equal(other.fc.weight, source.fc.weight)
    with pytest.raises(ModelError, match="would be random"):
        build_model(from_file, 3, image_size=64, seed=1, complete=True)


def test_a_checkpoint_of_another_width_or_depth_is_refused(tmp_path: Path) -> None:
    torch.save(small("resnet8").state_dict(), tmp_path / "w.pth")
    for name, width in (("resnet8", 8), ("resnet14", 4)):
        with pytest.raises(ModelError, match="do not fit the model"):
            build_model(plan(name, str(tmp_path / "w.pth"), width), 3, image_size=32, seed=0, complete=False)


def test_nothing_untrained_is_used_as_trained() -> None:
    with pytest.raises(ModelError, match="has not learned anything"):
        build_model(plan("resnet8"), 3, image_size=32, seed=0, complete=True)


def test_auxiliary_heads_are_only_for_training_and_may_be_missing(tmp_path: Path) -> None:
    bare = zoo.googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=3)
    torch.save(bare.state_dict(), tmp_path / "w.pth")
    from_file = plan("googlenet", str(tmp_path / "w.pth"))
    model, report = build_model(from_file, 3, image_size=64, seed=0, complete=False)
    assert models.head_of(model, "googlenet") == ("fc", "aux1.fc2", "aux2.fc2")
    assert {name.split(".")[0] for name in report.new} == {"aux1", "aux2"}
    model, report = build_model(from_file, 3, image_size=64, seed=0, complete=True)
    assert models.head_of(model, "googlenet") == ("fc",) and report.new == ()


def test_names_in_published_files_are_brought_up_to_date() -> None:
    given = {
        "features.denseblock1.denselayer1.norm.1.weight": torch.zeros(1),
        "classifier.bias": torch.zeros(1),
    }
    renamed = models._current_names("densenet121", given, 224)
    assert list(renamed) == ["features.denseblock1.denselayer1.norm1.weight", "classifier.bias"]
    layer = "encoder.layers.encoder_layer_0.mlp"
    given = {f"{layer}.linear_1.weight": torch.zeros(1), f"{layer}.linear_2.bias": torch.zeros(1)}
    assert list(models._current_names("vit_b_16", given, 224)) == [f"{layer}.0.weight", f"{layer}.3.bias"]


def test_position_embeddings_follow_the_image_size() -> None:
    given = {"encoder.pos_embedding": torch.randn(1, 1 + 7 * 7, 8)}
    resized = models._current_names("vit_b_32", given, 96)["encoder.pos_embedding"]
    assert resized.shape == (1, 1 + 3 * 3, 8)
    assert torch.equal(resized[:, 0], given["encoder.pos_embedding"][:, 0])


# Published weights


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
    (problem,) = models.missing_downloads(ModelRef(name="resnet18"))
    text = str(problem)
    url = zoo.ResNet18_Weights.DEFAULT.url
    for told in ("resnet18", "IMAGENET1K_V1", url, str(cache / Path(url).name), "model.weights=none"):
        assert told in text
    (problem,) = models.missing_downloads(ModelRef(role="teacher", name="resnet50"))
    assert "teacher.weights=none" in str(problem)
    with pytest.raises(MissingDownload) as caught:
        build_model(plan("resnet18", "default"), 3, image_size=32, seed=0, complete=False)
    assert caught.value.exit_code == 6


def test_nothing_is_missing_when_cached_or_reachable_or_not_wanted(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "reachable", lambda url: False)
    assert models.missing_downloads(ModelRef(name="resnet18", weights="none")) == []
    assert models.missing_downloads(ModelRef(name="resnet20", weights="none")) == []
    assert len(models.missing_downloads(ModelRef(name="resnet18"))) == 1
    downloads.cached_file(zoo.ResNet18_Weights.DEFAULT.url).write_bytes(b"")
    assert models.missing_downloads(ModelRef(name="resnet18")) == []
    monkeypatch.setattr(network, "reachable", lambda url: True)
    assert models.missing_downloads(ModelRef(name="resnet34")) == []


def test_cached_weights_are_checked_and_loaded_with_a_new_head(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTM_OFFLINE", "1")
    wanted = plan("shufflenet_v2_x0_5", "default")
    path = downloads.cached_file(zoo.ShuffleNet_V2_X0_5_Weights.DEFAULT.url)
    source = small("shufflenet_v2_x0_5", 1000)
    torch.save(source.state_dict(), path)
    with pytest.raises(ModelError, match="SHA-256"):
        build_model(wanted, 3, image_size=64, seed=0, complete=False)
    monkeypatch.setattr(downloads, "_digest_prefix", lambda _: None)
    model, report = build_model(wanted, 3, image_size=64, seed=0, complete=False)
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


# Models of earlier runs

SAVED = SavedModel(
    architecture="resnet8",
    width=4,
    labels=("cat", "dog"),
    preprocessing=Preprocessing(
        image_size=24, resize=None, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    ),
)


def saved_run(directory: Path, **changes: Any) -> Path:
    (directory / "model").mkdir(parents=True, exist_ok=True)
    write_saved(directory / "model", SAVED)
    path = directory / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return directory


def test_a_run_or_its_model_directory_is_a_model(tmp_path: Path) -> None:
    run = saved_run(tmp_path / "run")
    assert read_saved(run / "model") == SAVED
    for name in (run, run / "model"):
        found = plan(str(name), "default")
        assert (found.architecture, found.width, found.labels) == ("resnet8", 4, ("cat", "dog"))
        assert found.preprocessing == SAVED.preprocessing
        assert found.weights == run / "model" / "model.safetensors"
    assert models.stored_labels(str(run)) == ("cat", "dog")
    assert models.stored_labels("resnet18") is None
    assert plan(str(run), "none").labels is None


def test_directories_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        plan(str(tmp_path / "absent"))
    with pytest.raises(ModelError, match="no finished model"):
        plan(str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="text model"):
        plan(str(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"architecture": "../../etc/passwd"},
        {"architecture": ["resnet8"]},
        {"width": -1},
        {"width": True},
        {"width": 10**9},
        {"labels": ["cat", "cat"]},
        {"labels": "ab"},
        {"labels": ["cat", 3]},
        {"image_size": 0},
        {"image_size": 10**9},
        {"image_size": "24"},
        {"resize": 8},
        {"interpolation": "magic"},
        {"interpolation": []},
        {"mean": [0.1, 0.2]},
        {"mean": [0.1, 0.2, float("nan")]},
        {"mean": [0.1, 0.2, 10**400]},
        {"std": [0.1, 0.2, 0]},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = saved_run(tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        plan(str(run), "default")
    assert str(run) in caught.value.problems[0].where


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_description_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    run = saved_run(tmp_path)
    (run / "model" / "model.json").write_bytes(content)
    with pytest.raises(ModelError):
        plan(str(run), "default")
