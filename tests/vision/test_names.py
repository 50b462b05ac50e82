"""What a name in a config means: a directory, weights of the field, a file."""

import pytest
from torchvision.models import ResNet18_Weights, VGG16_Weights

from ptm.errors import ModelError
from ptm.vision.names import is_path, named_weights, unknown_name


@pytest.mark.parametrize("name", [".", "..", "./a", "../a", "/a", "~", "~/a"])
def test_names_of_directories(name):
    assert is_path(name)


def test_a_name_with_a_slash_is_a_path_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert is_path("runs/a") and not is_path("runs/b") and not is_path("runs") and not is_path("resnet18")


def test_weights_by_name():
    assert named_weights("resnet18", "none", "model") is None
    assert named_weights("resnet18", "default", "model") is ResNet18_Weights.DEFAULT
    assert named_weights("resnet18", "IMAGENET1K_V1", "model") is ResNet18_Weights.IMAGENET1K_V1


def test_weights_without_a_classifier_are_none_of_a_classifier():
    assert VGG16_Weights.IMAGENET1K_FEATURES
    with pytest.raises(ModelError, match="no weights 'IMAGENET1K_FEATURES'") as caught:
        named_weights("vgg16", "IMAGENET1K_FEATURES", "model")
    assert "IMAGENET1K_V1" in caught.value.problems[0].cure


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "W.PT", "./w"])
def test_a_file_must_be_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="there is no such file") as caught:
        named_weights("resnet18", name, "teacher")
    assert caught.value.problems[0].cure == "correct teacher.weights"
    (tmp_path / name).touch()
    assert named_weights("resnet18", name, "teacher").exists()


@pytest.mark.parametrize(
    ("weights", "what"), [("default", "no pre-trained weights belong to resnet20"), ("V1", "no weights 'V1'")]
)
def test_networks_that_nobody_publishes_weights_of(weights, what):
    with pytest.raises(ModelError, match=what) as caught:
        named_weights("resnet20", weights, "model")
    assert "--set model.weights=none" in caught.value.problems[0].cure


def test_a_name_that_is_none_is_told_the_closest():
    problem = unknown_name("resnet19", ("resnet18", "resnet34", "vgg16"), "model.name", "a model").problems[0]
    assert problem.what == "there is no model 'resnet19'"
    assert problem.cure.startswith("did you mean resnet18")
    assert unknown_name("xyz", ("resnet18",), "model.name", "a model").problems[0].cure == ""
