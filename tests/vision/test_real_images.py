"""What images of the field brought: turned photos, cut files, boxes in fractions, folders in folders, other formats."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import detection_samples
from helpers import Saying, image_spec, run
from ptm.cli.app import app
from ptm.config.load import parse_config
from ptm.config.spec import DataSpec
from ptm.data.boxes import load_boxes
from ptm.data.image_listing import IMAGE_SUFFIXES
from ptm.data.tabular import load_dataset
from ptm.errors import DataError
from ptm.experiment.check import check_inputs
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.predict import run_prediction
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.pipeline import Batch, Output
from ptm.vision import detection
from tiny.object_detection import write_annotation
from tiny.samples import write_image_folder

SIDE = 16


def noisy(seed: int, side: int = SIDE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def class_folders(root: Path, *, each: int = 6, start: int = 0) -> Path:
    for number, name in enumerate(("disc", "frame", "stripes")):
        (root / name).mkdir(parents=True)
        for index in range(each):
            noisy(start + 100 * number + index).save(root / name / f"{index}.png")
    return root


def first_problem(function, *arguments, **options):
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    return caught.value.problems[0]


def images_of(source: Path, **options):
    options = {"eval": "25%"} | options
    return load_dataset(DataSpec(source=f"imagefolder:{source}", **options), {"image": "image"})


# -- 35: what --data names is measured whole -----------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with a share that is held out, and one with splits of names."""
    root = tmp_path_factory.mktemp("trained")
    folder = write_image_folder(root / "data")
    common = {"max_train_examples": None, "max_eval_examples": 7, "augment": "none", "epochs": 1}
    share = image_spec(
        root / "share", source=f"imagefolder:{folder / 'train'}", train=None, eval="25%", **common
    )
    named = image_spec(root / "named", source=f"imagefolder:{folder}", train="train", eval="val", **common)
    run(share), run(named)
    return {"share": root / "share", "named": root / "named"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["share", "named"])
