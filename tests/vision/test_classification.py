"""The image classification pipeline, as the engine uses it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TeacherSpec, TrainSpec
from ptm.data.examples import Dataset, Examples
from ptm.errors import DataError, ModelError
from ptm.pipeline import Batch
from ptm.training import order
from ptm.vision import classification
from ptm.vision.classification import ImageClassification, build
from ptm.vision.names import IMAGENET_MEAN, IMAGENET_STD

LABELS = ("circle", "square", "star")
NET = ModelSpec(name="resnet8", weights="none", width=4)


def spec(
    model: ModelSpec = NET,
    teacher: TeacherSpec | None = None,
    *,
    data: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    **train: Any,
) -> RunSpec:
    return RunSpec(
        version=1,
        task="image-classification",
        model=model,
        teacher=teacher,
        data=DataSpec(source="builtin:digits", **({"image_size": 16} | (data or {}))),
        train=TrainSpec(**({"steps": 1, "learning_rate": 0.1} | train)),
        runtime=RuntimeSpec(**({"threads": 2} | (runtime or {}))),
        output="runs/x",
    )


def examples(count: int, images: list[Any] | None = None) -> Examples:
    rng = np.random.default_rng(count)
    images = images or [rng.integers(0, 256, (12, 12, 3), dtype=np.uint8) for _ in range(count)]
    return Examples({"image": images}, np.arange(len(images)) % 3, lambda row: f"data, row {row}")


def dataset(labels: tuple[str, ...] = LABELS, train: Examples | None = None) -> Dataset:
    return Dataset(train or examples(10), examples(7), labels, {})


def built(
    run: RunSpec, data: Dataset | None = None, *, complete: bool = False, **options: Any
) -> ImageClassification:
    return build(run, data or dataset(), model=options.get("model", run.model.ref()), complete=complete)


def first_batch(pipeline: ImageClassification, size: int = 4) -> Batch:
    return next(pipeline.batches("eval", order.eval_plan(7, size), 0))


def saved(pipeline: ImageClassification, directory: Path) -> str:
    (directory / "model").mkdir(parents=True)
    pipeline.save_model(directory / "model")
    return str(directory)


def logits(pipeline: ImageClassification) -> torch.Tensor:
    pipeline.model.eval()
    with torch.inference_mode():
        found = pipeline.forward(pipeline.model, first_batch(pipeline, 7)).logits
    assert found is not None
    return found


def test_batches_are_those_of_the_plan() -> None:
    pipeline = built(spec(data={"augment": "standard"}))
    assert (pipeline.size("train"), pipeline.size("eval"), pipeline.lengths("train")) == (10, 7, None)
    plan = order.epoch_plan(10, 4, 1, 0)
    batches = list(pipeline.batches("train", plan, 0))
    for ids, batch in zip(plan, batches, strict=True):
        assert np.array_equal(batch.ids, ids)
        assert batch.inputs["pixels"].shape == (len(ids), 3, 16, 16)
        assert batch.inputs["pixels"].dtype == torch.uint8
        assert batch.targets is not None and batch.targets.tolist() == (ids % 3).tolist()
    again = next(pipeline.batches("train", plan, 1)).inputs["pixels"]
    assert not torch.equal(again, batches[0].inputs["pixels"])
    evaluated = [next(pipeline.batches("eval", order.eval_plan(7, 4), epoch)) for epoch in (0, 1)]
    assert torch.equal(evaluated[0].inputs["pixels"], evaluated[1].inputs["pixels"])


def test_the_loss_is_a_sum_over_images() -> None:
    pipeline = built(spec())
    pipeline.model.eval()
    batch = first_batch(pipeline)
    output = pipeline.forward(pipeline.model, batch)
    assert output.count == 4 and output.logits is not None and output.logits.dtype == torch.float32
    torch.testing.assert_close(
        output.loss_sum, F.cross_entropy(output.logits, batch.targets, reduction="sum")
    )
    without = pipeline.forward(pipeline.model, Batch(ids=batch.ids, inputs=batch.inputs, targets=None))
    assert torch.equal(without.logits, output.logits) and float(without.loss_sum) == 0


def test_labels_are_smoothed_in_training_only() -> None:
    pipeline = built(spec(label_smoothing=0.2))
    batch = first_batch(pipeline)
    for training in (True, False):
        pipeline.model.train(training)
        output = pipeline.forward(pipeline.model, batch)
        assert output.logits is not None
        smoothing = 0.2 if training else 0.0
        expected = F.cross_entropy(output.logits, batch.targets, reduction="sum", label_smoothing=smoothing)
        torch.testing.assert_close(output.loss_sum, expected)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("gpu", [True, False])
def test_weights_lie_as_asked_on_a_gpu_alone(channels_last: bool, gpu: bool, monkeypatch) -> None:
    """13.2: on a CPU the images decide, and the optimizer is faster over weights in their own order."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    for device in ("auto", "cpu"):
        pipeline = built(spec(runtime={"channels_last": channels_last, "device": device}))
        expected = gpu and channels_last and device == "auto"
        layout = torch.channels_last if expected else torch.contiguous_format
        assert pipeline.model.layer2[0].conv1.weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_model_sees_normalised_pixels_in_its_memory_layout(channels_last: bool) -> None:
    data = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    pipeline = built(spec(data=data, runtime={"channels_last": channels_last}))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    seen: list[torch.Tensor] = []
    pipeline.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = first_batch(pipeline)
    pipeline.forward(pipeline.model, batch)
    mean, std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(seen[0], (batch.inputs["pixels"].float() / 255 - mean) / std)
    assert seen[0].is_contiguous(memory_format=layout)


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    pipeline = built(spec(data={"mean": (0.2, 0.3, 0.4)}))
    pipeline.model.train()
    for batch in pipeline.batches("train", order.epoch_plan(10, 5, 0, 0), 0):
        pipeline.forward(pipeline.model, batch)  # moves the batch-norm statistics
    run = saved(pipeline, tmp_path / "run")
    content = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert content["labels"] == list(LABELS) and content["mean"] == [0.2, 0.3, 0.4]
    assert (content["architecture"], content["width"], content["image_size"]) == ("resnet8", 4, 16)
    again = built(spec(ModelSpec(name=run), data={"image_size": None}), complete=True)
    assert torch.equal(logits(again), logits(pipeline))
    assert again.load_report.new == () and again.input_fingerprint == pipeline.input_fingerprint


