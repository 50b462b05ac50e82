"""ptm models: what is listed can be built, its figures are those of their sources, and a cost is measured."""

import pytest
import torch

from ptm.config.tasks import TASKS
from ptm.errors import ConfigError
from ptm.experiment.catalogue import choices, choose, families
from ptm.models.catalogue import Choice
from ptm.text import catalogue
from ptm.vision import resnet_cifar


@pytest.fixture(scope="module")
def all_choices():
    return choices()


def test_every_task_has_models_and_the_cheapest_stands_first(all_choices):
    assert {choice.task for choice in all_choices} == set(TASKS)
    for task in TASKS:
        of_task = [choice for choice in all_choices if choice.task == task]
        assert of_task == choices(task)
        sizes = [choice.parameters for choice in of_task]
        assert sizes == sorted(sizes)
        assert all(size > 10_000 for size in sizes)
        assert len({choice.name for choice in of_task}) == len(of_task)


def test_a_figure_has_a_metric_and_a_source(all_choices):
    for choice in all_choices:
        assert (choice.value is None) == (choice.metric == "") or choice.source.startswith("torchvision")
        assert choice.value is None or (choice.source and 0 < choice.value < 100)


def test_vision_figures_are_those_of_torchvision(all_choices):
    from torchvision.models import ResNet50_Weights

    (found,) = [choice for choice in all_choices if choice.name == "resnet50"]
    meta = ResNet50_Weights.DEFAULT.meta
    assert found.value == meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert found.parameters == meta["num_params"] == 25_557_032
    assert found.giga_operations == meta["_ops"]
    assert found.file_bytes == pytest.approx(meta["_file_size"] * 2**20, abs=1)


@pytest.mark.slow
def test_cifar_networks_have_the_parameters_that_are_listed(all_choices):
    listed = {choice.name: choice for choice in all_choices if choice.name in resnet_cifar.NAMES}
    assert set(listed) == set(resnet_cifar.NAMES)
    for name, layers in resnet_cifar.NAMES.items():
        with torch.device("meta"):
            network = resnet_cifar.ResNetCifar(layers, 10)
        assert listed[name].parameters == sum(p.numel() for p in network.parameters())
    assert listed["resnet20"].value == 100 - 8.75  # He et al., table 6: the error in percent


@pytest.mark.slow
@pytest.mark.parametrize("model", catalogue.TEXT_MODELS, ids=lambda model: model.name)
def test_text_models_have_the_parameters_that_are_listed(model):
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

    config = AutoConfig.for_model(**model.config)
    kind = AutoModelForSeq2SeqLM if "translation" in model.tasks else AutoModel
    with torch.device("meta"):
        network = kind.from_config(config)
    assert sum(p.numel() for p in network.parameters()) == model.parameters


def test_a_package_says_whether_it_is_there(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (found,) = [choice for choice in choices("masked-lm") if choice.name.startswith("package:")]
    assert found.here is False
    assert all(choice.here is None for choice in choices("causal-lm"))


def test_names_choose_models_once_and_in_their_order():
    found = choose(["resnet50", "resnet18", "resnet50"], None)
    assert [choice.name for choice in found] == ["resnet50", "resnet18"]
    assert choose(["timm:resnet18"], "image-classification") == [
        Choice(task="image-classification", name="timm:resnet18")
    ]


@pytest.mark.parametrize(
    ("names", "task", "words"),
    [
        (["resnet5O"], None, ("there is no model 'resnet5O'", "did you mean", "resnet50")),
        (["gpt2"], "masked-lm", ("there is no model 'gpt2' for masked-lm",)),
        (["timm:resnet18"], None, ("timm:resnet18 is not in the list", "--task TASK")),
    ],
)
def test_names_that_are_not_there_are_refused(names, task, words):
    with pytest.raises(ConfigError) as caught:
        choose(names, task)
    assert all(word in str(caught.value) for word in words)


def test_families_name_what_can_be_installed(monkeypatch):
    assert any(family.pattern == "new:TYPE" for family in families("translation"))
    (timm,) = [family for family in families("image-classification") if family.pattern == "timm:NAME"]
    assert timm.count is None or timm.count > 100
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (timm,) = [family for family in families("image-classification") if family.pattern == "timm:NAME"]
    assert timm.count is None
    assert "pip install" in timm.missing


# -- what it costs -----------------------------------------------------------------------------------------


# -- the command -------------------------------------------------------------------------------------------
