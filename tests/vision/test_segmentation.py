"""The segmentation pipeline: views, losses, networks, saved models, predicted masks."""

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision import models as zoo

from helpers import evaluation, run
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec, DistillSpec, ModelSpec, RunSpec, RuntimeSpec, TeacherSpec, TrainSpec
from ptm.data.examples import Dataset, Examples
from ptm.data.masks import IGNORED
from ptm.distill.audit import constant_miou
from ptm.errors import ConfigError, ModelError
from ptm.vision import segmentation, segmenters
from ptm.vision.mask_views import FILL, PairReader, SquareViewMaker, cut_square, fit_mask, padded_side
from ptm.vision.segmentation import SemanticSegmentation, build, load_data
from ptm.vision.views import ViewLoader
from tiny.mask_samples import VALUES, write_masks

LABELS = ("background", "disc", "box")
LRASPP = ModelSpec(name="lraspp_mobilenet_v3_large", weights="none")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    return write_masks(tmp_path_factory.mktemp("pairs"))


def spec(
    folder: Path,
    model: ModelSpec = LRASPP,
    *,
    output: Path | str = "runs/x",
    data: dict | None = None,
    **train: Any,
) -> RunSpec:
    return RunSpec(
        version=1,
        task="semantic-segmentation",
        model=model,
        data=DataSpec(
            source=f"masks:{folder}",
            **(
                {
                    "train": "train",
                    "eval": "val",
                    "labels": LABELS,
                    "mask_values": VALUES,
                    "ignore_value": 255,
                    "image_size": 32,
                }
                | (data or {})
            ),
        ),
        train=TrainSpec(**({"steps": 1, "batch_size": 4, "learning_rate": 1e-3} | train)),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output=str(output),
    )


def built(chosen: RunSpec, *, complete: bool = False, **how: Any) -> SemanticSegmentation:
    data = how.pop("data", None) or load_data(chosen)
    return build(chosen, data, model=how.pop("model", chosen.model.ref()), complete=complete)


def batch_of(pipeline, ids, split="train", epoch=0):
    (batch,) = pipeline.batches(split, [np.array(ids)], epoch)
    return batch


# -- views -----------------------------------------------------------------------------------------------