def test_outputs_are_brought_into_the_order_of_the_data(tmp_path: Path) -> None:
    pipeline = built(spec())
    run = saved(pipeline, tmp_path / "run")
    turned = ("star", "circle", "square")
    again = built(spec(ModelSpec(name=run)), dataset(turned), complete=True)
    assert again.labels == turned
    assert torch.equal(logits(again), logits(pipeline)[:, [2, 0, 1]])
    saved(again, tmp_path / "second")  # still describes the outputs as they are
    assert classification.stored_labels(str(tmp_path / "second")) == LABELS


def test_a_trained_model_with_other_labels_is_refused(tmp_path: Path) -> None:
    run = ModelSpec(name=saved(built(spec()), tmp_path / "run"))
    for labels in (("circle", "square", "tree"), (*LABELS, "tree")):
        with pytest.raises(ModelError):
            built(spec(run), dataset(labels), complete=True)


def test_fine_tuning_with_the_same_labels_in_another_order_is_refused(tmp_path: Path) -> None:
    run = ModelSpec(name=saved(built(spec()), tmp_path / "run"))
    with pytest.raises(ModelError, match="another order") as caught:
        built(spec(run), dataset(("star", "circle", "square")))
    assert "data.labels: [circle, square, star]" in caught.value.problems[0].cure


def test_fine_tuning_keeps_the_head_for_the_same_labels_only(tmp_path: Path) -> None:
    source = built(spec())
    run = ModelSpec(name=saved(source, tmp_path / "run"))
    same = built(spec(run))
    assert same.load_report.new == ()
    for labels in (("oak", "elm", "ash"), (*LABELS, "tree")):
        other = built(spec(run, seed=7), dataset(labels))
        assert other.load_report.new == ("linear.weight", "linear.bias")
        assert torch.equal(other.model.conv1.weight, source.model.conv1.weight)
        assert not torch.equal(other.model.linear.weight[:3], source.model.linear.weight)
    numbered = built(spec(run), dataset(("0", "1", "2")))  # numbers say nothing against it
    assert numbered.load_report.new == ()


