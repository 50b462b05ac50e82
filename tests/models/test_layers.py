"""Which parameters make up which layer, for the networks that ptm can load."""

import pytest
import torch
import transformers
from torch import nn
from torchvision import models as zoo

from ptm.errors import ConfigError
from ptm.models.layers import layers_of
from ptm.vision.classifiers import head_of
from ptm.vision.resnet_cifar import ResNetCifar


def tops(layers):
    """What the names of each layer begin with, to the depth that tells layers apart."""
    return [sorted({name.rpartition(".")[0] or name for name in names})[0] for names in layers]


def every_parameter_once(model, layers):
    assert sorted(name for names in layers for name in names) == sorted(
        n for n, _ in model.named_parameters()
    )


def test_an_encoder(tiny_bert):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    layers = layers_of(model, ("classifier.",), ("bert.embeddings.",))
    every_parameter_once(model, layers)
    assert len(layers) == 4  # embeddings, two layers, head
    assert all(name.startswith("bert.embeddings.") for name in layers[0])
    assert all(name.startswith("bert.encoder.layer.0.") for name in layers[1])
    assert {n.split(".")[1] for n in layers[2]} == {"encoder", "pooler"}  # the pooler goes with the top
    assert layers[3] == ("classifier.weight", "classifier.bias")


def test_a_decoder_with_tables_of_positions_and_a_last_normalisation(tiny_gpt2):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_gpt2)
    layers = layers_of(model, ("score.",), ("transformer.wte.", "transformer.wpe."))
    every_parameter_once(model, layers)
    assert layers[0] == ("transformer.wte.weight", "transformer.wpe.weight")
    assert "transformer.ln_f.weight" in layers[-2]
    assert layers[-1] == ("score.weight",)


def test_a_residual_network_has_its_stem_its_stages_and_its_head():
    model = ResNetCifar(8, 3, 4)
    layers = layers_of(model, ("linear",), ())
    every_parameter_once(model, layers)
    assert tops(layers) == ["bn1", "layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1", "linear"]


@pytest.mark.parametrize(
    ("name", "count", "bottom"),
    [
        ("resnet18", 6, "conv1.weight"),
        ("vit_b_16", 14, "class_token"),
        ("convnext_tiny", 9, "features.0.0.weight"),
        ("mobilenet_v3_small", 14, "features.0.0.weight"),
        ("vgg11", 9, "features.0.weight"),
        ("regnet_y_400mf", 6, "stem.0.weight"),
        ("shufflenet_v2_x0_5", 5, "conv1.0.weight"),
        ("swin_t", 9, "features.0.0.weight"),
        ("lraspp_mobilenet_v3_large", 18, "backbone.0.0.weight"),
    ],
)
def test_networks_of_torchvision(name, count, bottom):
    with torch.device(
        "cpu" if name.startswith("regnet") else "meta"
    ):  # RegNets compute their widths with tensors
        model = zoo.get_model(name, weights=None, **({"weights_backbone": None} if "lraspp" in name else {}))
    head = ("classifier",) if name.startswith("lraspp") else head_of(model, name)
    layers = layers_of(model, head, ())
    every_parameter_once(model, layers)
    assert len(layers) == count
    assert layers[0][0] == bottom
    assert all(n.startswith(head) for n in layers[-1])


def test_an_adapter_is_in_the_layer_of_what_it_stands_beside(tiny_bert):
    from ptm.config.spec import AdapterSpec
    from ptm.models.adapters import add_adapter

    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    add_adapter(model, AdapterSpec(), ("classifier.",), seed=1)
    layers = layers_of(model, ("classifier.",), ("bert.embeddings.",))
    assert sum(".lora_" in name for name in layers[1]) == sum(".lora_" in name for name in layers[2]) == 4


def test_a_model_without_layers_is_refused_by_name():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    with pytest.raises(ConfigError, match="no layers are recognised in a Plain") as caught:
        layers_of(Plain(), ("second",), (), where="train.layer_decay")
    assert caught.value.problems[0].where == "train.layer_decay"


def test_lists_of_single_weights_are_no_layers():
    """The side connections of a feature pyramid are a list, but not one of blocks."""
    model = nn.ModuleDict(
        {
            "body": nn.ModuleDict({f"layer{k}": nn.Linear(2, 2) for k in (1, 2)}),
            "inner_blocks": nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(2)),
            "head": nn.Linear(2, 2),
        }
    )
    layers = layers_of(model, ("head",), ())
    assert [len(names) for names in layers] == [2, 2 + 4, 2]