def marked(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel holds the class of each pixel, and the classes."""
    classes = np.random.default_rng(height).integers(0, 200, (height, width)).astype(np.uint8)
    return np.dstack([classes, classes, classes]), classes


def view_maker(shape, augment, size=32, whole=None) -> SquareViewMaker:
    reader = PairReader([None], None, str, whole, kept=[marked(*shape)])
    return SquareViewMaker(reader, size, augment, seed=3)


@pytest.mark.parametrize("augment", ["crop", "standard"])
@pytest.mark.parametrize("shape", [(32, 32), (50, 70), (20, 90), (9, 9)])
def test_a_mask_moves_with_its_image(augment, shape):
    cut = view_maker(shape, augment)
    for epoch in range(8):
        (view,) = cut(epoch, np.array([0]))
        inside = view[..., 3] != IGNORED
        assert view.shape == (32, 32, 4) and inside.sum() > 50
        assert np.array_equal(view[..., 0][inside], view[..., 3][inside])
        assert (view[..., :3][~inside] == FILL).all()
        if min(shape) > 32:
            assert inside.all()


def test_a_view_is_a_function_of_seed_epoch_and_id():
    one, other = view_maker((50, 70), "standard"), view_maker((50, 70), "standard")
    views = [one(epoch, np.array([0])) for epoch in range(6)]
    assert all(np.array_equal(view, other(e, np.array([0]))) for e, view in enumerate(views))
    assert len({view.tobytes() for view in views}) > 3


def test_mirroring_happens_to_standard_views_alone():
    view = np.dstack([*marked(40, 40)])
    kept = cut_square(view, 40, np.array([0.5, 0.5, 0.1]), mirror=False, fill=(0, 0, 0, 255))
    turned = cut_square(view, 40, np.array([0.5, 0.5, 0.1]), mirror=True, fill=(0, 0, 0, 255))
    assert np.array_equal(kept, view) and np.array_equal(turned, view[:, ::-1])


def test_every_place_of_an_image_can_be_cut():
    view = np.dstack([*marked(6, 7)])
    corners = {
        cut_square(view, 5, np.array([a, b, 1.0]), mirror=False, fill=(0, 0, 0, 255)).tobytes()
        for a in np.linspace(0, 0.999, 30)
        for b in np.linspace(0, 0.999, 30)
    }
    assert len(corners) == 2 * 3


def test_without_augmentation_the_whole_image_is_fitted_into_the_square(pairs):
    pipeline = built(spec(pairs))
    batch = batch_of(pipeline, [2, 0])  # 44 x 30, 32 x 32
    wide, square = batch.targets
    assert wide.shape == (32, 32) and (wide[22:] == IGNORED).all()
    assert (wide[:22] != IGNORED).float().mean() > 0.9
    mask = load_data(spec(pairs)).train.columns["mask"][0].classes()
    assert np.array_equal(square.numpy(), mask)
    assert not pipeline.random_views


def test_sides_are_padded_to_multiples_of_32(pairs):
    assert [padded_side(side) for side in (1, 32, 33, 512)] == [32, 32, 64, 512]
    pipeline = built(spec(pairs, data={"augment": "crop", "image_size": 20}))
    batch = batch_of(pipeline, [0, 1])
    assert batch.inputs["pixels"][0].shape == (3, 32, 32)
    assert (batch.targets[0][20:] == IGNORED).all() and (batch.targets[0][:, 20:] == IGNORED).all()
    whole = batch_of(pipeline, [2], split="eval")  # at its own scale
    assert whole.inputs["inside"] == [(30, 44)] and whole.inputs["pixels"][0].shape == (3, 32, 64)
    assert whole.targets[0].shape == (30, 44)


def test_masks_are_scaled_without_new_classes():
    _, classes = marked(40, 30)
    assert set(np.unique(fit_mask(classes, 13, 17))) <= set(np.unique(classes))


def test_worker_processes_cut_the_same(pairs):
    examples = load_data(spec(pairs)).train
    reader = PairReader(examples.columns["image"], examples.columns["mask"], examples.where, None)
    kept = replace(reader, kept=[reader.read(index) for index in range(len(examples))])
    cut, fast = (SquareViewMaker(r, 32, "standard", 1) for r in (reader, kept))
    assert fast.cheap and not cut.cheap
    plan = [np.array([1, 5]), np.array([2])]
    streams = (ViewLoader(cut, 2, pin_memory=False), ViewLoader(fast, 0, pin_memory=False))
    for one, other in zip(*(stream(plan, 3) for stream in streams), strict=True):
        assert torch.equal(one, other)


# -- losses and evaluation -------------------------------------------------------------------------------


def test_the_loss_is_a_sum_over_the_pixels_that_count(pairs):
    pipeline = built(spec(pairs))
    pipeline.model.eval()
    batch = batch_of(pipeline, [2, 0, 7])
    output = pipeline.forward(pipeline.model, batch, ("logits",))
    pixels = torch.stack(batch.inputs["pixels"]).float() / 255
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (segmenters.IMAGENET_MEAN, segmenters.IMAGENET_STD)
    )
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


# -- networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", segmenters.SMP)
def test_networks_of_smp_give_a_score_a_pixel(name):
    plan = segmenters.plan_segmenter(ModelRef(name=name, weights="none"))
    net, report = segmenters.build_segmenter(plan, 3, seed=0, complete=False, keep_head=False)
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 3, 128, 160)).shape == (1, 3, 128, 160)
    assert report.source == "random start"
    names = [n for n, _ in net.named_parameters()]
    assert all(any(n.startswith(prefix) for n in names) for prefix in segmenters.head_of(name))


def published(monkeypatch, tmp_path, name: str, state: dict) -> None:
    """Puts weights where torch keeps what it has fetched, under a name without a digest."""
    monkeypatch.setenv("PTM_OFFLINE", "1")
    torch.save(state, tmp_path / "published.pth")
    monkeypatch.setattr(segmenters, "fetch", lambda url: tmp_path / "published.pth")


def test_published_weights_keep_their_head_for_their_own_labels(pairs, monkeypatch, tmp_path):
    name = "lraspp_mobilenet_v3_large"
    source = zoo.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    published(monkeypatch, tmp_path, name, source.state_dict())
    plan = segmenters.plan_segmenter(ModelRef(name=name))
    assert plan.labels[:2] == ("__background__", "aeroplane") and plan.image_size == 520
    net, report = segmenters.build_segmenter(plan, 21, seed=0, complete=True, keep_head=True)
    assert report.new == () and torch.equal(
        net.classifier.low_classifier.weight, source.classifier.low_classifier.weight
    )
    pipeline = built(spec(pairs, ModelSpec(name=name)))
    assert {n.rsplit(".", 1)[0] for n in pipeline.load_report.new} == set(segmenters.last_layers(name))
    again, other = built(spec(pairs, ModelSpec(name=name))), built(spec(pairs, ModelSpec(name=name), seed=7))
    heads = [p.model.classifier.low_classifier.weight for p in (pipeline, again, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_residual_backbone_takes_the_weights_of_a_classifier(monkeypatch, tmp_path):
    source = zoo.resnet18(weights=None)
    published(monkeypatch, tmp_path, "resnet18", source.state_dict())
    plan = segmenters.plan_segmenter(ModelRef(name="smp:unet"))
    assert plan.backbone == "resnet18" and plan.weights_of_backbone
    net, report = segmenters.build_segmenter(plan, 2, seed=0, complete=False, keep_head=False)
    assert torch.equal(net.encoder.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    assert all(n.startswith(("decoder.", "segmentation_head.")) for n in report.new) and report.new
    with pytest.raises(ModelError, match="not learned to segment"):
        segmenters.build_segmenter(plan, 2, seed=0, complete=True, keep_head=True)


def test_missing_weights_are_told_with_a_cure(monkeypatch, tmp_path, pairs):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name, file in (("deeplabv3_resnet50", "deeplabv3_resnet50_coco"), ("smp:unet", "resnet18-")):
        (problem,) = segmentation.missing(spec(pairs, ModelSpec(name=name)))
        assert name in problem.where and file in problem.cure and "--set model.weights=none" in problem.cure
    assert segmentation.missing(spec(pairs)) == []


@pytest.mark.parametrize(
    ("model", "message", "cure"),
    [
        ({"name": "deeplab_resnet50"}, "no segmentation network", "deeplabv3_resnet50"),
        ({"name": "smp:unett"}, "no segmentation network", "smp:unet"),
        ({"name": "smp:unet", "backbone": "resnet81"}, "no backbone 'resnet81'", "resnet18"),
        ({"name": "fcn_resnet50", "backbone": "resnet18"}, "no backbone to choose", "smp:deeplabv3plus"),
        ({"name": "smp:unet", "backbone": "vgg11"}, "no weights 'default'", "model.weights=none"),
        ({"name": "smp:unet", "weights": "nowhere/w.pth"}, "no such file", "model.weights"),
        ({"name": "fcn_resnet50", "weights": "IMAGENET1K_V1"}, "no weights 'IMAGENET1K_V1'", ""),
    ],
)
def test_what_there_is_not_is_refused_with_a_cure(model, message, cure):
    with pytest.raises(ModelError, match=message) as caught:
        segmenters.plan_segmenter(ModelRef(**model))
    assert cure in caught.value.problems[0].cure


def test_without_smp_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match="not installed") as caught:
        segmenters.plan_segmenter(ModelRef(name="smp:unet"))
    assert "pip install 'ptm[unet]'" in caught.value.problems[0].cure


def test_trivial_augmentation_is_refused(pairs):
    with pytest.raises(ConfigError, match="without its mask"):
        load_data(spec(pairs, data={"augment": "trivial"}))


# -- saved models and predictions ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def finished(pairs, tmp_path_factory) -> Path:
    """A run of a few steps at the images' own scale."""
    output = tmp_path_factory.mktemp("run") / "r"
    run(spec(pairs, output=output, data={"augment": "standard"}, steps=12, batch_size=8, learning_rate=3e-3))
    return output


def test_a_run_writes_what_it_found(finished):
    results = json.loads((finished / "results.json").read_text())
    assert {"loss", "miou", "dice", "pixel_accuracy", "iou/disc", "dice/box"} <= set(results["metrics"])
    facts = json.loads((finished / "manifest.json").read_text())["data"]
    assert facts["train"]["examples"] == 16 and facts["eval"]["pixels_ignored"] == 4 * 32 + 2 * 44
    rows = [json.loads(line) for line in (finished / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and set(rows[0]["shares"]) == set(LABELS) and "mask_png" not in rows[0]
    assert (finished / "report.html").is_file()


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
    saved = segmenters.read_saved(tmp_path)
    assert saved.labels == LABELS and saved.preprocessing.mask_values == VALUES


def test_fine_tuning_keeps_the_head_for_the_same_labels_only(finished, pairs):
    model = ModelSpec(name=str(finished))
    assert built(spec(pairs, model)).load_report.new == ()
    other = built(spec(pairs, model, data={"labels": ("a", "b", "c")}))
    assert {n.rsplit(".", 1)[0] for n in other.load_report.new} == set(segmenters.last_layers(LRASPP.name))


def test_damaged_descriptions_are_refused(finished, tmp_path):
    content = json.loads((finished / "model" / "model.json").read_text())
    for change in (
        {"mask_values": [0, 0, 1]},
        {"whole": 1},
        {"labels": ["a"]},
        {"task": "image-classification"},
    ):
        (tmp_path / "model.json").write_text(json.dumps(content | change))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelError, match=next(iter(change))):
            segmenters.plan_segmenter(ModelRef(name=str(tmp_path)))


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
    labelled = built(
        spec(pairs, data={"augment": "standard"}), model=ModelRef(name=str(finished)), complete=True
    )
    for row in rows:
        mask = Image.open(io.BytesIO(base64.b64decode(row["mask_png"])))
        values = np.asarray(mask)
        assert mask.mode == "P" and values.shape == np.asarray(Image.open(images[row["id"]])).shape[:2]
        assert set(np.unique(values)) <= set(VALUES)
        shares = {name: (values == value).mean() for name, value in zip(LABELS, VALUES, strict=True)}
        assert row["shares"] == pytest.approx(shares, abs=1e-6)
        drawn = pipeline.render_prediction(row["id"], row)
        assert Image.open(io.BytesIO(drawn)).size == mask.size
        assert drawn == labelled.render_prediction(
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
    assert taught._mean.flatten().tolist() == pytest.approx(segmenters.IMAGENET_MEAN)


def test_weights_of_a_whole_network_from_a_file(pairs, finished, tmp_path):
    state = load_file(finished / "model" / "model.safetensors")
    save_file(state, tmp_path / "w.safetensors")
    chosen = spec(pairs, ModelSpec(name=LRASPP.name, weights=str(tmp_path / "w.safetensors")))
    pipeline = built(chosen, complete=True)
    assert torch.equal(
        pipeline.model.classifier.low_classifier.weight, state["classifier.low_classifier.weight"]
    )


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