def test_the_seed_determines_the_start() -> None:
    first, again, other = (built(spec(seed=seed)).model.linear.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_teacher_sees_its_students_batches_and_keeps_its_own_normalisation(tmp_path: Path) -> None:
    source = built(spec(data={"mean": (0.3, 0.3, 0.3)}))
    teacher = TeacherSpec(name=saved(source, tmp_path / "run"))
    run = spec(NET, teacher, data={"augment": "standard", "mean": (0.5, 0.5, 0.5)})
    data = dataset()
    student, taught = built(run, data), built(run, data, model=teacher.refs()[0], complete=True)
    assert student.input_fingerprint == taught.input_fingerprint
    batch = first_batch(student)
    source.model.eval()
    taught.model.eval()
    expected = source.forward(source.model, batch).logits
    assert torch.equal(taught.forward(taught.model, batch).logits, expected)
    assert taught._loaders == {}  # it decoded nothing


def test_10_04_a_teacher_from_a_file_is_not_normalised_as_its_student(tmp_path: Path) -> None:
    """By its architecture's pixels, or those of teacher:; the published ResNet-56 fell from 0.83 to 0.34."""
    source = built(spec())
    torch.save(source.model.state_dict(), tmp_path / "w.pth")
    file = {"name": "resnet8", "width": 4, "weights": str(tmp_path / "w.pth")}
    teacher = TeacherSpec(**file, labels=("star", "circle", "square"))
    odd = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    run = spec(NET, teacher, data=odd)
    taught, student = built(run, model=teacher.refs()[0], complete=True), built(run)
    assert taught._mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)
    assert student._mean.flatten().tolist() == [0.0, 0.0, 0.0]
    assert taught._permutation is not None and taught._permutation.tolist() == [1, 2, 0]
    batch = first_batch(student)
    pixels = batch.inputs["pixels"] / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = source.model.eval()((pixels - mean) / std)[:, [1, 2, 0]]
        logits = taught.forward(taught.model.eval(), batch).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert "mean 0.485, 0.456, 0.406" in taught.reads

    own = TeacherSpec(**file, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    told = built(spec(NET, own, data=odd), model=own.refs()[0], complete=True)
    assert told._mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert told._std.flatten().tolist() == [0.5] * 3


def test_10_04_a_teacher_reads_the_size_that_it_was_made_for(tmp_path: Path) -> None:
    teacher = TeacherSpec(name=saved(built(spec()), tmp_path / "run"))  # of 16x16
    run = spec(NET, teacher, data={"image_size": 24})
    taught = built(run, model=teacher.refs()[0], complete=True)
    assert first_batch(taught).inputs["pixels"].shape[-1] == 16
    assert taught.input_fingerprint != built(run).input_fingerprint
    larger = TeacherSpec(name=teacher.name, image_size=24)
    told = built(spec(NET, larger, data={"image_size": 24}), model=larger.refs()[0], complete=True)
    assert told.input_fingerprint == built(run).input_fingerprint


def test_a_teacher_of_another_size_has_a_view_of_its_own(tmp_path: Path) -> None:
    teacher = TeacherSpec(name=saved(built(spec()), tmp_path / "run"))
    run = spec(NET, teacher, data={"image_size": None})
    student, taught = built(run), built(run, model=teacher.refs()[0], complete=True)
    assert student.input_fingerprint != taught.input_fingerprint
    assert first_batch(taught).inputs["pixels"].shape[-1] == 16
    assert first_batch(student).inputs["pixels"].shape[-1] == 32


def test_teacher_labels_that_contradict_the_model_are_refused(tmp_path: Path) -> None:
    teacher = TeacherSpec(name=saved(built(spec()), tmp_path / "run"), labels=("star", "circle", "square"))
    with pytest.raises(ModelError, match="the model says"):
        built(spec(NET, teacher), model=teacher.refs()[0], complete=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "heads", "weight"), [("inception_v3", 299, 1, 0.4), ("googlenet", 64, 2, 0.3)]
)
def test_auxiliary_losses_count_in_training_only(
    monkeypatch: pytest.MonkeyPatch, name: str, side: int, heads: int, weight: float
) -> None:
    quick = lambda weight, mean, std, **_: torch.nn.init.normal_(weight, mean, std)  # noqa: E731
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", quick)  # saves 10 s
    pipeline = built(spec(ModelSpec(name=name, weights="none"), data={"image_size": side, "augment": "none"}))
    assert len(pipeline.head) == 1 + heads
    batch = first_batch(pipeline, 2)
    seen: list[Any] = []
    pipeline.model.register_forward_hook(lambda _, __, output: seen.append(output))
    output = pipeline.forward(pipeline.model.train(), batch)
    losses = [F.cross_entropy(scores, batch.targets, reduction="sum") for scores in seen[0]]
    assert len(losses) == 1 + heads
    torch.testing.assert_close(output.loss_sum, losses[0] + weight * sum(losses[1:]))
    torch.testing.assert_close(output.parts["auxiliary"], (weight * sum(losses[1:])).detach())
    assert torch.equal(output.logits, seen[0][0])
    output = pipeline.forward(pipeline.model.eval(), batch)
    torch.testing.assert_close(output.loss_sum, F.cross_entropy(seen[1], batch.targets, reduction="sum"))
    assert output.parts == {}


