"""Weights of detectors, published or saved, with outputs for the labels of the data."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import detection as torchvision_detection

from detection_samples import FAMILIES, batch_of, inside, make, photographed, saved, spec_of
from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.vision import backbones, detection, detector_plan, detector_weights
from ptm.vision.saved import read_detector
from tiny.object_detection import write_voc

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_labels_that_a_model_knows_keep_their_outputs_in_any_order(built, voc, tmp_path, family):
    pipeline = built(family)  # bar, disc
    folder = saved(pipeline, tmp_path / "m")
    assert detection.stored_labels(str(folder)) == ("bar", "disc")
    swapped = make(
        spec_of(voc, family, data={"labels": ("disc", "bar")}),
        model=ModelRef(name=str(folder)),
        complete=True,
    )
    batch = batch_of(pipeline, [0, 1], "eval")
    (scores, boxes), (swapped_scores, swapped_boxes) = (
        inside(p.model.eval(), batch.inputs["images"]) for p in (pipeline, swapped)
    )
    torch.testing.assert_close(swapped_scores, scores[..., [1, 0] if family == "yolox" else [0, 2, 1]])
    if family == "fasterrcnn":  # its boxes depend on the class
        boxes = boxes.unflatten(-1, (3, 4))[..., [0, 2, 1], :].flatten(-2)
    torch.testing.assert_close(swapped_boxes, boxes)


@pytest.mark.slow
def test_new_labels_get_a_new_scoring_layer_and_keep_all_else(built, voc, tmp_path):
    pipeline = built("fasterrcnn")
    folder = saved(pipeline, tmp_path / "m")
    write_voc(tmp_path / "voc", train=2, val=1)
    for path in (tmp_path / "voc/Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("bar", "rod"))
    spec = spec_of(tmp_path / "voc", "fasterrcnn")
    other = make(spec, model=ModelRef(name=str(folder)))
    new = {"roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"}
    assert {name.rsplit(".", 1)[0] for name in other.load_report.new} == new
    ours, theirs = pipeline.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if n.rsplit(".", 1)[0] not in new)
    with pytest.raises(ModelError, match="does not know the label rod"):
        make(spec, model=ModelRef(name=str(folder)), complete=True)


@pytest.mark.slow
def test_one_label_is_enough(tmp_path):
    pipeline = make(spec_of(photographed(tmp_path / "a", (40, 30), (3, 4, 17, 9))))
    assert pipeline.labels == ("cat",)
    folder = saved(pipeline, tmp_path / "m")
    assert read_detector(folder).labels == ("cat",)


def older(architecture: str, name: str) -> str:
    """As the published files spell it."""
    for part in ("inner_blocks", "layer_blocks"):
        head, found, tail = name.partition(f"backbone.fpn.{part}.")
        if found and not head:
            number, _, rest = tail.split(".")
            return f"{found}{number}.{rest}"
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    if architecture == "retinanet":
        for kind in ("classification", "regression"):
            for number in range(4):
                name = name.replace(
                    f"head.{kind}_head.conv.{number}.0.", f"head.{kind}_head.conv.{2 * number}."
                )
    return name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["retinanet", "fcos", "fasterrcnn"])
def test_names_in_published_files_are_understood_as_torchvision_does(built, family):
    model = built(family).model
    state = model.state_dict()
    published = {older(family, name): tensor for name, tensor in state.items()}
    assert published.keys() != state.keys()
    architecture = detector_plan.PYRAMIDS[family]
    assert {detector_weights.current_name(architecture, name) for name in published} == set(state)
    # torchvision's own reading, as a check of ``older``
    assert model.load_state_dict(dict(published)) is not None


@pytest.mark.slow
def test_weights_of_a_backbone_start_a_detector(voc, tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    source = resnet18(weights=None).state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    monkeypatch.setattr(backbones, "fetch", lambda url: tmp_path / "resnet18.pth")
    plan = detector_plan.plan_detector(ModelRef(name="fcos", backbone="resnet18"))
    assert (plan.weights, plan.backbone_only) == (ResNet18_Weights.IMAGENET1K_V1, True)
    pipeline = make(spec_of(voc, "fcos", model={"weights": "default"}))
    state = pipeline.model.state_dict()
    assert torch.equal(state["backbone.body.layer2.0.conv1.weight"], source["layer2.0.conv1.weight"])
    assert all(name.startswith(("backbone.fpn.", "head.")) for name in pipeline.load_report.new)
    trained = {n: p.requires_grad for n, p in pipeline.model.named_parameters()}
    assert not trained["backbone.body.conv1.weight"]
    assert not trained["backbone.body.layer1.0.conv1.weight"]
    assert trained["backbone.body.layer2.0.conv1.weight"]
    norm = pipeline.model.backbone.body.bn1
    assert type(norm).__name__ == "FrozenBatchNorm2d"
    assert norm.eps == 1e-5
    again = make(pipeline._spec, model=ModelRef(name=str(saved(pipeline, tmp_path / "m"))), complete=True)
    assert type(again.model.backbone.body.bn1).__name__ == "FrozenBatchNorm2d"
    assert all(torch.equal(again.model.state_dict()[n], t) for n, t in state.items())


@pytest.mark.slow
def test_published_weights_give_the_outputs_of_the_labels(voc, tmp_path, monkeypatch):
    """A file as torchvision publishes it, with 91 outputs; labels that COCO has keep theirs."""
    theirs = torchvision_detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "ssdlite.pth")
    monkeypatch.setattr(backbones, "fetch", lambda url: tmp_path / "ssdlite.pth")
    for path in write_voc(tmp_path / "voc", train=2, val=2).glob("Annotations/*.xml"):
        path.write_text(path.read_text().replace("bar", "dog").replace("disc", "cat"))
    pipeline = make(spec_of(tmp_path / "voc", "ssdlite", model={"weights": "COCO_V1"}), complete=True)
    assert pipeline.labels == ("cat", "dog")
    image = torch.rand(3, 64, 64)
    ours, theirs = (inside(model.eval(), [255 * image])[0] for model in (pipeline.model, theirs))
    torch.testing.assert_close(ours, theirs[..., [0, 17, 18]])  # background, cat, dog in COCO
    other = make(spec_of(voc, "ssdlite", model={"weights": "COCO_V1"}))
    assert other.load_report.new
    assert all("classification_head" in name for name in other.load_report.new)


@pytest.mark.slow
def test_a_file_without_counters_has_frozen_norms(built, voc, tmp_path):
    state = {n: t for n, t in built("fcos").model.state_dict().items() if not n.endswith("batches_tracked")}
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    pipeline = make(spec_of(voc, "fcos", model={"weights": str(tmp_path / "w.safetensors")}))
    assert pipeline.model.backbone.body.bn1.eps == 0.0
    assert pipeline.load_report.new == ()
