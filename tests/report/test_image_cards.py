"""Cards, drawings and pages of image runs: what a stranger does with them."""

from __future__ import annotations

import ast
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import detection_samples
import segmentation_samples
import tiny
from helpers import Saying, copy_of, image_spec, run
from ptm.cli.app import app
from ptm.config.load import load_config
from ptm.config.spec import ModelSpec
from ptm.errors import ConfigError
from ptm.experiment.predict import run_prediction
from ptm.report.page import write_report
from ptm.vision.drawing import draw_boxes
from tiny.mask_samples import write_masks
from tiny.object_detection import write_voc
from tiny.samples import write_image_folder

pytestmark = pytest.mark.slow  # each trains


def classifier(tmp_path: Path, **changes) -> Path:
    folder = write_image_folder(tmp_path / "data")
    few = {"max_train_examples": None, "max_eval_examples": None, "epochs": 1, "augment": "none"}
    splits = {"source": f"imagefolder:{folder}", "train": "train", "eval": "val"}
    run(image_spec(tmp_path / "r", **splits, **(few | changes)))
    return tmp_path / "r"


def detector(tmp_path: Path, family: str = "fasterrcnn") -> Path:
    folder = write_voc(tmp_path / "voc", train=4, val=2)
    size = {} if family == "ssdlite" else {"image_size": 64 if family == "yolox" else 48}
    family, _, backbone = family.partition(" on ")
    spec = detection_samples.spec_of(
        folder, family, data=size, model={"backbone": backbone} if backbone else {}
    )
    run(replace(spec, output=str(tmp_path / "r")))
    return tmp_path / "r"


@pytest.fixture(scope="module")
def fasterrcnn(tmp_path_factory) -> Path:
    """The folder of a detector's data and its run; not to be changed."""
    folder = tmp_path_factory.mktemp("fasterrcnn")
    detector(folder)
    return folder


def segmenter(tmp_path: Path, model: ModelSpec = segmentation_samples.LRASPP, **data) -> Path:
    spec = segmentation_samples.spec(write_masks(tmp_path / "pairs"), model, output=tmp_path / "r", data=data)
    run(spec)
    return tmp_path / "r"


def said(output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size) -> tuple:
    """(what the card's own code prints of a photo, what ``ptm predict`` says of it)."""
    pixels = np.random.default_rng(3).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(output / "photo.png")
    card = (output / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert 'Image.open("photo.jpg")' in code
    monkeypatch.chdir(output)
    capsys.readouterr()
    exec(code.replace("photo.jpg", "photo.png"), {})
    printed = ast.literal_eval(capsys.readouterr().out.strip().splitlines()[-1])
    rows: list[dict] = []
    run_prediction(output, [output / "photo.png"], receive=rows.append, reporter=Saying(), threshold=None)
    return printed, rows[0]


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"name": "resnet18", "width": None, "image_size": 40},
        {"name": "mobilenet_v3_small", "width": None, "image_size": 128},
        {"name": "timm:resnet10t", "width": None, "image_size": 112},
    ],
)
def test_10_41_a_classifier_s_card_says_what_predict_says(model, tmp_path, monkeypatch, capsys) -> None:
    output = classifier(tmp_path, **model)
    for size in ((50, 70), (400, 260), (9, 5)):
        printed, row = said(output, monkeypatch, capsys, size)
        assert printed == pytest.approx(row["scores"], abs=1e-4), size


def test_10_41_the_card_of_several_labels_says_what_predict_says(tmp_path, monkeypatch, capsys) -> None:
    config = tiny.prepare("image-classification-multilabel", tmp_path)
    run(load_config(config, [f"output={json.dumps(str(tmp_path / 'r'))}", "train.epochs=1"]))
    for size in ((50, 70), (300, 20)):
        printed, row = said(tmp_path / "r", monkeypatch, capsys, size)
        assert printed == pytest.approx(row["scores"], abs=1e-4), size


@pytest.mark.parametrize(
    "family",
    [
        *("fasterrcnn", "retinanet", "fcos", "ssdlite", "yolox"),
        *("fasterrcnn on timm:resnet10t", "fcos on timm:mobilenetv3_small_050"),
    ],
)
def test_10_41_a_detector_s_card_says_what_predict_says(
    family, request, tmp_path, monkeypatch, capsys
) -> None:
    if "timm" in family:
        pytest.importorskip("timm")
    if family == "yolox":
        pytest.importorskip("libreyolo")
    if family == "fasterrcnn":
        copy_of(request.getfixturevalue("fasterrcnn") / "r", tmp_path / "r")
    else:
        detector(tmp_path, family)
    printed, row = said(tmp_path / "r", monkeypatch, capsys, (60, 90))
    # An image that is larger than what the model reads, and one that is much smaller.
    for other in ((300, 170), (20, 20)):
        again, of_other = said(tmp_path / "r", monkeypatch, capsys, other)
        scores = [found["score"] for found in again if found["score"] >= 0.05]
        assert scores == pytest.approx(of_other["scores"], abs=1e-3), other
    shown = [found for found in printed if found["score"] >= 0.05]
    assert [found["label"] for found in shown] == row["labels"]
    assert [found["score"] for found in shown] == pytest.approx(row["scores"], abs=1e-3)
    assert [x for found in shown for x in found["box"]] == pytest.approx(
        [x for box in row["boxes"] for x in box], abs=0.05
    )