def test_a_training_batch_of_one_image_is_explained() -> None:
    pipeline = built(spec(data={"image_size": 8}))
    pipeline.model.layer3[0].conv2.stride = (2, 2)
    pipeline.model.layer3[0].stride = 4
    pipeline.model.layer3[0].new_channels = 8
    batch = next(pipeline.batches("eval", [np.array([0])], 0))
    with pytest.raises(ModelError, match="batch of one image"):
        pipeline.forward(pipeline.model.train(), batch)


def test_unreadable_images_are_found_before_training() -> None:
    images: list[Any] = [np.zeros((8, 8), np.uint8)] * 5
    images[3] = b"not an image"
    with pytest.raises(DataError, match="data, row 3"):
        built(spec(), dataset(train=examples(5, images)))
    with pytest.raises(DataError, match="data, row 3"):  # not kept in memory: only opened
        built(spec(data={"image_size": 100, "augment": "standard"}), dataset(train=examples(5, images)))


def test_evaluation_needs_no_training_images() -> None:
    pipeline = built(spec(), Dataset(None, examples(7), LABELS, {}))
    assert list(pipeline.describe()) == ["eval", "preprocessing"]
    assert len(logits(pipeline)) == 7


def test_an_example_is_a_small_picture_with_its_place() -> None:
    large = np.zeros((300, 600, 3), np.uint8)
    pipeline = built(spec(), dataset(train=examples(3, [large, large, large])))
    shown = pipeline.example("train", 1)
    assert shown["where"] == "data, row 1"
    assert Image.open(io.BytesIO(shown["image_png"])).size == (128, 64)


def test_facts_are_plain_and_complete() -> None:
    facts = built(spec(data={"augment": "crop"})).describe()
    assert json.loads(json.dumps(facts))["train"] == {
        "examples": 10,
        "examples_per_label": {"circle": 4, "square": 3, "star": 3},
        "decoded_bytes_kept": 10 * 3 * 16 * 16,
    }
    assert facts["preprocessing"]["augment"] == "crop" and facts["preprocessing"]["image_size"] == 16


@pytest.mark.slow
def test_metrics_take_what_forward_gives() -> None:
    pipeline = built(spec())
    pipeline.model.eval()
    metrics = pipeline.new_metrics()
    with torch.inference_mode():
        for batch in pipeline.batches("eval", order.eval_plan(7, 3), 0):
            metrics.update(batch, pipeline.forward(pipeline.model, batch))
    assert 0 <= metrics.compute()["accuracy"] <= 1


def test_everything_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    run = spec(ModelSpec(name="resnet18"), TeacherSpec(name="resnet50"))
    assert [problem.where.split()[:2] for problem in classification.missing(run)] == [
        ["model", "resnet18"],
        ["teacher", "resnet50"],
    ]


def test_digits_from_the_data_package() -> None:
    run = spec(data={"train": "train", "eval": "test", "max_train_examples": 40, "max_eval_examples": 7})
    data = classification.load_data(run)
    pipeline = built(run, data)
    assert pipeline.labels == tuple("0123456789") and pipeline.size("train") == 40
    assert first_batch(pipeline).inputs["pixels"].shape == (4, 3, 16, 16)
