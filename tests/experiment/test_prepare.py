"""What learns and what stays as it was loaded, compared by the weights before and after: each family, each way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import detection_samples
import segmentation_samples
from helpers import Saying, evaluation, image_spec, run, text_spec
from ptm.config.load import parse_config
from ptm.config.spec import AdapterSpec, BestSpec, ModelSpec, RunSpec
from ptm.errors import ConfigError
from ptm.pipeline import task_module
from tiny.mask_samples import write_masks
from tiny.object_detection import write_voc

pytestmark = pytest.mark.slow  # each trains


def start(spec: RunSpec) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    module = task_module(spec.task)
    pipeline = module.build(spec, module.load_data(spec), model=spec.model.ref(), complete=False)
    return {name: tensor.clone() for name, tensor in pipeline.model.state_dict().items()}


def changed(spec: RunSpec) -> tuple[set[str], set[str], list[str]]:
    """Names of the tensors that a run changes, and of those that it leaves; what it said."""
    before, reporter = start(spec), Saying()
    run(spec, "overwrite", reporter)
    after = load_file(Path(spec.output) / "model" / "model.safetensors")
    assert after.keys() <= before.keys()  # tied ones are saved once
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    return moved, set(after) - moved, reporter.lines


def within(names: set[str], *prefixes: str) -> bool:
    return bool(names) and all(name.startswith(prefixes) for name in names)


def lines_of(lines: list[str], start_: str) -> str:
    return next(line for line in lines if line.startswith(start_))


@pytest.fixture
def image_run(tmp_path: Path) -> RunSpec:
    """An image classifier above loaded weights."""
    source = image_spec(tmp_path / "source", epochs=1)
    run(source)
    weights = tmp_path / "source" / "model" / "model.safetensors"
    return image_spec(tmp_path / "r", epochs=1, weights=str(weights), augment="none")


@pytest.mark.parametrize("stored", ["auto", "off"])
def test_10_05_image_classifier_frozen_backbone_is_all_below_the_classifier(
    image_run: RunSpec, stored: str
) -> None:
    model = replace(image_run.model, freeze="backbone", store_features=stored)
    moved, left, lines = changed(replace(image_run, model=model))
    assert moved == {"linear.weight", "linear.bias"}
    assert "bn1.running_mean" in left
    told = lines_of(lines, "trained:")
    assert "parameters: linear;" in told and "left as it is: conv1, bn1, layer1, layer2, layer3" in told


def test_10_05_image_classifier_patterns(image_run: RunSpec) -> None:
    model = replace(image_run.model, freeze=("layer1.*", "conv1.*"))
    moved, _, _ = changed(replace(image_run, model=model))
    assert not any(name.startswith(("layer1.0.conv", "conv1")) for name in moved)
    assert any(name.startswith("layer2") for name in moved)


@pytest.fixture
def backbone_file(tmp_path: Path) -> str:
    """A ResNet-18 of ImageNet, as torchvision's file holds it."""
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    return str(tmp_path / "resnet18.pth")


def detector(tmp_path: Path, **model) -> RunSpec:
    folder = tmp_path / "voc"
    if not folder.exists():
        write_voc(folder, train=4, val=2)
    train = {"epochs": None, "steps": 2, "optimizer": "sgd", "learning_rate": 1e-2, "max_grad_norm": None}
    spec = detection_samples.spec_of(folder, "fasterrcnn", model=model, train=train)
    return replace(spec, output=str(tmp_path / "r"))


def test_10_05_detector_from_a_backbone_has_a_pyramid_that_learns(tmp_path: Path, backbone_file: str) -> None:
    moved, left, lines = changed(detector(tmp_path, weights=backbone_file, freeze="backbone"))
    assert within(left - {"backbone.fpn"}, "backbone.body.")
    assert any(name.startswith("backbone.fpn.") for name in moved)
    assert within(moved, "backbone.fpn.", "rpn.", "roi_heads.")
    assert "backbone.fpn" in lines_of(lines, "trained:").split(";")[0]


def test_10_05_detector_of_an_earlier_run_keeps_its_pyramid(tmp_path: Path, backbone_file: str) -> None:
    first = replace(detector(tmp_path, weights=backbone_file), output=str(tmp_path / "first"))
    run(first)
    moved, left, _ = changed(
        detector(tmp_path, name=str(tmp_path / "first"), weights="default", backbone=None, freeze="backbone")
    )
    assert within(moved, "rpn.", "roi_heads.")
    assert any(name.startswith("backbone.fpn.") for name in left)


def test_10_05_a_pattern_thaws_nothing_that_a_family_leaves_untrained(
    tmp_path: Path, backbone_file: str
) -> None:
    moved, _, _ = changed(detector(tmp_path, weights=backbone_file, freeze=("backbone.body.layer3.*",)))
    stem = ("backbone.body.conv1.", "backbone.body.layer1.", "backbone.body.layer3.")
    assert not any(name.startswith(stem) for name in moved)
    assert any(name.startswith("backbone.body.layer2.") for name in moved)