@pytest.mark.parametrize("augment", ["none", "standard"])
@pytest.mark.parametrize("unet", [False, True])
def test_10_41_a_segmenter_s_card_says_what_predict_says(
    augment, unet, tmp_path, monkeypatch, capsys
) -> None:
    model = segmentation_samples.LRASPP
    if unet:
        pytest.importorskip("segmentation_models_pytorch")
        model = ModelSpec(name="smp:unet", backbone="resnet18", weights="none")
    output = segmenter(tmp_path, model, augment=augment)
    for size in ((70, 90), (300, 200), (10, 8)):  # padded to 96 x 96, 320 x 224, 32 x 32
        printed, row = said(output, monkeypatch, capsys, size)
        assert printed == pytest.approx(row["shares"], abs=1e-3), size


@pytest.mark.parametrize(
    "change",
    [
        {"width": "4); import os; os.remove('x') #"},
        {"architecture": 'resnet8"]); import os #'},
        {"resize": "[0]); import os"},
        {"task": "object-detection", "architecture": "fasterrcnn_other_fpn", "backbone": "resnet50"},
        {"task": "semantic-segmentation", "architecture": "smp:Unet", "backbone": None},
        {"task": "object-detection", "architecture": "os:path", "backbone": ["a"]},
    ],
)
def test_15_01_a_card_holds_no_code_of_the_record_s(finished, change) -> None:
    """What a reader is to copy is made of plain names and whole numbers, and no odd record ends in a traceback."""
    task = change.pop("task", "image-classification")
    for name in ("model/model.json", "results.json"):
        content = json.loads((finished / name).read_text())
        (finished / name).write_text(
            json.dumps(content | (change if name.startswith("model") else {"task": task}))
        )
    write_report(finished)
    card = (finished / "README.md").read_text()
    assert "without ptm:" not in card and "import os" not in card


def test_10_41_the_card_measures_every_task(fasterrcnn, tmp_path) -> None:
    output = copy_of(fasterrcnn / "r", tmp_path / "r")
    assert "ptm eval . --data voc:FOLDER" in (output / "README.md").read_text()
    done = CliRunner().invoke(app, ["eval", str(output), "--data", f"voc:{fasterrcnn / 'voc'}", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["eval"]["examples"] == 6  # all annotations


def test_10_41_a_threshold_decides_what_is_written_and_drawn(fasterrcnn, tmp_path) -> None:
    output = copy_of(fasterrcnn / "r", tmp_path / "r")
    image = next((fasterrcnn / "voc" / "JPEGImages").iterdir())
    every: list[dict] = []
    run_prediction(output, [image], receive=every.append, reporter=Saying())
    assert every[0]["scores"] and min(every[0]["scores"]) >= 0.05
    middle = sorted(every[0]["scores"])[len(every[0]["scores"]) // 2]
    some: list[dict] = []
    reporter = Saying()
    run_prediction(
        output, [image], receive=some.append, threshold=middle, draw=tmp_path / "drawn", reporter=reporter
    )
    assert some[0]["scores"] == [score for score in every[0]["scores"] if score >= middle]
    assert any(f"at least {middle:g} (ptm predict --threshold)" in line for line in reporter.lines)
    reporter = Saying()
    run_prediction(output, [image], receive=some.append, draw=tmp_path / "usual", reporter=reporter)
    assert any("at least 0.5" in line for line in reporter.lines)
    page = (output / "report.html").read_text()
    assert "found with a score of at least 0.5" in page and "target_boxes" not in page


def test_10_41_only_detectors_have_a_threshold(tmp_path) -> None:
    output = classifier(tmp_path)
    with pytest.raises(ConfigError, match="finds no boxes"):
        run_prediction(output, [tmp_path / "data"], threshold=0.5, reporter=Saying())


def test_10_41_a_box_shows_on_a_picture_of_its_own_colour() -> None:
    red = Image.new("RGB", (120, 120), (255, 51, 51))  # the colour of the first label
    drawn = np.asarray(Image.open(io.BytesIO(draw_boxes(red, [([20, 40, 100, 100], "cell", 0.9)], ["cell"]))))
    changed = (drawn.astype(int) - np.asarray(red)).any(-1)
    assert changed[60, 18:23].any() and changed[60, 98:103].any()
    truth = draw_boxes(red, [], ["cell"], [[20, 40, 100, 100]])
    assert (np.asarray(Image.open(io.BytesIO(truth)))[60, 20] == 255).all()


def test_10_41_a_drawn_mask_stands_beside_the_true_one_with_a_legend(tmp_path) -> None:
    spec = segmentation_samples.spec(write_masks(tmp_path / "pairs"))
    pipeline = segmentation_samples.built(spec)
    mask = pipeline._data.eval.columns["mask"][0]
    panel = Image.open(io.BytesIO(pipeline.render_prediction(0, {})))
    assert panel.width >= 2 * mask.size[0] and panel.height > mask.size[1]
    pixels = np.asarray(panel)
    from ptm.vision.drawing import shade

    for number in range(len(pipeline.labels)):
        below = pixels[mask.size[1] + 15 :].reshape(-1, 3)
        assert (below == shade(number)).all(-1).any(), pipeline.labels[number]
