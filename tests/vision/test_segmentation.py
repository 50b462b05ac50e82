"""The segmentation pipeline: views, losses, networks, saved models, predicted masks."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision import models as zoo

from helpers import evaluation, run
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DistillSpec, ModelSpec, TeacherSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.masks import IGNORED
from ptm.distill.audit import constant_miou
from ptm.errors import ConfigError, ModelError
from ptm.vision import names, segmentation, segmenters
from ptm.vision import saved as saved_format
from ptm.vision.segmentation import build, load_data
from segmentation_samples import LABELS, LRASPP, batch_of, built, spec
from tiny.mask_samples import VALUES


def test_the_loss_is_a_sum_over_the_pixels_that_count(pairs):
    pipeline = built(spec(pairs))
    pipeline.model.eval()
    batch = batch_of(pipeline, [2, 0, 7])
    output = pipeline.forward(pipeline.model, batch, ("logits",))
    pixels = torch.stack(batch.inputs["pixels"]).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (names.IMAGENET_MEAN, names.IMAGENET_STD))
    logits = pipeline.model((pixels - mean) / std)["out"]
    targets = torch.stack(batch.targets).long()
    counted = targets != IGNORED
    rows, classes = logits.permute(0, 2, 3, 1)[counted], targets[counted]
    assert output.count == int(counted.sum()) == len(output.logits)
    torch.testing.assert_close(output.logits, rows)
    assert torch.equal(output.targets, classes)
    torch.testing.assert_close(output.loss_sum, F.cross_entropy(rows, classes, reduction="sum"))
    assert pipeline.forward(pipeline.model, batch).logits is None


def test_labels_are_smoothed_in_training_only(pairs):
    pipeline = built(spec(pairs, label_smoothing=0.2))
    batch = batch_of(pipeline, [0, 1])
    for training in (True, False):
        pipeline.model.train(training)
        torch.manual_seed(0)
        output = pipeline.forward(pipeline.model, batch, ("logits",))
        smoothing = 0.2 if training else 0.0
        expected = F.cross_entropy(output.logits, output.targets, reduction="sum", label_smoothing=smoothing)
        torch.testing.assert_close(output.loss_sum, expected)


@pytest.mark.slow
def test_the_auxiliary_head_counts_half_and_in_training_only(pairs):
    pipeline = built(spec(pairs, ModelSpec(name="fcn_resnet50", weights="none")))
    assert pipeline.head == ("classifier", "aux_classifier")
    batch = batch_of(pipeline, [0, 1])
    seen: list[Any] = []
    pipeline.model.register_forward_hook(lambda _, __, output: seen.append(output))
    output = pipeline.forward(pipeline.model.train(), batch)
    target = torch.stack(batch.targets).long().masked_fill(torch.stack(batch.targets) == IGNORED, -100)
    main, auxiliary = (F.cross_entropy(seen[0][name], target, reduction="sum") for name in ("out", "aux"))
    torch.testing.assert_close(output.loss_sum, main + 0.5 * auxiliary)
    torch.testing.assert_close(output.parts["auxiliary"], (0.5 * auxiliary).detach())
    assert pipeline.forward(pipeline.model.eval(), batch).parts == {}


def test_a_batch_in_which_nothing_counts_has_no_gradient(pairs):
    pipeline = built(spec(pairs))
    batch = batch_of(pipeline, [0, 1])
    for target in batch.targets:
        target.fill_(IGNORED)
    output = pipeline.forward(pipeline.model.eval(), batch)
    output.loss_sum.backward()
    assert (output.loss_sum.item(), output.count) == (0.0, 1)
    assert all(float(p.grad.abs().max()) == 0 for p in pipeline.model.parameters() if p.grad is not None)


def test_evaluation_is_on_the_grid_of_the_mask(pairs):
    pipeline = built(spec(pairs, data={"image_size": 24}))
    pipeline.model.eval()
    batch = batch_of(pipeline, [0, 2, 1], split="eval")
    assert [tuple(t.shape) for t in batch.targets] == [(32, 32), (30, 44), (32, 32)]
    with torch.inference_mode():
        output = pipeline.evaluate_batch(pipeline.model, batch)
        plain = pipeline.forward(pipeline.model, batch)
    assert output.count == plain.count == sum(int((t != IGNORED).sum()) for t in batch.targets)
    torch.testing.assert_close(output.loss_sum.float(), plain.loss_sum)
    for place, index in enumerate((0, 2, 1)):  # each as when it is alone
        with torch.inference_mode():
            alone = pipeline.evaluate_batch(pipeline.model, batch_of(pipeline, [index], split="eval"))
        assert np.array_equal(output.predictions[place].confusion, alone.predictions[0].confusion)


def test_a_training_batch_of_one_image_is_explained(pairs):
    pipeline = built(spec(pairs, ModelSpec(name="smp:deeplabv3plus", weights="none")))
    with pytest.raises(ModelError, match="batch of one image"):
        pipeline.forward(pipeline.model.train(), batch_of(pipeline, [0]))


def test_trivial_augmentation_is_refused(pairs):
    with pytest.raises(ConfigError, match="without its mask"):
        load_data(spec(pairs, data={"augment": "trivial"}))


@pytest.mark.slow
def test_a_run_writes_what_it_found(finished):
    results = json.loads((finished / "results.json").read_text())
    assert {"loss", "miou", "dice", "pixel_accuracy", "iou/disc", "dice/box"} <= set(results["metrics"])
    facts = json.loads((finished / "manifest.json").read_text())["data"]
    assert facts["train"]["examples"] == 16 and facts["eval"]["pixels_ignored"] == 4 * 32 + 2 * 44
    rows = [json.loads(line) for line in (finished / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and set(rows[0]["shares"]) == set(LABELS) and "mask_png" not in rows[0]
    assert (finished / "report.html").is_file()


@pytest.mark.slow
def test_a_saved_model_is_described_and_evaluates_to_the_same(finished):
    saved = json.loads((finished / "model" / "model.json").read_text())
    assert saved["task"] == "semantic-segmentation" and saved["architecture"] == LRASPP.name
    assert (
        saved["labels"] == list(LABELS) and saved["mask_values"] == list(VALUES) and saved["whole"] is False
    )
    results = json.loads((finished / "results.json").read_text())
    again = evaluation(finished)
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    assert segmentation.stored_labels(str(finished)) == LABELS


@pytest.mark.slow
def test_a_stranger_gets_the_same_scores(finished, pairs):
    pipeline = built(
        spec(pairs, data={"augment": "standard"}), model=ModelRef(name=str(finished)), complete=True
    )
    pipeline.model.eval()
    net = zoo.get_model(LRASPP.name, weights=None, weights_backbone=None, num_classes=3).eval()
    net.load_state_dict(load_file(finished / "model" / "model.safetensors"))
    saved = json.loads((finished / "model" / "model.json").read_text())
    image = np.asarray(Image.open(pairs / "val" / "image" / "00.png"), dtype=np.float32) / 255
    image = (image - np.array(saved["mean"], np.float32)) / np.array(saved["std"], np.float32)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(image).permute(2, 0, 1)[None])["out"][0]
        ((_, (ours,)),) = pipeline._scores(pipeline.model, batch_of(pipeline, [0], split="eval"))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_outputs_are_brought_into_the_order_of_the_data(finished, pairs, tmp_path):
    turned = {"labels": ("box", "background", "disc"), "mask_values": (200, 0, 100), "augment": "standard"}
    chosen, model = spec(pairs, data=turned), ModelRef(name=str(finished))
    plain = built(spec(pairs, data={"augment": "standard"}), model=model, complete=True)
    other = built(chosen, model=model, complete=True)
    confusions = []
    for pipeline in (plain, other):
        pipeline.model.eval()
        with torch.inference_mode():
            output = pipeline.evaluate_batch(pipeline.model, batch_of(pipeline, [0, 1, 2], split="eval"))
        confusions.append(sum(image.confusion for image in output.predictions))
    assert np.array_equal(confusions[1], confusions[0][np.ix_([2, 0, 1], [2, 0, 1])])
    other.save_model(tmp_path)  # still describes the outputs as they are
    saved = saved_format.read_segmenter(tmp_path)
    assert saved.labels == LABELS and saved.preprocessing.mask_values == VALUES


def test_fine_tuning_keeps_the_head_for_the_same_labels_only(finished, pairs):
    model = ModelSpec(name=str(finished))
    assert built(spec(pairs, model)).load_report.new == ()
    other = built(spec(pairs, model, data={"labels": ("a", "b", "c")}))
    assert {n.rsplit(".", 1)[0] for n in other.load_report.new} == set(segmenters.last_layers(LRASPP.name))


def test_images_without_masks_are_predicted_and_drawn(finished, pairs):
    images = sorted((pairs / "val" / "image").iterdir())
    examples = Examples({"image": images}, None, lambda row: str(images[row]))
    chosen = spec(pairs, data={"augment": "standard", "labels": None, "mask_values": None})
    data = Dataset(None, examples, LABELS, {})
    pipeline = built(chosen, data=data, model=ModelRef(name=str(finished)), complete=True)
    pipeline.model.eval()
    metrics = pipeline.new_metrics()
    with torch.inference_mode():
        for batch in pipeline.batches("eval", [np.array([0, 1, 2])], 0):
            assert batch.targets is None
            metrics.update(batch, pipeline.evaluate_batch(pipeline.model, batch))
    rows = list(metrics.predictions())
    for row in rows:
        mask = Image.open(io.BytesIO(base64.b64decode(row["mask_png"])))
        values = np.asarray(mask)
        assert mask.mode == "P" and values.shape == np.asarray(Image.open(images[row["id"]])).shape[:2]
        assert set(np.unique(values)) <= set(VALUES)
        shares = {name: (values == value).mean() for name, value in zip(LABELS, VALUES, strict=True)}
        assert row["shares"] == pytest.approx(shares, abs=1e-6)
        drawn = pipeline.render_prediction(row["id"], row)
        assert Image.open(io.BytesIO(drawn)).size == mask.size
        assert drawn == pipeline.render_prediction(
            row["id"], {}
        )  # asked for again, as there is no mask in it
        original = np.asarray(Image.open(images[row["id"]]))
        painted = np.asarray(Image.open(io.BytesIO(drawn)))
        assert np.array_equal(painted[values == 0], original[values == 0])
    again = pipeline.with_examples(examples.select(np.array([1])))
    assert again.size("eval") == 1 and again.model is pipeline.model


def test_a_teacher_sees_what_its_student_sees(pairs, finished):
    chosen = spec(pairs, data={"image_size": 24, "mean": (0.4, 0.4, 0.4)})
    student, taught = (
        built(chosen),
        built(chosen, model=ModelRef(role="teacher", name=str(finished)), complete=True),
    )
    assert not student.per_example
    one, other = (batch_of(pipeline, [0, 3]) for pipeline in (student, taught))
    assert all(torch.equal(a, b) for a, b in zip(one.inputs["pixels"], other.inputs["pixels"], strict=True))
    assert student._mean.flatten().tolist() == pytest.approx([0.4] * 3)
    assert taught._mean.flatten().tolist() == pytest.approx(names.IMAGENET_MEAN)


@pytest.mark.slow
def test_a_student_learns_from_the_pixels_of_a_teacher(pairs, finished, tmp_path):
    chosen = spec(pairs, output=tmp_path / "s", data={"augment": "standard"}, steps=2, batch_size=4)
    chosen = replace(chosen, teacher=TeacherSpec(name=str(finished)), distill=DistillSpec())
    with pytest.raises(ModelError, match="knows nothing of these data: miou"):  # trained for twelve steps
        run(chosen)
    data = load_data(chosen)
    counts = np.sum([mask.pixels for mask in data.eval.columns["mask"]], axis=0)
    constant = counts[0] / counts.sum() / len(counts)  # background everywhere
    assert constant_miou(data) == pytest.approx(constant)
    assert constant < 1 / 3
    results = run(replace(chosen, distill=DistillSpec(audit="warn")), mode="overwrite")
    told = json.loads((finished / "results.json").read_text())["metrics"]
    assert results["teacher"]["metrics"] == pytest.approx(told, abs=1e-6)
    assert results["distill"]["store"]["used"] is False
    data = load_data(chosen)
    student = build(chosen, data, model=chosen.model.ref(), complete=False)
    taught = build(chosen, data, model=chosen.teacher.refs()[0], complete=True)
    assert student.input_fingerprint == taught.input_fingerprint
    batch = batch_of(student, [0, 2])
    for pipeline in (student, taught):
        pipeline.model.eval()
    own, theirs = (p.forward(p.model, batch, ("logits",)) for p in (student, taught))
    assert own.logits.shape == theirs.logits.shape == (own.count, 3)
    assert torch.equal(own.targets, theirs.targets)
