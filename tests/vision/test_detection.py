import importlib.util
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torchvision.models import detection as torchvision_detection

from helpers import StopAt, history, run, weights
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.data.examples import Examples
from ptm.errors import ConfigError, DataError, Interrupted, MissingDownload, ModelError
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.pipeline import Batch, Output
from ptm.vision import detection, detectors, models
from ptm.vision.detection import BoxViewMaker, upright
from tiny.object_detection import write_annotation, write_voc

FAMILIES = {
    "retinanet": {"name": "retinanet", "backbone": "resnet18"},
    "fcos": {"name": "fcos", "backbone": "resnet18"},
    "fasterrcnn": {"name": "fasterrcnn", "backbone": "resnet18"},
    "ssdlite": {"name": "ssdlite320_mobilenet_v3_large"},
}
if importlib.util.find_spec("libreyolo"):  # the extra "yolo"
    FAMILIES["yolox"] = {"name": "libreyolo:yolox-n"}
PARTS = {
    "yolox": {"iou_loss", "obj_loss", "cls_loss"},
    "retinanet": {"classification", "bbox_regression"},
    "fcos": {"classification", "bbox_regression", "bbox_ctrness"},
    "fasterrcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
    "ssdlite": {"classification", "bbox_regression"},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc"), train=6, val=3)


def spec_of(folder, family="retinanet", **changes) -> RunSpec:
    model = {**FAMILIES[family], "weights": "none", **changes.pop("model", {})}
    size = {} if family == "ssdlite" else {"image_size": 32}
    data = {"source": f"voc:{folder}", "train": "train", "eval": "val", **size, **changes.pop("data", {})}
    train = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, **changes.pop("train", {})}
    return RunSpec(
        version=1,
        task="object-detection",
        model=ModelSpec(**model),
        data=DataSpec(**data),
        train=TrainSpec(**train),
        runtime=RuntimeSpec(device="cpu", threads=1, **changes.pop("runtime", {})),
        output="r",
        **changes,
    )


def make(spec, **how) -> detection.ObjectDetection:
    model = how.get("model", spec.model.ref())
    data = detection.load_data(spec, labels=how.get("labels"))
    return detection.build(spec, data, model=model, complete=how.get("complete", False))


@pytest.fixture(scope="module")
def built(voc):
    """family → pipeline, made once."""
    made: dict = {}

    def get(family):
        if family not in made:
            made[family] = make(spec_of(voc, family))
        made[family].model.zero_grad(set_to_none=True)
        return made[family]

    return get


def batch_of(pipeline, ids, split="train"):
    (batch,) = pipeline.batches(split, [np.array(ids)], 0)
    return batch


# -- the loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_torchvisions_and_comes_in_named_parts(built, family):
    pipeline = built(family)
    model = pipeline.model.train()
    batch = batch_of(pipeline, [0, 1, 2])
    torch.manual_seed(0)
    with torch.no_grad():
        output = pipeline.forward(model, batch)
    torch.manual_seed(0)
    images = [image / 255 for image in batch.inputs["images"]]
    targets = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in batch.targets]
    with torch.no_grad():
        theirs = model(images, targets)
    assert set(output.parts) == set(theirs) == PARTS[family]
    for name, value in theirs.items():
        torch.testing.assert_close(output.parts[name] / output.count, value)
    torch.testing.assert_close(output.loss_sum, sum(output.parts.values()))
    assert all(not part.requires_grad for part in output.parts.values())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name in ("fcos", "ssdlite", "yolox")])
