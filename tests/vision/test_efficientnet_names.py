"""Names of EfficientNet's tensors, from one program to the other."""

import pytest
import torch

from ptm.vision.efficientnet_names import to_timm

# Blocks 0 | 1, 2 | 3 of three stages; the first does not widen its input.
OWN = [f"blocks.{stage}.{index}.bn1.weight" for stage, index in ((0, 0), (1, 0), (1, 1), (2, 0))]
PAIRS = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.running_mean": "bn1.running_mean",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.bias": "bn2.bias",
    "_fc.bias": "classifier.bias",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
    "_blocks.0._bn1.weight": "blocks.0.0.bn1.weight",
    "_blocks.0._se_reduce.bias": "blocks.0.0.se.conv_reduce.bias",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.0._bn2.weight": "blocks.0.0.bn2.weight",
    "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
    "_blocks.1._bn0.weight": "blocks.1.0.bn1.weight",
    "_blocks.1._depthwise_conv.weight": "blocks.1.0.conv_dw.weight",
    "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
    "_blocks.2._bn1.weight": "blocks.1.1.bn2.weight",
    "_blocks.2._se_expand.weight": "blocks.1.1.se.conv_expand.weight",
    "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
    "_blocks.3._expand_conv.weight": "blocks.2.0.conv_pw.weight",
    "_blocks.3._bn2.running_var": "blocks.2.0.bn3.running_var",
}


def test_every_tensor_gets_the_name_that_it_has_in_timm():
    state = {name: torch.tensor(float(number)) for number, name in enumerate(PAIRS)}
    renamed = to_timm(state, OWN)
    assert {name: renamed[PAIRS[name]] for name in PAIRS} == state
    assert len(renamed) == len(state)


def test_names_that_are_not_known_stay():
    unknown = ("extra.weight", "_blocks.9._bn1.weight", "_blocks.1._other.weight")
    state = {name: torch.zeros(()) for name in (*unknown, "_blocks.1._expand_conv.weight")}
    assert set(unknown) <= set(to_timm(state, OWN))


@pytest.mark.parametrize("names", [["blocks.0.0.bn1.weight"], ["_fc.weight"], []])
def test_names_of_other_programs_stay(names):
    state = {name: torch.zeros(()) for name in names}
    assert to_timm(state, OWN) == state


def test_they_are_the_names_of_timms_own_network():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        own = timm.create_model("efficientnet_b0").state_dict()
    for theirs, ours in {
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
        "_blocks.14._bn2.running_var": "blocks.5.3.bn3.running_var",
        "_blocks.4._se_reduce.weight": "blocks.2.1.se.conv_reduce.weight",
    }.items():
        widening = {f"_blocks.{block}._expand_conv.weight": torch.zeros(()) for block in range(1, 16)}
        assert ours in own
        assert ours in to_timm({theirs: torch.zeros(()), **widening}, own)
