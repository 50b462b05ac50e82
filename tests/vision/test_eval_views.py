"""Several views of an image: what is cut out, the mean of what is said of them, the same in eval and predict."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from helpers import evaluation, image_spec, run
from ptm.base.console import Silent
from ptm.errors import ConfigError
from ptm.experiment.export import require_exportable
from ptm.experiment.predict import run_prediction
from ptm.pipeline import Batch, Output
from ptm.vision.eval_views import mean_output, pixel_views


def test_11_05_views_by_hand():
    ramp = torch.arange(14, dtype=torch.uint8).mul(10).expand(2, 3, 14, 14).contiguous()
    assert pixel_views(ramp, "none")[0] is ramp
    plain, mirrored = pixel_views(ramp, "flip")
    assert plain is ramp and mirrored[0, 0, 0].tolist() == ramp[0, 0, 0].tolist()[::-1]
    crops = pixel_views(ramp, "five_crops")
    assert [tuple(c.shape) for c in crops] == [(2, 3, 14, 14)] * 5 and crops[0].dtype == torch.uint8
    left, right, lower_left, lower_right, middle = (c[0, 0, 0].int() for c in crops)
    assert (
        left[0] == 0
        and right[-1] == 130
        and torch.equal(left, lower_left)
        and torch.equal(right, lower_right)
    )
    assert (right > left).all() and (middle[1:-1] >= left[1:-1]).all() and (middle[1:-1] <= right[1:-1]).all()


@pytest.mark.parametrize("label_type", ["class", "classes"])
def test_11_05_the_mean_is_of_probabilities(label_type):
    logits = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)) * 4
    outputs = [Output(loss_sum=torch.zeros(()), count=7, logits=each) for each in logits]
    several = label_type == "classes"
    targets = torch.ones(7, 3) if several else torch.arange(7) % 3
    mean = mean_output(outputs, Batch(ids=np.arange(7), inputs={}, targets=targets), label_type)
    wanted = (logits.double().sigmoid() if several else logits.double().softmax(-1)).mean(0)
    found = mean.logits.double().sigmoid() if several else mean.logits.double().softmax(-1)
    assert torch.allclose(found, wanted, atol=1e-6)
    if several:
        loss = F.binary_cross_entropy(wanted, targets.double(), reduction="none").mean(-1).sum()
    else:
        loss = F.nll_loss(wanted.log(), targets, reduction="sum")
    assert float(mean.loss_sum) == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.slow
def test_11_05_eval_and_predict_take_the_mean_of_the_views(tmp_path):
    results = run(image_spec(tmp_path / "r", epochs=1, eval_views="flip"))
    assert evaluation(tmp_path / "r")["metrics"] == pytest.approx(results["metrics"], rel=1e-6)
    once = evaluation(tmp_path / "r", overrides=["data.eval_views=none"])["metrics"]
    assert once["loss"] != results["metrics"]["loss"]
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, content in zip(files, (pixels, pixels[:, ::-1]), strict=True):
        Image.fromarray(content).save(file)
    scores = {}
    for views in ("none", "flip", "five_crops"):
        rows = []
        overrides = [f"data.eval_views={views}"]
        run_prediction(tmp_path / "r", files, overrides=overrides, receive=rows.append, reporter=Silent())
        scores[views] = np.array([list(row["scores"].values()) for row in rows])
    assert scores["flip"] == pytest.approx(np.tile(scores["none"].mean(0), (2, 1)), abs=1e-5)
    assert np.abs(scores["five_crops"] - scores["none"]).max() > 1e-4
    lines = (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()
    held = np.mean([(row := json.loads(line))["label"] == row["prediction"] for line in lines])
    assert held == pytest.approx(results["metrics"]["accuracy"])
    with pytest.raises(ConfigError, match="eval_views: flip is work around the network"):
        require_exportable(image_spec(tmp_path / "r", eval_views="flip"), tmp_path)


def test_11_01_of_numbers_the_mean_is_that_of_the_numbers():
    outputs = [
        Output(loss_sum=torch.zeros(()), count=2, logits=torch.tensor(rows))
        for rows in ([[1.0], [-4.0]], [[3.0], [0.0]])
    ]
    batch = Batch(ids=np.arange(2), inputs={}, targets=torch.tensor([2.0, 1.0], dtype=torch.float64))
    mean = mean_output(outputs, batch, "number")
    assert mean.logits is not None and mean.logits.tolist() == [[2.0], [-2.0]]
    assert float(mean.loss_sum) == 9.0
