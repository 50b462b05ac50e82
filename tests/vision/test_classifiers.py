"""Image classifiers as networks: heads, sizes, weights from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as zoo
from torchvision.models import regnet

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision import classifiers, resnet_cifar
from ptm.vision.classifier_plan import (
    ClassifierPlan,
    architectures,
    plan_classifier,
)
from ptm.vision.classifiers import build_classifier, head_of

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


def plan(name: str, weights: str = "none", width: int | None = None) -> ClassifierPlan:
    return plan_classifier(ModelRef(name=name, weights=weights, width=width))


def small(name: str = "resnet8", classes: int = 3, *, seed: int = 0, **options: Any) -> nn.Module:
    width = 4 if name in resnet_cifar.NAMES else None
    return build_classifier(
        plan(name, width=width), classes, image_size=32, seed=seed, complete=False, **options
    )[0]


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


@pytest.mark.slow
def test_every_classifier_has_a_plan_and_a_head_with_as_many_outputs_as_classes(on_meta: Any) -> None:
    assert len(TORCHVISION) >= 80
    for name in architectures():
        if name.startswith(("regnet_y_128", "efficientnet_b5", "efficientnet_b6", "efficientnet_v2_l")):
            continue  # seconds to construct, and no other code than their smaller siblings
        with on_meta:
            model = classifiers._construct(plan(name), 7, plan(name).preprocessing.image_size, auxiliary=True)
        heads = head_of(model, name)
        assert [out_features(model.get_submodule(head)) for head in heads] == [7] * len(heads), name
        assert len(heads) == {"inception_v3": 2, "googlenet": 3}.get(name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_the_size_of_its_weights_is_taken_by_a_model_of_every_family(on_meta: Any, name: str) -> None:
    size = plan(name).preprocessing.image_size
    with on_meta:
        model = classifiers._construct(plan(name), 7, size, auxiliary=True)
    classifiers._check_size(model, name, size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 96), ("vit_b_32", 100), ("alexnet", 32), ("maxvit_t", 230)]
)
def test_a_size_that_a_model_cannot_take_is_refused_before_training(name: str, size: int) -> None:
    with pytest.raises(ModelError, match=f"does not take images of {size}x{size}") as caught:
        build_classifier(plan(name), 3, image_size=size, seed=0, complete=False)
    assert "data.image_size=" in caught.value.problems[0].cure


def test_random_weights_are_a_function_of_the_seed_and_touch_no_other_randomness() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = small(seed=5), small(seed=5), small(seed=6)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert not torch.equal(first.linear.weight, other.linear.weight)


@pytest.mark.slow
def test_a_file_is_fitted_and_the_head_is_new_for_other_classes(tmp_path: Path) -> None:
    source = small("shufflenet_v2_x0_5", 5)
    torch.save({"state_dict": {f"module.{n}": t for n, t in source.state_dict().items()}}, tmp_path / "w.pth")
    from_file = plan("shufflenet_v2_x0_5", str(tmp_path / "w.pth"))
    model, report = build_classifier(from_file, 3, image_size=64, seed=1, complete=False)
    assert report.new == ("fc.weight", "fc.bias") and report.source == str(tmp_path / "w.pth")
    assert torch.equal(model.conv5[0].weight, source.conv5[0].weight)
    same, report = build_classifier(from_file, 5, image_size=64, seed=1, complete=True)
    assert report.new == () and torch.equal(same.fc.weight, source.fc.weight)
    other, report = build_classifier(from_file, 5, image_size=64, seed=1, complete=False, keep_head=False)
    assert report.new == ("fc.weight", "fc.bias") and not torch.equal(other.fc.weight, source.fc.weight)
    with pytest.raises(ModelError, match="would be random"):
        build_classifier(from_file, 3, image_size=64, seed=1, complete=True)


def test_a_checkpoint_of_another_width_or_depth_is_refused(tmp_path: Path) -> None:
    torch.save(small("resnet8").state_dict(), tmp_path / "w.pth")
    for name, width in (("resnet8", 8), ("resnet14", 4)):
        with pytest.raises(ModelError, match="do not fit the model"):
            build_classifier(
                plan(name, str(tmp_path / "w.pth"), width), 3, image_size=32, seed=0, complete=False
            )


def test_nothing_untrained_is_used_as_trained() -> None:
    with pytest.raises(ModelError, match="has not learned anything"):
        build_classifier(plan("resnet8"), 3, image_size=32, seed=0, complete=True)


@pytest.mark.slow
def test_auxiliary_heads_are_only_for_training_and_may_be_missing(tmp_path: Path) -> None:
    bare = zoo.googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=3)
    torch.save(bare.state_dict(), tmp_path / "w.pth")
    from_file = plan("googlenet", str(tmp_path / "w.pth"))
    model, report = build_classifier(from_file, 3, image_size=64, seed=0, complete=False)
    assert head_of(model, "googlenet") == ("fc", "aux1.fc2", "aux2.fc2")
    assert {name.split(".")[0] for name in report.new} == {"aux1", "aux2"}
    model, report = build_classifier(from_file, 3, image_size=64, seed=0, complete=True)
    assert head_of(model, "googlenet") == ("fc",) and report.new == ()


def test_names_in_published_files_are_brought_up_to_date() -> None:
    given = {
        "features.denseblock1.denselayer1.norm.1.weight": torch.zeros(1),
        "classifier.bias": torch.zeros(1),
    }
    renamed = classifiers._current_names("densenet121", given, 224)
    assert list(renamed) == ["features.denseblock1.denselayer1.norm1.weight", "classifier.bias"]
    layer = "encoder.layers.encoder_layer_0.mlp"
    given = {f"{layer}.linear_1.weight": torch.zeros(1), f"{layer}.linear_2.bias": torch.zeros(1)}
    assert list(classifiers._current_names("vit_b_16", given, 224)) == [
        f"{layer}.0.weight",
        f"{layer}.3.bias",
    ]


def test_position_embeddings_follow_the_image_size() -> None:
    given = {"encoder.pos_embedding": torch.randn(1, 1 + 7 * 7, 8)}
    resized = classifiers._current_names("vit_b_32", given, 96)["encoder.pos_embedding"]
    assert resized.shape == (1, 1 + 3 * 3, 8)
    assert torch.equal(resized[:, 0], given["encoder.pos_embedding"][:, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "mobilenet_v3_small", "mnasnet0_5", "squeezenet1_1"]
)
def test_a_new_classifier_above_loaded_weights_guesses_at_first(name: str, tmp_path: Path) -> None:
    """10.33: some constructors draw classifiers 40 times as large, and their first steps spoil what was loaded."""
    torch.save(small(name, 5).state_dict(), tmp_path / "w.pth")
    chosen = plan(name, str(tmp_path / "w.pth"), None)
    model, report = build_classifier(chosen, 2, image_size=64, seed=1, complete=False)
    (weight,) = (tensor for key, tensor in model.named_parameters() if key in report.new and tensor.ndim > 1)
    inputs = weight[0].numel()
    assert float(weight.detach().std()) == pytest.approx(min(0.01, 0.1 / inputs**0.5), rel=0.2)
    again, _ = build_classifier(chosen, 2, image_size=64, seed=1, complete=False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