def test_10_05_segmenter_above_an_encoder_learns_all_of_its_decoder(
    tmp_path: Path, backbone_file: str
) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    model = ModelSpec(name="smp:unet", backbone="resnet18", weights=backbone_file, freeze="backbone")
    spec = segmentation_samples.spec(write_masks(tmp_path / "pairs"), model, output=tmp_path / "r", steps=2)
    moved, left, _ = changed(spec)
    assert within(left, "encoder.") and within(moved, "decoder.", "segmentation_head.")


@pytest.fixture
def without_pooler(tiny_bert: Path, tmp_path: Path) -> Path:
    """A BERT as it comes from masked language modelling."""
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(tiny_bert, add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.mark.parametrize("stored", ["auto", "off"])
def test_10_05_a_new_pooler_learns_below_a_frozen_backbone(
    without_pooler: Path, reviews: Path, tmp_path: Path, stored: str
) -> None:
    spec = text_spec(
        without_pooler, reviews, tmp_path / "r", freeze="backbone", epochs=1, store_features=stored
    )
    moved, left, lines = changed(spec)
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert moved == {*pooler, "classifier.weight", "classifier.bias"}
    assert within(left, "bert.embeddings.", "bert.encoder.")
    if stored == "auto":
        assert "bert.pooler.dense.bias is new, and learns" in lines_of(lines, "model: what the frozen")


def test_10_05_a_pooler_that_was_loaded_stays(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    moved, left, _ = changed(text_spec(tiny_bert, reviews, tmp_path / "r", freeze="backbone", epochs=1))
    assert moved == {"classifier.weight", "classifier.bias"} and "bert.pooler.dense.weight" in left


def test_10_05_embeddings(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    moved, left, _ = changed(text_spec(tiny_bert, reviews, tmp_path / "r", freeze="embeddings", epochs=1))
    assert within(left, "bert.embeddings.") and within(moved, "bert.encoder.", "bert.pooler.", "classifier.")


def test_10_05_a_decoder(tiny_gpt2: Path, reviews: Path, tmp_path: Path) -> None:
    moved, left, _ = changed(text_spec(tiny_gpt2, reviews, tmp_path / "r", freeze="backbone", epochs=1))
    assert moved == {"score.weight"} and within(left, "transformer.")


@pytest.mark.parametrize("merge", [True, False])
def test_10_05_a_new_pooler_learns_beside_an_adapter(
    without_pooler: Path, reviews: Path, tmp_path: Path, merge: bool
) -> None:
    pytest.importorskip("peft")
    adapter = AdapterSpec(rank=2, merge=merge)
    spec = text_spec(without_pooler, reviews, tmp_path / "r", adapter=adapter, epochs=1)
    before = start(spec)
    results = run(spec)
    folder = tmp_path / "r" / "model"
    name = "bert.pooler.dense.weight"
    saved = load_file(folder / "model.safetensors")
    if not merge:
        own = load_file(folder / "adapter_model.safetensors")
        assert name not in saved
        saved = {key.removeprefix("base_model.model."): tensor for key, tensor in own.items()}
    assert not torch.equal(saved[name], before[name])
    again = evaluation(tmp_path / "r")["metrics"]
    assert again == pytest.approx(results["metrics"], abs=1e-6)


def test_10_05_a_new_pooler_learns_while_layers_are_thawed_one_by_one(
    without_pooler: Path, reviews: Path, tmp_path: Path
) -> None:
    spec = text_spec(without_pooler, reviews, tmp_path / "r", unfreeze_every=1, epochs=1)
    moved, left, _ = changed(spec)
    assert within(moved, "bert.pooler.", "classifier.") and within(left, "bert.embeddings.", "bert.encoder.")


@pytest.mark.parametrize("model", ["name: resnet18, weights: none", "name: 'new:bert', tokenizer: train"])
@pytest.mark.parametrize("freeze", ["backbone", "[a.*]"])
def test_10_05_nothing_random_is_frozen(model: str, freeze: str, tmp_path: Path) -> None:
    task = "text-classification" if "bert" in model else "image-classification"
    source = "csv:d" if "bert" in model else "imagefolder:d"
    text = f"""
version: 1
task: {task}
model: {{{model}, freeze: {freeze}}}
data: {{source: "{source}", train: train, eval: val}}
train: {{epochs: 1, learning_rate: 0.1}}
output: r
"""
    with pytest.raises(ConfigError, match="these are random"):
        parse_config(text, "run.yaml", [], base=tmp_path, cwd=tmp_path)


def test_10_05_freezing_only_what_is_new_is_refused(image_run: RunSpec) -> None:
    # Weights of other classes: the classifier is new.
    state = load_file(image_run.model.weights)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("linear.")}
    from safetensors.torch import save_file

    path = Path(image_run.output).parent / "body.safetensors"
    save_file(state, path)
    model = replace(image_run.model, weights=str(path), freeze=("linear.*",))
    with pytest.raises(ConfigError, match="is new"):
        run(replace(image_run, model=model, best=BestSpec(metric="accuracy")))
