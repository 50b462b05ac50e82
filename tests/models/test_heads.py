"""Output layers that are new: whatever the architecture, a model begins by guessing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ptm.config.model_ref import ModelRef
from ptm.experiment.catalogue import choices
from ptm.models.heads import draw_new_head
from ptm.text import classifiers as text_classifiers
from ptm.text.catalogue import TEXT_MODELS
from ptm.text.models import output_layer
from ptm.vision import classifier_plan, classifiers, detector_plan, detectors, segmenter_plan, segmenters

CLASSES = 2
GUESS = math.log(CLASSES)
# A side that the network takes; the smallest that all parts of it have something to see in.
SIDES = {"inception_v3": 299, "maxvit_t": 224, "vit_h_14": 56}


def names(task: str) -> list[str]:
    return [choice.name for choice in choices(task)]


def guessed(scores: torch.Tensor) -> float:
    """The cross-entropy where every class is as frequent in every example; classes are in dimension 1."""
    return float(-F.log_softmax(scores.float(), dim=1).mean())


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", names("image-classification"))
def test_10_33_first_loss_of_every_image_classifier_is_that_of_guessing(name: str) -> None:
    side = SIDES.get(name, 32 if name in classifier_plan.resnet_cifar.NAMES else 64)
    plan = classifier_plan.plan_classifier(ModelRef(name=name, weights="none"))
    model, _ = classifiers.build_classifier(plan, CLASSES, image_size=side, seed=0, complete=False)
    with torch.no_grad():
        output = model.train()(noise(4, 3, side, side))
    every = output if isinstance(output, tuple) else (output,)  # auxiliary heads as well
    assert [guessed(scores) for scores in every] == pytest.approx([GUESS] * len(every), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "timm:efficientnet_b0",
        "timm:mobilenetv3_small_050",
        "timm:mixnet_s",
        "timm:mnasnet_small",
        "timm:deit_tiny_distilled_patch16_224",
        "timm:levit_128s",
        "timm:resnet10t",
    ],
)
def test_10_33_first_loss_of_timm_classifiers_is_that_of_guessing(name: str) -> None:
    pytest.importorskip("timm")
    plan = classifier_plan.plan_classifier(ModelRef(name=name, weights="none"))
    side = 224 if "224" in name or "levit" in name else 64
    model, _ = classifiers.build_classifier(plan, CLASSES, image_size=side, seed=0, complete=False)
    with torch.no_grad():
        output = model.train()(noise(4, 3, side, side))
    scores = sum(output) / 2 if isinstance(output, tuple) else output
    assert guessed(scores) == pytest.approx(GUESS, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*names("semantic-segmentation"), *segmenter_plan.SMP])
def test_10_33_first_loss_of_every_segmenter_is_that_of_guessing(name: str) -> None:
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    plan = segmenter_plan.plan_segmenter(ModelRef(name=name, weights="none"))
    model, _ = segmenters.build_segmenter(plan, CLASSES, seed=0, complete=False, keep_head=False)
    with torch.no_grad():
        output = model.train()(noise(2, 3, 128, 128))
    every = list(output.values()) if isinstance(output, dict) else [output]
    assert [guessed(scores) for scores in every] == pytest.approx([GUESS] * len(every), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", names("object-detection"))
def test_10_33_first_class_loss_of_every_detector_is_that_of_its_prior(name: str) -> None:
    """That of the same network whose class scores are its prior alone: ln(classes + 1) above a softmax."""
    plan = detector_plan.plan_detector(ModelRef(name=name, weights="none"))
    model, _, _ = detectors.build_detector(plan, ("bar", "disc"), seed=0, complete=False)
    if hasattr(model.transform, "min_size") and "ssd" not in name:
        model.transform.min_size, model.transform.max_size = (96,), 96
    images = list(noise(2, 3, 96, 96).clamp(0, 1))
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    model.train()

    def class_loss() -> float:
        torch.manual_seed(0)
        with torch.no_grad():
            losses = model(images, [target, target])
        return float(losses.get("classification", losses.get("loss_classifier")))

    first = class_loss()
    for prefix in detectors.scoring_layers(model.state_dict()):
        nn.init.zeros_(model.get_submodule(prefix).weight)
    guess = class_loss()
    assert first == pytest.approx(guess, rel=0.1)
    if "fasterrcnn" in name:
        assert guess == pytest.approx(math.log(3), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [each for each in TEXT_MODELS if "text-classification" in each.tasks], ids=lambda each: each.name
)
def test_10_33_first_loss_of_every_text_classifier_is_that_of_guessing(model, tmp_path: Path) -> None:
    from transformers import AutoConfig, BertTokenizer

    shallow = {"num_hidden_layers": 2, "n_layers": 2, "n_layer": 2, "vocab_size": 64}
    config = AutoConfig.for_model(**{**model.config, **shallow})
    config.save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(59))]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(tmp_path)
    ref = ModelRef(name=str(tmp_path), weights="none")
    built = text_classifiers.build_classifier(ref, ("no", "yes"), seed=0, complete=False)
    ids = torch.randint(5, 64, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = built.model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert guessed(scores) == pytest.approx(GUESS, rel=0.1)
    layer = built.model.get_submodule(output_layer(built.model))
    assert float(layer.weight.detach().std()) <= 0.01


def test_10_33_a_head_is_drawn_small_and_by_the_seed_alone() -> None:
    model = nn.Sequential(nn.Linear(64, 4096), nn.Linear(4096, 512))
    body = model[0].weight.clone()
    state = torch.get_rng_state()
    draw_new_head(model, ("1",), seed=3)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(model[0].weight, body)
    assert float(model[1].weight.detach().std()) == pytest.approx(0.1 / 64, rel=0.01)
    assert not model[1].bias.any()
    first = model[1].weight.clone()
    draw_new_head(model, ("1",), seed=4)
    assert not torch.equal(model[1].weight, first)
    draw_new_head(model, ("1",), seed=3)
    assert torch.equal(model[1].weight, first)
    small = nn.Sequential(nn.Linear(50, 4096))
    draw_new_head(small, ("0",), seed=3)
    assert float(small[0].weight.detach().std()) == pytest.approx(0.01, rel=0.01)


def test_10_33_what_came_with_the_weights_stays() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    before = model[1].weight.clone()
    draw_new_head(model, ("0", "1"), seed=0, new=("0.weight", "0.bias"))
    assert torch.equal(model[1].weight, before) and not model[0].bias.any()
    draw_new_head(model, ("1",), seed=0, keep_bias=True)
    assert model[1].bias.any()