def test_10_35_other_data_are_evaluated_whole(kind: str, trained: dict[str, Path], tmp_path: Path) -> None:
    new = class_folders(tmp_path / "new", each=5)
    done = CliRunner().invoke(app, ["eval", str(trained[kind]), "--data", f"imagefolder:{new}", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["eval"]["examples"] == 15
    (tmp_path / "sets").mkdir()
    shutil.copytree(new, tmp_path / "sets" / "night")
    words = ["eval", str(trained[kind]), "--data", f"imagefolder:{tmp_path / 'sets'}", "--split", "night"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(done.stdout)["eval"]["examples"] == 15
    done = CliRunner().invoke(app, [*words, "--json", "--set", "data.max_eval_examples=4"])
    assert json.loads(done.stdout)["eval"]["examples"] == 4


# -- 36, 37, 40: folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("training", "validation")])
def test_10_36_splits_are_not_classes(names: tuple[str, str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        class_folders(tmp_path / name, start=1000 * number)
    problem = first_problem(images_of, tmp_path, eval="20%")
    assert "holds splits" in problem.what
    assert f"--set data.train={names[0]} --set data.eval={names[1]}" in problem.cure
    data = images_of(tmp_path, train=names[0], eval=names[1])
    assert data.labels == ("disc", "frame", "stripes")


@pytest.mark.parametrize("names", [("train_data", "val_data"), ("TRAIN-1", "test2017")])
def test_10_36_splits_by_other_names_are_not_classes(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        class_folders(tmp_path / "data" / name)
    with pytest.raises(DataError, match="holds splits"):
        run(spec_with(tmp_path / "data", tmp_path / "r"))


def test_10_36_folders_that_hold_the_same_folders_are_remarked_on(tmp_path: Path) -> None:
    for name in ("fold1", "fold2"):
        class_folders(tmp_path / "data" / name)
    spec = spec_with(tmp_path / "data", tmp_path / "r")
    (warning,) = (line for line in check_inputs(spec).warnings if "are the classes" in line)
    assert "fold1, fold2" in warning and "name the splits" in warning
    named = replace(spec, data=replace(spec.data, train="fold1", eval="fold2"))
    assert not any("are the classes" in line for line in check_inputs(named).warnings)


def test_10_36_a_class_may_be_called_train(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "bus")):
        (tmp_path / name).mkdir()
        for index in range(4):
            noisy(100 * number + index).save(tmp_path / name / f"{index}.png")
    assert images_of(tmp_path).labels == ("bus", "train")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_10_37_what_pillow_decodes_is_read(suffix: str, tmp_path: Path) -> None:
    class_folders(tmp_path)
    name = Image.registered_extensions().get(suffix, "JPEG")
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {name}")
    image = noisy(7).convert("L") if suffix in (".pgm", ".pbm") else noisy(7)
    image.save(tmp_path / "disc" / f"extra{suffix}", format=name)
    data = images_of(tmp_path)
    every = [path for part in (data.train, data.eval) for path in part.columns["image"]]
    assert tmp_path / "disc" / f"extra{suffix}" in every
    from ptm.vision.images import decode

    assert decode(tmp_path / "disc" / f"extra{suffix}", "here").size == (SIDE, SIDE)


def test_10_37_files_that_are_left_out_are_counted(tmp_path: Path) -> None:
    class_folders(tmp_path)
    for index in range(3):
        (tmp_path / "disc" / f"{index}.jxl").write_bytes(b"x")
    (tmp_path / "frame" / "notes.txt").write_text("x")
    (tmp_path / "frame" / ".DS_Store").write_text("x")
    (tmp_path / "__MACOSX" / "frame").mkdir(parents=True)
    data = images_of(tmp_path)
    assert data.labels == ("disc", "frame", "stripes")
    warning, skipped = data.warnings
    assert warning.what == "4 files are left out: 3 .jxl, 1 .txt" and "convert" in warning.cure
    assert skipped.what.endswith("left behind are skipped: 1 .DS_Store")
    assert not images_of(class_folders(tmp_path / "clean")).warnings


def test_10_40_messages_say_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    (coco / "train").mkdir(parents=True)
    noisy(1).save(coco / "train" / "a.jpg")
    problem = first_problem(
        load_boxes, DataSpec(source=f"coco:{coco}", train="train", eval="train"), train=False
    )
    assert problem.where == str(coco / "train")
    assert "ends in .json" in problem.what and "1 .jpg file" in problem.expected
    content = {
        "images": [{"id": 1, "file_name": "b.jpg", "width": 16, "height": 16}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    }
    (coco / "train.json").write_text(json.dumps(content))
    problem = first_problem(
        load_boxes, DataSpec(source=f"coco:{coco}", train="train", eval="train"), train=False
    )
    for folder in (coco, coco / "images", coco / "train", coco / "images" / "train"):
        assert str(folder) in problem.expected
    noisy(1).save(coco / "train" / "b.jpg")
    assert len(load_boxes(DataSpec(source=f"coco:{coco}", eval="train"), train=False).eval) == 1

    devkit = tmp_path / "VOCdevkit"
    (devkit / "VOC2012" / "JPEGImages").mkdir(parents=True)
    problem = first_problem(load_boxes, DataSpec(source=f"voc:{devkit}", eval="val"), train=False)
    assert "ImageSets/Main/" in problem.expected and "VOC2012/" in problem.expected
    assert problem.cure == f"--set data.source=voc:{devkit / 'VOC2012'}"

    from ptm.data.masks import load_masks

    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        noisy(index).save(photos / f"{index}.jpg")
    problem = first_problem(load_masks, DataSpec(source=f"masks:{photos}", eval="20%"))
    assert "3 .jpg files" in problem.cure


# -- 34: turned photos -----------------------------------------------------------------------------------------


def turned(folder: Path, orientation: int, stated: tuple[int, int], size: tuple[int, int] = (40, 30)) -> Path:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    image = Image.new("RGB", size)
    image.getexif()[0x0112] = orientation
    image.save(folder / "JPEGImages/a.jpg", exif=image.getexif())
    write_annotation(folder / "Annotations/a.xml", stated, [("cat", (3, 4, 17, 9))])
    for split in ("train", "val"):
        (folder / f"ImageSets/Main/{split}.txt").write_text("a\n")
    return folder


def boxes_of(folder: Path, boxes: str | None) -> list[list[float]]:
    pipeline = detection_samples.make(detection_samples.spec_of(folder, data={"boxes": boxes}))
    (batch,) = pipeline.batches("eval", [np.array([0])], 0)
    return batch.targets[0]["boxes"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_10_34_a_photo_turned_by_180_degrees_is_decided_by_a_key(orientation: int, tmp_path: Path) -> None:
    folder = turned(tmp_path / "voc", orientation, (40, 30))
    problem = first_problem(boxes_of, folder, None)
    assert f"orientation is {orientation}" in problem.what
    assert "--set data.boxes=upright" in problem.cure
    assert boxes_of(folder, "upright") == [[3, 4, 17, 9]]
    # Mirrored at the middle of 40 pixels, at that of 30, or both.
    across, down = orientation in (2, 3), orientation in (3, 4)
    expected = [23 if across else 3, 21 if down else 4, 37 if across else 17, 26 if down else 9]
    assert boxes_of(folder, "stored") == [expected]


@pytest.mark.slow
def test_10_34_a_square_photo_turned_by_90_degrees_is_ambiguous_too(tmp_path: Path) -> None:
    folder = turned(tmp_path / "voc", 6, (40, 40), (40, 40))
    assert "orientation is 6" in first_problem(boxes_of, folder, None).what
    assert boxes_of(folder, "upright") == [[3, 4, 17, 9]]
    assert boxes_of(folder, "stored") == [[31, 3, 36, 17]]


@pytest.mark.slow
def test_10_34_the_size_decides_where_it_can(tmp_path: Path) -> None:
    assert boxes_of(turned(tmp_path / "shown", 6, (30, 40)), None) == [[3, 4, 17, 9]]
    assert boxes_of(turned(tmp_path / "stored", 6, (40, 30)), None) == [[21, 3, 26, 17]]
    assert boxes_of(turned(tmp_path / "plain", 1, (40, 30)), None) == [[3, 4, 17, 9]]
    assert boxes_of(turned(tmp_path / "told", 6, (40, 30)), "upright") == [[3, 4, 17, 9]]


# -- 15: boxes in fractions, categories with one id ---------------------------------------------------------------


def coco(folder: Path, boxes: list[list[float]], categories: list[dict]) -> Path:
    folder.mkdir()
    noisy(1, 64).save(folder / "a.png")
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": categories,
        "annotations": [
            {"id": 10 + k, "image_id": 5, "category_id": categories[0]["id"], "bbox": box}
            for k, box in enumerate(boxes)
        ],
    }
    (folder / "train.json").write_text(json.dumps(content))
    return folder


CAT = [{"id": 1, "name": "cat"}]


def read_coco(folder: Path):
    return load_boxes(DataSpec(source=f"coco:{folder}", eval="train"), train=False)


def test_10_15_boxes_in_fractions_are_refused(tmp_path: Path) -> None:
    problem = first_problem(read_coco, coco(tmp_path / "a", [[0.1, 0.2, 0.5, 0.5]], CAT))
    assert "fractions of the image's size" in problem.what
    assert "train.json, annotations[0]" in problem.where
    whole = first_problem(read_coco, coco(tmp_path / "b", [[10, 10, 20, 20], [0.0, 0.0, 1.0, 0.75]], CAT))
    assert "annotations[1]" in whole.where
    assert len(read_coco(coco(tmp_path / "c", [[0, 0, 1.5, 3]], CAT)).eval) == 1
    folder = turned(tmp_path / "voc", 1, (40, 30))
    path = folder / "Annotations/a.xml"
    path.write_text(
        path.read_text()
        .replace(">3<", ">0.1<")
        .replace(">4<", ">0.2<")
        .replace(">17<", ">0.5<")
        .replace(">9<", ">0.9<")
    )
    assert (
        "fractions"
        in first_problem(load_boxes, DataSpec(source=f"voc:{folder}", eval="val"), train=False).what
    )


def test_10_15_two_categories_with_one_id_are_refused(tmp_path: Path) -> None:
    folder = coco(tmp_path / "a", [[1, 1, 9, 9]], [*CAT, {"id": 1, "name": "dog"}])
    problem = first_problem(read_coco, folder)
    assert problem.what == "the id 1 is that of 'cat' and of 'dog'"
    assert "train.json, categories[1]" in problem.where
    assert len(read_coco(coco(tmp_path / "b", [[1, 1, 9, 9]], CAT * 2)).eval) == 1


# -- 16: difficult objects, 12 bits ------------------------------------------------------------------------------


def scores(difficult: bool, *found: tuple[float, ...]) -> float:
    """mAP at 0.5 of one object that is found, beside one that is difficult."""
    truth = {
        "boxes": torch.tensor([[0.0, 0, 20, 20], [50, 50, 150, 150]]),
        "labels": torch.tensor([0, 0]),
        "crowd": torch.tensor([False, True]),
    }
    table = np.array([(0, 0, 20, 20, 0.5), *found], np.float32)
    boxes = Boxes(corners=table[:, :4], classes=np.zeros(len(table), int), scores=table[:, 4])
    metrics = DetectionMetrics(("cat",), difficult=difficult)
    batch = Batch(ids=np.array([0]), inputs={}, targets=[truth])
    metrics.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=[boxes]))
    return metrics.compute()["map50"]


def test_10_16_boxes_within_a_difficult_object_are_false_as_in_voc() -> None:
    """Two false boxes above the right one: a precision of 1/3 at every recall. COCO's crowds forgive them."""
    small = [(60, 60, 70, 70, 0.9), (80, 80, 95, 95, 0.8)]
    assert scores(True, *small) == pytest.approx(1 / 3, abs=1e-6)
    assert scores(False, *small) == pytest.approx(1.0)


def test_10_16_a_difficult_object_that_is_found_counts_neither_way() -> None:
    again = [(50, 50, 150, 150, 0.9), (52, 50, 150, 150, 0.8), (50, 55, 150, 150, 0.7)]
    assert scores(True, *again) == pytest.approx(1.0)


def test_10_16_the_source_decides_which_rule_holds(tmp_path: Path) -> None:
    pipeline = detection_samples.make(detection_samples.spec_of(turned(tmp_path / "v", 1, (40, 30))))
    assert pipeline.new_metrics()._difficult
    assert isinstance(pipeline, detection.ObjectDetection)


@pytest.mark.slow
def test_10_16_pictures_of_twelve_bits_are_told(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    for path in folder.rglob("*.png"):
        values = np.random.default_rng(len(path.name)).integers(0, 4095, (SIDE, SIDE)).astype(np.uint16)
        values[0, 0] = hash(str(path)) % 4000 + 50  # no two are equal
        Image.fromarray(values).save(path)
    spec = image_spec(tmp_path / "r", source=f"imagefolder:{folder}", train=None, eval="25%", epochs=1)
    reporter = Saying()
    run(spec, reporter=reporter)
    assert any("16 bits a pixel" in line and "nearly black" in line for line in reporter.lines)


@pytest.mark.slow
def test_10_16_pictures_of_twelve_bits_are_told_in_predictions(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    Image.fromarray(np.full((32, 32), 3000, np.uint16)).save(tmp_path / "deep.png")
    reporter = Saying()
    run_prediction(trained["share"], [tmp_path / "deep.png"], receive=lambda row: None, reporter=reporter)
    assert any("16 bits a pixel" in line and "nearly black" in line for line in reporter.lines)


# -- 17, 39: known before the first step ---------------------------------------------------------------------------


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A folder with a JPEG whose second half is missing: its header is whole."""
    folder = class_folders(tmp_path / "data")
    stream = io.BytesIO()
    noisy(5, 128).save(stream, "JPEG")
    (folder / "disc" / "cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    return folder


def spec_with(folder: Path, output: Path, **changes):
    """Random crops above 96 pixels are cut from the files in each epoch: nothing is kept."""
    options = {"image_size": 112, "augment": "crop", "max_train_examples": None, "max_eval_examples": None}
    return image_spec(output, source=f"imagefolder:{folder}", train=None, eval="25%", **(options | changes))


@pytest.mark.slow
def test_10_17_a_truncated_image_is_found_before_the_first_step(
    cut: Path, tmp_path: Path, trained: dict[str, Path]
) -> None:
    spec = spec_with(cut, tmp_path / "r")
    with pytest.raises(DataError, match=r"cut\.jpg"):
        run(spec)
    assert not (tmp_path / "r").exists() or not list((tmp_path / "r").glob("checkpoints/*"))
    problems = check_inputs(spec).problems
    assert any("cut.jpg" in problem.where for problem in problems)
    with pytest.raises(DataError, match=r"cut\.jpg"):
        run_evaluation(
            trained["share"],
            overrides=[f"data.source=imagefolder:{cut}"]
            + [f"data.{key}=null" for key in ("train", "eval", "max_eval_examples")],
            reporter=Saying(),
        )
    with pytest.raises(DataError, match=r"cut\.jpg"):
        run_prediction(trained["share"], [cut / "disc"], reporter=Saying())
    (cut / "disc" / "cut.jpg").unlink()
    assert check_inputs(spec).problems == ()


@pytest.mark.slow
def test_10_39_check_finds_sizes_weights_and_teachers(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    from torchvision.models import alexnet, resnet18

    spec = spec_with(folder, tmp_path / "r", name="alexnet", width=None, image_size=32)
    assert any(problem.where == "data.image_size" for problem in check_inputs(spec).problems)
    torch.save(resnet18().state_dict(), tmp_path / "w.pth")
    foreign = replace(
        spec,
        data=replace(spec.data, image_size=112),
        model=replace(spec.model, name="mobilenet_v2", weights=str(tmp_path / "w.pth")),
    )
    assert any("weights of another model" in problem.what for problem in check_inputs(foreign).problems)
    torch.save(alexnet(num_classes=3).state_dict(), tmp_path / "t.pth")
    text = f"""
version: 1
task: image-classification
model: {{name: resnet18, weights: none}}
teacher: {{name: alexnet, weights: "{tmp_path / "t.pth"}", image_size: 32}}
data: {{source: "imagefolder:{folder}", eval: 25%, image_size: 32}}
train: {{epochs: 1, learning_rate: 0.1}}
output: "{tmp_path / "r"}"
"""
    taught = parse_config(text, "run.yaml", [], base=tmp_path, cwd=tmp_path)
    assert any("32x32" in problem.what for problem in check_inputs(taught).problems)
