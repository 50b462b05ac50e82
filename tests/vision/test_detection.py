import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from detection_samples import FAMILIES, batch_of, make, saved, spec_of
from helpers import StopAt, history, run, weights
from ptm.config.model_ref import ModelRef
from ptm.data.examples import Examples
from ptm.errors import ConfigError, Interrupted, ModelError
from ptm.pipeline import Batch
from ptm.vision import detector_plan

pytestmark = pytest.mark.usefixtures("one_thread")
PARTS = {
    "yolox": {"iou_loss", "obj_loss", "cls_loss"},
    "retinanet": {"classification", "bbox_regression"},
    "fcos": {"classification", "bbox_regression", "bbox_ctrness"},
    "fasterrcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
    "ssdlite": {"classification", "bbox_regression"},
}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        alone = [
            pipeline.evaluate_batch(
                model, replace(batch, ids=batch.ids[i : i + 1], inputs={"images": [image]})
            )
            for i, image in enumerate((wide, tall))
        ]
    for together, one in zip(output.predictions, alone, strict=True):
        (only,) = one.predictions
        assert np.array_equal(together.corners, only.corners)
        assert np.array_equal(together.scores, only.scores)
    for found, (width, height) in zip(output.predictions, [(90, 40), (40, 90)], strict=True):
        assert len(found.scores) > 0
        assert found.corners.min() >= 0
        assert (found.corners.max(0) <= np.array([width, height] * 2) + 1e-3).all()
        assert found.corners[:, 2].max() > 0.6 * width or found.corners[:, 3].max() > 0.6 * height
        assert set(found.classes.tolist()) <= {0, 1}
    assert float(output.loss_sum) == 0


@pytest.mark.slow
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


def test_nothing_trained_and_nothing_to_distil(voc):
    with pytest.raises(ModelError, match="has not learned to find anything"):
        make(spec_of(voc), complete=True)
    with pytest.raises(ConfigError, match="cannot be distilled"):
        detector_plan.plan_detector(ModelRef(role="teacher", name="fcos"))


def test_a_saved_model_holds_all_weights(built, tmp_path):
    pipeline = built("ssdlite")
    tensors = load_file(saved(pipeline, tmp_path / "m") / "model.safetensors")
    assert all(torch.equal(tensors[n], t) for n, t in pipeline.model.state_dict().items())


@pytest.mark.slow
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