def test_micro_batches_add_up_where_the_loss_is_a_mean_over_matched_anchors(built, family):
    pipeline = built(family)
    pipeline.model.train()
    for module in pipeline.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()

    def gradient(pieces):
        pipeline.model.zero_grad(set_to_none=True)
        count, loss = 0, 0.0
        for ids in pieces:
            output = pipeline.forward(pipeline.model, batch_of(pipeline, ids))
            output.loss_sum.backward()
            count, loss = count + output.count, loss + float(output.loss_sum.detach())
        parameter = [p for n, p in pipeline.model.named_parameters() if "reg" in n and p.ndim == 4][-1]
        return count, loss, parameter.grad.clone()

    whole, pieces = gradient([[3, 0, 5]]), gradient([[3], [0, 5]])
    assert whole[0] == pieces[0] > 3  # more anchors than images
    assert whole[1] == pytest.approx(pieces[1], rel=1e-4)
    torch.testing.assert_close(whole[2], pieces[2], rtol=1e-3, atol=1e-4 * float(whole[2].abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_any_box_has_a_finite_loss_and_the_same_parts(built, family):
    pipeline = built(family)
    batch = batch_of(pipeline, [0, 1])
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    output = pipeline.forward(pipeline.model.train(), replace(batch, targets=[empty, empty]))
    assert torch.isfinite(output.loss_sum)
    assert output.count > 0
    assert set(output.parts) == PARTS[family]
    output.loss_sum.backward()


def test_one_image_that_cannot_be_normalised_is_refused_in_words(built):
    pipeline = built("ssdlite")  # its last maps are 1 x 1
    with pytest.raises(ModelError, match="a training batch of one image"):
        pipeline.forward(pipeline.model.train(), batch_of(pipeline, [0]))


# -- what is found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_are_found_in_the_pixels_of_each_image_whatever_else_is_in_the_batch(
    built, family, monkeypatch
):
    pipeline = built(family)
    if family == "yolox":
        monkeypatch.setattr("ptm.vision.yolo._SCORE", 0.0)
    model = pipeline.model.eval()
    owner = model.roi_heads if family == "fasterrcnn" else model
    monkeypatch.setattr(owner, "score_thresh", 0.0, raising=False)
    wide = torch.randint(0, 255, (3, 40, 90), dtype=torch.uint8)
    tall = torch.randint(0, 255, (3, 90, 40), dtype=torch.uint8)
    batch = Batch(ids=np.array([0, 1]), inputs={"images": [wide, tall]}, targets=None)
    with torch.inference_mode():
        output = pipeline.evaluate_batch(model, batch)
    for found, (width, height) in zip(output.predictions, [(90, 40), (40, 90)], strict=True):
        assert len(found.scores) > 0
        assert found.corners.min() >= 0
        assert (found.corners.max(0) <= np.array([width, height] * 2) + 1e-3).all()
        assert found.corners[:, 2].max() > 0.6 * width or found.corners[:, 3].max() > 0.6 * height
        assert set(found.classes.tolist()) <= {0, 1}
    assert float(output.loss_sum) == 0


def test_without_targets_there_are_predictions_and_drawings(built, voc):
    pipeline = built("retinanet")
    paths = sorted((voc / "JPEGImages").glob("*.png"))[:2]
    other = pipeline.with_examples(Examples({"image": paths}, None, lambda i: str(paths[i])))
    metrics = other.new_metrics()
    for batch in other.batches("eval", [np.array([1, 0])], 0):
        assert batch.targets is None
        with torch.inference_mode():
            metrics.update(batch, other.evaluate_batch(other.model.eval(), batch))
    rows = list(metrics.predictions())
    assert [row["id"] for row in rows] == [0, 1]
    assert all(set(row) == {"id", "boxes", "labels", "scores"} for row in rows)
    prediction = {"boxes": [[10, 12, 50, 40], [1, 1, 9, 9]], "labels": ["disc", "bar"], "scores": [0.9, 0.4]}
    drawn = np.asarray(Image.open(io.BytesIO(other.render_prediction(0, prediction))).convert("RGB")).astype(
        int
    )
    plain = np.asarray(Image.open(paths[0]).convert("RGB")).astype(int)
    changed = np.abs(drawn - plain).sum(-1) > 0
    assert drawn.shape == plain.shape
    assert changed[30, 10]
    assert changed[40, 30]
    assert not changed[30, 30]  # inside
    assert not changed[5, 1]  # not sure enough to be drawn


def test_facts_count_boxes(built):
    facts = built("retinanet").describe()
    assert facts["train"]["examples"] == 6
    assert sum(facts["train"]["boxes_per_label"].values()) == 9
    assert facts["train"]["examples_without_boxes"] == facts["train"]["boxes_without_area_left_out"] == 0
    assert facts["preprocessing"]["image_size"] == 32
    assert facts["preprocessing"]["longest_side"] == round(32 * 1333 / 800)


# -- images and boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_image(orientation):
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:9, 3:17] = 255  # the box [3, 4, 17, 9]
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.flatnonzero(turned.any(1)), np.flatnonzero(turned.any(0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert upright(np.array([[3, 4, 17, 9]], np.float32), (40, 30), orientation).tolist() == [expected]


def photographed(folder: Path, said: tuple, box: tuple) -> Path:
    """One JPEG that is stored as 40 x 30 and shown turned by 90 degrees."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "JPEGImages/a.jpg", exif=exif)
    write_annotation(folder / "Annotations/a.xml", said, [("cat", box)])
    for split in ("train", "val"):
        (folder / f"ImageSets/Main/{split}.txt").write_text("a\n")
    return folder


@pytest.mark.parametrize(
    ("said", "box", "expected"),
    [((40, 30), (3, 4, 17, 9), [21, 3, 26, 17]), ((30, 40), (3, 4, 17, 9), [3, 4, 17, 9])],
)
def test_the_size_of_the_annotation_says_which_pixels_its_boxes_mean(tmp_path, said, box, expected):
    pipeline = make(spec_of(photographed(tmp_path / "a", said, box)))
    batch = batch_of(pipeline, [0])
    assert batch.inputs["images"][0].shape == (3, 40, 30)
    assert batch.targets[0]["boxes"].tolist() == [expected]


def test_an_image_of_another_size_and_a_broken_one_are_refused(tmp_path):
    with pytest.raises(DataError, match="the image has 40x30 pixels, its annotation says 50x30"):
        make(spec_of(photographed(tmp_path / "a", (50, 30), (3, 4, 17, 9))))
    folder = photographed(tmp_path / "b", (40, 30), (3, 4, 17, 9))
    content = (folder / "JPEGImages/a.jpg").read_bytes()
    (folder / "JPEGImages/a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg"):
        make(spec_of(folder))
    (folder / "JPEGImages/a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="is not an image"):
        make(spec_of(folder))


def test_exif_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def getexif(image):
        raise SyntaxError("not a TIFF file")

    folder = photographed(tmp_path / "a", (40, 30), (3, 4, 17, 9))
    monkeypatch.setattr(Image.Image, "getexif", getexif)
    with pytest.raises(DataError, match=r"a\.jpg: its EXIF data cannot be read: not a TIFF file"):
        make(spec_of(folder))


def view_maker(augment, boxes=((10, 5, 30, 25),), seed=1):
    pixels = np.zeros((48, 64, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        pixels[y1:y2, x1:x2] = 50 * number
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    target = (corners, np.arange(len(boxes)), np.zeros(len(boxes), bool))
    return BoxViewMaker([None] * 20, str, [target] * 20, augment, seed, [pixels] * 20, learning=True)


@pytest.mark.parametrize("augment", ["standard", "crop"])
def test_boxes_move_with_the_pixels_and_views_depend_on_seed_epoch_and_id_only(augment):
    cut = view_maker(augment)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    views = cut(3, np.arange(20))
    assert torch.equal(state, torch.get_rng_state())
    sizes = set()
    for pixels, boxes, classes, crowd in views:
        sizes.add(pixels.shape)
        assert len(boxes) == len(classes) == len(crowd)
        for x1, y1, x2, y2 in boxes.round().astype(int):
            assert (pixels[y1:y2, x1:x2] == 50).all()
            assert pixels.sum() == 50 * 3 * (x2 - x1) * (y2 - y1)
    assert (len(sizes) == 1) == (augment == "standard")
    again = [cut(3, np.array([i]))[0] for i in reversed(range(20))][::-1]
    for a, b in zip(views, again, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    for other in (cut(4, np.arange(20)), view_maker(augment, seed=2)(3, np.arange(20))):
        assert any(not np.array_equal(a[0], b[0]) for a, b in zip(views, other, strict=True))
    assert {tuple(boxes[0]) for _, boxes, *_ in view_maker("none")(3, np.arange(20))} == {(10, 5, 30, 25)}


def test_an_image_without_boxes_can_be_augmented_and_crowds_are_not_learned():
    for augment in ("standard", "crop"):
        pixels, boxes, _, _ = view_maker(augment, boxes=())(0, np.array([0]))[0]
        assert pixels.shape == (48, 64, 3)
        assert boxes.shape == (0, 4)
    cut = view_maker("none", boxes=((10, 5, 30, 25), (40, 5, 50, 25)))
    boxes, classes, _ = cut.targets[0]
    crowded = replace(cut, targets=[(boxes, classes, np.array([True, False]))])
    assert crowded(0, np.array([0]))[0][1].tolist() == [[40, 5, 50, 25]]
    assert len(replace(crowded, learning=False)(0, np.array([0]))[0][1]) == 2


def test_worker_processes_give_the_same_batches(voc):
    plan = [np.array([4, 2]), np.array([0, 1, 5])]
    batches = [
        list(make(spec_of(voc, data={"augment": "crop"}, runtime={"workers": n})).batches("train", plan, 1))
        for n in (0, 2)
    ]
    for a, b in zip(*batches, strict=True):
        for left, right in zip(a.inputs["images"], b.inputs["images"], strict=True):
            assert torch.equal(left, right)
        for left, right in zip(a.targets, b.targets, strict=True):
            assert all(torch.equal(left[key], right[key]) for key in left)


# -- models --------------------------------------------------------------------------------------------------


def saved(pipeline, folder: Path) -> Path:
    folder.mkdir()
    pipeline.save_model(folder)
    return folder


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


def inside(model, images):
    """The class scores [..., labels + 1] and box offsets of a forward pass."""
    seen = []
    layer = model.roi_heads.box_predictor if hasattr(model, "roi_heads") else model.head
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model([image / 255 for image in images])
    handle.remove()
    (output,) = seen
    if isinstance(output, list):  # YOLOX: a map [n, 5 + labels, h, w] a level
        cells = torch.cat([level.flatten(2) for level in output], dim=2).transpose(1, 2)
        return cells[..., 5:], cells[..., :5]
    return (output["cls_logits"], output["bbox_regression"]) if isinstance(output, dict) else output


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


def test_one_label_is_enough(tmp_path):
    pipeline = make(spec_of(photographed(tmp_path / "a", (40, 30), (3, 4, 17, 9))))
    assert pipeline.labels == ("cat",)
    folder = saved(pipeline, tmp_path / "m")
    assert detectors.read_saved(folder).labels == ("cat",)


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


@pytest.mark.parametrize("family", ["retinanet", "fcos", "fasterrcnn"])
def test_names_in_published_files_are_understood_as_torchvision_does(built, family):
    model = built(family).model
    state = model.state_dict()
    published = {older(family, name): tensor for name, tensor in state.items()}
    assert published.keys() != state.keys()
    architecture = detectors.PYRAMIDS[family]
    assert {detectors.current_name(architecture, name) for name in published} == set(state)
    assert (
        model.load_state_dict(dict(published)) is not None
    )  # torchvision's own reading, as a check of ``older``


def test_weights_of_a_backbone_start_a_detector(voc, tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    source = resnet18(weights=None).state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    monkeypatch.setattr(detectors, "fetch", lambda url: tmp_path / "resnet18.pth")
    monkeypatch.setattr(models, "fetch", lambda url: pytest.fail("asked twice"))
    plan = detectors.plan_model(ModelRef(name="fcos", backbone="resnet18"))
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


def test_published_weights_give_the_outputs_of_the_labels(voc, tmp_path, monkeypatch):
    """A file as torchvision publishes it, with 91 outputs; labels that COCO has keep theirs."""
    theirs = torchvision_detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), tmp_path / "ssdlite.pth")
    monkeypatch.setattr(detectors, "fetch", lambda url: tmp_path / "ssdlite.pth")
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


def test_a_file_without_counters_has_frozen_norms(built, voc, tmp_path):
    state = {n: t for n, t in built("fcos").model.state_dict().items() if not n.endswith("batches_tracked")}
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    pipeline = make(spec_of(voc, "fcos", model={"weights": str(tmp_path / "w.safetensors")}))
    assert pipeline.model.backbone.body.bn1.eps == 0.0
    assert pipeline.load_report.new == ()


def test_missing_downloads_are_told(voc, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("PTM_OFFLINE", "1")
    (problem,) = detection.missing(
        spec_of(voc, model={"name": "ssd300_vgg16", "backbone": None, "weights": "default"})
    )
    assert "ssd300_vgg16_coco" in str(problem)
    (problem,) = detection.missing(spec_of(voc, model={"weights": "default"}))
    assert "resnet18" in str(problem)
    assert detection.missing(spec_of(voc)) == []
    with pytest.raises(MissingDownload):
        make(spec_of(voc, model={"weights": "default"}))


@pytest.mark.parametrize(
    ("changes", "error", "what"),
    [
        ({"model": {"name": "yolo9"}}, ModelError, "no detector 'yolo9'"),
        ({"model": {"name": "fcos_resnet50_fp"}}, ModelError, "did you mean fcos_resnet50_fpn"),
        ({"model": {"backbone": "resnet19"}}, ModelError, "no backbone 'resnet19'"),
        ({"model": {"name": "ssd300_vgg16"}}, ModelError, "has no backbone to choose"),
        ({"model": {"weights": "COCO_V1"}}, ModelError, "no weights 'COCO_V1'"),  # not with ResNet-18
        ({"model": {"weights": "nothing.pth"}}, ModelError, "there is no such file"),
        (
            {"model": {"name": "ssd300_vgg16", "backbone": None}},
            ModelError,
            "looks at images of 300x300 only",
        ),
        (
            {"model": {"name": "libreyolo:yolox-n", "backbone": None}, "data": {"image_size": 40}},
            ModelError,
            "40 pixels",
        ),
        (
            {"model": {"name": "libreyolo:yolox-n", "backbone": None, "weights": "default"}},
            ModelError,
            "can be fetched by name",
        ),
        ({"model": {"name": "libreyolo:yolox-q"}}, ModelError, "did you mean libreyolo:yolox-"),
        ({"data": {"longest_side": 16}}, ConfigError, "may not be longer than 16"),
        ({"data": {"augment": "trivial"}}, ConfigError, "which boxes cannot follow"),
        ({"train": {"label_smoothing": 0.1}}, ConfigError, "no label smoothing"),
    ],
)
def test_what_is_refused(voc, changes, error, what):
    with pytest.raises(error, match=what):
        make(spec_of(voc, **changes))


def test_yolox_without_its_package_says_how_to_get_it(voc, monkeypatch):
    monkeypatch.setitem(sys.modules, "libreyolo", None)
    for name in [name for name in sys.modules if name.startswith("libreyolo.") or name == "ptm.vision.yolo"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=r"pip install 'ptm\[yolo\]'"):
        make(spec_of(voc, model={"name": "libreyolo:yolox-n", "backbone": None}))


def test_nothing_trained_and_nothing_to_distil(voc):
    with pytest.raises(ModelError, match="has not learned to find anything"):
        make(spec_of(voc), complete=True)
    with pytest.raises(ConfigError, match="cannot be distilled"):
        detectors.plan_model(ModelRef(role="teacher", name="fcos"))


def test_a_strange_description_and_another_tasks_model_are_refused(built, tmp_path):
    folder = saved(built("fcos"), tmp_path / "m")
    content = json.loads((folder / "model.json").read_text())
    assert content["anchors"]["sizes"] == [[8], [16], [32], [64], [128]]
    with pytest.raises(ModelError, match="task is 'object-detection'"):
        models.plan_model(ModelRef(name=str(folder)))
    for key, value in (
        ("architecture", "fcos_resnet51"),
        ("backbone", "../x"),
        ("frozen_eps", "0"),
        ("labels", ["a", "a"]),
        ("image_size", 0),
        ("longest_side", True),
        ("std", [1, 1, 0]),
        ("format", 2),
    ):
        (folder / "model.json").write_text(json.dumps({**content, key: value}))
        with pytest.raises(ModelError):
            detectors.plan_model(ModelRef(name=str(folder)))


def test_the_improved_versions_and_all_names_can_be_planned():
    for name in set(detectors.NAMES) - set(detectors.YOLOX):
        plan = detectors.plan_model(ModelRef(name=name))
        assert plan.weights is not None
        assert not plan.backbone_only
        assert plan.outputs[1] == "person"
    plan = detectors.plan_model(ModelRef(name="fasterrcnn_resnet50_fpn_v2", weights="none"))
    model = detectors.construct(replace(plan, preprocessing=replace(plan.preprocessing, image_size=64)), 3)
    assert model.roi_heads.box_predictor.cls_score.out_features == 4


def test_a_saved_model_holds_all_weights(built, tmp_path):
    pipeline = built("ssdlite")
    tensors = load_file(saved(pipeline, tmp_path / "m") / "model.safetensors")
    assert all(torch.equal(tensors[n], t) for n, t in pipeline.model.state_dict().items())


# -- metrics -------------------------------------------------------------------------------------------------


def there(*rows, crowd=()):
    return {
        "boxes": torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([row[4] for row in rows], dtype=torch.int64),
        "crowd": torch.tensor([k in crowd for k in range(len(rows))], dtype=torch.bool),
    }


def found(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(corners=table[:, :4], classes=table[:, 4].astype(int), scores=table[:, 5])


def scored(cases, labels=("a", "b", "c")):
    """``cases``: id → (what is there, what was found), each given in a batch of its own."""
    parts = []
    for index, (truth, guess) in cases.items():
        part = DetectionMetrics(labels)
        batch = Batch(ids=np.array([index]), inputs={}, targets=[truth])
        part.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=[guess]))
        parts.append(part)
    return parts[0].merge(parts[1:]), parts[-1].merge(parts[-2::-1])


def test_average_precision_by_hand():
    square = (0, 0, 100, 100)
    cases = {
        0: (there((*square, 0)), found((0, 0, 100, 72, 0, 0.9))),  # IoU 0.72: right at 5 of 10 thresholds
        1: (there((*square, 1), (200, 0, 250, 50, 1)), found((*square, 1, 0.8), (300, 0, 350, 50, 1, 0.9))),
    }
    values, reversed_values = (metrics.compute() for metrics in scored(cases))
    assert values == reversed_values
    assert values["map/a"] == pytest.approx(0.5)
    # One of two found, after a false one: precision 1/2 up to recall 1/2, that is at 51 of 101 recall levels.
    assert values["map/b"] == pytest.approx(0.5 * 51 / 101)
    assert "map/c" not in values
    assert values["map"] == pytest.approx((0.5 + 0.5 * 51 / 101) / 2)
    assert values["map50"] == pytest.approx((1 + 0.5 * 51 / 101) / 2)
    assert values["map75"] == pytest.approx((0 + 0.5 * 51 / 101) / 2)
    assert values["mar100"] == pytest.approx((0.5 + 0.5) / 2)
    assert "loss" not in values


def test_crowds_are_neither_missed_nor_wrong():
    truth = there((0, 0, 100, 100, 0), (200, 0, 300, 100, 0), crowd=(1,))
    metrics, _ = scored({0: (truth, found((0, 0, 100, 100, 0, 0.5), (210, 0, 290, 90, 0, 0.9)))})
    assert metrics.compute()["map"] == pytest.approx(1.0)
    metrics, _ = scored({0: (truth, found((0, 0, 100, 100, 0, 0.5)))})
    assert metrics.compute()["map"] == pytest.approx(1.0)


def test_nothing_found_is_zero_and_predictions_come_by_id():
    metrics, _ = scored(
        {
            7: (
                there((0, 0, 9.123, 9, 1)),
                found((0, 0, 9, 9, 1, 0.3), (1, 1, 8, 8, 0, 0.7), (0, 0, 5, 5, 2, 0.01)),
            ),
            2: (there(), found()),
        }
    )
    rows = list(metrics.predictions())
    assert [row["id"] for row in rows] == [2, 7]
    assert rows[0]["boxes"] == rows[0]["target_boxes"] == []
    assert rows[1]["labels"] == ["a", "b"]
    assert rows[1]["scores"] == [0.7, 0.3]
    assert rows[1]["target_boxes"] == [[0.0, 0.0, 9.12, 9.0]]
    assert rows[1]["target_labels"] == ["b"]
    json.dumps(rows)
    nothing, _ = scored({0: (there((0, 0, 9, 9, 1)), found())})
    assert nothing.compute()["map"] == 0.0
    with pytest.raises(DataError, match="nothing was evaluated"):
        DetectionMetrics(("a",)).compute()


# -- the engine ----------------------------------------------------------------------------------------------


def test_sampled_anchors_are_the_same_after_a_stop(voc, tmp_path):
    """Faster R-CNN draws anchors and proposals in training; a stopped run goes on to the same bits."""

    def spec(name):
        train = {"epochs": None, "steps": 3, "optimizer": "sgd", "learning_rate": 1e-2, "eval_every_steps": 3}
        changed = spec_of(voc, "fasterrcnn", data={"augment": "crop", "max_eval_examples": 1}, train=train)
        return replace(changed, output=str(tmp_path / name))

    run(spec("whole"))
    with pytest.raises(Interrupted):
        run(spec("parts"), reporter=StopAt(2))
    run(spec("parts"), mode="resume")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
