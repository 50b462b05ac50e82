"""Mask R-CNN as a task: its loss, what it finds, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import detection as zoo

from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.data.instances import decoded
from ptm.errors import ConfigError, ModelError
from ptm.pipeline import Batch
from ptm.vision import detector_plan, detectors, instances
from ptm.vision.detector_weights import current_name, select_labels
from tiny.instance_segmentation import write_coco

pytestmark = pytest.mark.usefixtures("one_thread")
PARTS = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_mask"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"), train=6, val=2)


CONFIG = """
version: 1
task: instance-segmentation
model: {name: maskrcnn_small, weights: none}
data: {source: "coco:FOLDER", train: instances_train, eval: instances_val, image_size: 32}
train: {steps: 1, batch_size: 2, learning_rate: 1e-2}
runtime: {device: cpu, threads: 1}
output: r
"""


def spec_of(folder, *changes):
    path = folder / "run.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(folder)))
    return load_config(path, list(changes))


@pytest.fixture(scope="module")
def built(folder):
    spec = spec_of(folder)
    return instances.build(spec, instances.load_data(spec), model=spec.model.ref(), complete=False)


def batch_of(pipeline, ids, epoch=0):
    (batch,) = pipeline.batches("train", [np.array(ids)], epoch)
    return batch


def test_11_30_the_loss_of_one_image_is_torchvisions(built):
    model, batch = built.model.train(), batch_of(built, [1])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    (seed,) = batch.inputs["draws"]
    with torch.no_grad():
        output = built.forward(model, batch)
        handle = model.rpn.register_forward_pre_hook(lambda *_: torch.manual_seed(seed) and None)
        (target,) = batch.targets
        of_theirs = {"boxes": target["boxes"], "labels": target["labels"] + 1, "masks": target["masks"]}
        theirs = model([batch.inputs["images"][0] / 255], [of_theirs])
        handle.remove()
    assert set(output.parts) == set(theirs) == PARTS and output.count == 1
    for name, value in theirs.items():
        torch.testing.assert_close(output.parts[name], value)
    torch.testing.assert_close(output.loss_sum, sum(output.parts.values()))
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    empty |= {"masks": torch.zeros(0, 32, 32, dtype=torch.uint8), "crowd": torch.zeros(0, dtype=torch.bool)}
    nothing = built.forward(model, replace(batch, targets=[empty]))
    assert torch.isfinite(nothing.loss_sum) and set(nothing.parts) == PARTS
    nothing.loss_sum.backward()
    model.zero_grad(set_to_none=True)


def test_11_30_what_is_sampled_depends_on_seed_epoch_and_image_alone(built):
    draws = [
        batch_of(built, ids, epoch).inputs["draws"] for ids, epoch in (([0, 1], 0), ([1, 0], 0), ([0], 1))
    ]
    assert draws[0] == draws[1][::-1] and draws[2][0] != draws[0][0]


def test_11_30_masks_move_with_their_images(folder):
    """Crops and mirror images: inside a mask the picture has the colour of its object, boxes fit around masks."""
    spec = spec_of(folder, "data.augment=crop")
    pipeline = instances.build(spec, instances.load_data(spec), model=spec.model.ref(), complete=False)
    shapes, mirrored = set(), False
    for epoch in range(4):
        for batch in pipeline.batches("train", [np.arange(6)], epoch):
            for image, target in zip(batch.inputs["images"], batch.targets, strict=True):
                shapes.add(tuple(image.shape))
                assert target["masks"].shape[1:] == image.shape[1:]
                for mask, label, box in zip(target["masks"], target["labels"], target["boxes"], strict=True):
                    assert mask.any()
                    inside = image[:, mask.bool()].float().mean(1)
                    assert (inside[0] > 150) if label == 1 else (inside[1] > 150)  # discs are red, bars green
                    y, x = torch.nonzero(mask, as_tuple=True)
                    around = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
                    torch.testing.assert_close(box, around, atol=1.0, rtol=0)
        flat = [image.flip(2) for image in batch.inputs["images"]]
        mirrored |= any(torch.equal(one, two) for one in flat for two in pipeline_images(pipeline, range(6)))
    assert len(shapes) > 3 and mirrored


def pipeline_images(pipeline, ids):
    pixels = [np.asarray(pipeline._image("train", index)) for index in ids]
    return [torch.from_numpy(each.copy()).permute(2, 0, 1) for each in pixels]


def test_11_30_what_is_found_is_what_torchvision_finds_and_is_drawn(built, monkeypatch):
    model = built.model.eval()
    monkeypatch.setattr(model.roi_heads, "score_thresh", 0.0)
    monkeypatch.setattr(instances, "_PASTED_BYTES", 4 * 48 * 30 * 7)  # a few masks at a time
    image = torch.randint(0, 255, (3, 48, 30), dtype=torch.uint8)
    batch = Batch(ids=np.array([0]), inputs={"images": [image]}, targets=None)
    with torch.inference_mode():
        (found,) = built.evaluate_batch(model, batch).predictions
        (theirs,) = model([image / 255])
    assert len(found.masks) == len(theirs["masks"]) > 7
    np.testing.assert_array_equal(decoded(found.masks, (30, 48)), (theirs["masks"][:, 0] >= 0.5).numpy())
    np.testing.assert_allclose(found.corners, theirs["boxes"].numpy(), atol=1e-4)
    assert found.classes.tolist() == (theirs["labels"] - 1).tolist()


def test_11_30_names_are_those_of_the_task(built, folder, tmp_path):
    for name in ("fasterrcnn", "retinanet", "libreyolo:yolox-n"):
        with pytest.raises(ModelError, match=name):
            detector_plan.plan_detector(ModelRef(name=name), masks=True)
    with pytest.raises(ModelError, match="maskrcnn"):
        detector_plan.plan_detector(ModelRef(name="maskrcnn"))
    built.save_model(tmp_path)
    assert instances.stored_labels(str(tmp_path)) == ("bar", "disc")
    with pytest.raises(ModelError, match="task is 'instance-segmentation'"):
        detector_plan.plan_detector(ModelRef(name=str(tmp_path)))
    plan = detector_plan.plan_detector(ModelRef(name="maskrcnn"), masks=True)
    assert plan.outputs is not None and "person" in plan.outputs and plan.masks
    small = detector_plan.plan_detector(ModelRef(name="maskrcnn_small"), masks=True)
    assert (small.backbone, small.backbone_only) == ("resnet18", True)
    with pytest.raises(ConfigError, match="which boxes cannot follow"):
        spec = spec_of(folder, "data.augment=trivial")
        instances.build(spec, instances.load_data(spec), model=spec.model.ref(), complete=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_11_30_published_files_fit_and_labels_are_chosen_by_name(name):
    """Names as in torchvision's file, which has them as they were when it was made."""
    plan = detector_plan.plan_detector(ModelRef(name=name, weights="none"), masks=True)
    model = detectors.construct(plan, 2)
    with torch.device("meta"):
        theirs = zoo.__dict__[name](weights=None, weights_backbone=None, num_classes=91).state_dict()
    old = {
        f"roi_heads.mask_head.mask_fcn{i + 1}.weight": f"roi_heads.mask_head.{i}.0.weight" for i in range(4)
    }
    assert all(current_name(name, one) == two for one, two in old.items())
    state = {key: torch.zeros(tensor.shape) for key, tensor in theirs.items() if "mask_fcn_logits" in key}
    outputs = ("__background__", *(f"n{i}" for i in range(89)), "cat")
    state["roi_heads.mask_predictor.mask_fcn_logits.weight"][90] = 7.0
    chosen = select_labels(state, outputs, ("cat", "n3"), "file", complete=True)
    own = model.state_dict()
    for key, tensor in chosen.items():
        assert tensor.shape == own[key].shape
    assert chosen["roi_heads.mask_predictor.mask_fcn_logits.weight"][1].eq(7).all()
    assert set(own) == set(theirs)


def test_11_30_a_teacher_and_an_export_are_refused_with_their_reason(folder, tmp_path):
    from ptm.config.tasks import TASKS

    assert not TASKS["instance-segmentation"].distillable
    assert "which boxes are kept" in TASKS["instance-segmentation"].no_export
    with pytest.raises(ConfigError, match="cannot be distilled"):
        spec_of(folder, "teacher={name: maskrcnn}", "distill={}")
