"""Grad-CAM: against class activation maps worked out by hand, and by what deleting pixels does to the score."""

import io
import re

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from helpers import image_spec, run
from ptm.base.console import Silent
from ptm.experiment.insights import Insights
from ptm.experiment.session import open_session
from ptm.experiment.trained import trained_model
from ptm.pipeline import Batch
from ptm.vision.insight import grad_cam, heat_picture


class Net(nn.Module):
    """Maps, their mean, a linear layer: Grad-CAM is then CAM (the paper's §3.1)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def test_11_07_grad_cam_is_cam_where_there_is_one():
    torch.manual_seed(0)
    net, image = Net(), torch.randn(1, 3, 6, 5)
    for parameter in net.conv.parameters():
        parameter.requires_grad_(False)  # a frozen backbone
    maps = net.conv(image).relu()[0].detach()
    for label in (0, 1):
        cam = torch.einsum("k,khw->hw", net.head.weight[label].detach(), maps).relu()
        found = grad_cam(net, lambda: net(image), label)
        assert found == pytest.approx((cam / cam.max()).numpy(), abs=1e-5)
    assert net.training and all(p.grad is None for p in net.parameters())


def test_11_07_networks_without_a_last_map_have_none():
    image = torch.randn(1, 3, 32, 32)
    vit = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)
    assert grad_cam(vit, lambda: vit(image), 1) is None
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    assert grad_cam(flat, lambda: flat(image), 0) is None
    for name in ("resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"):
        net = torchvision.models.get_model(name, num_classes=3)
        torch.manual_seed(1)
        heat = grad_cam(net, lambda net=net: net(torch.randn(1, 3, 64, 64)), 1)
        assert heat is None or (heat.ndim == 2 and heat.size > 1 and heat.max() == 1), name


def test_11_07_the_picture_says_where_it_is_warmest_in_words_too():
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[3, 0] = 1
    content, place = heat_picture(np.full((16, 16, 3), 128, dtype=np.uint8), heat)
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert picture.shape == (224, 224, 3)
    assert (picture[4, 220] == 128).all() and picture[220, 4, 0] > 180 > picture[220, 4, 2]
    assert {0, 255} <= set(picture[..., 2].ravel().tolist())  # the line around it
    left, top = map(
        int, re.fullmatch(r"warmest (\d+) % from the left and (\d+) % from the top", place).groups()
    )
    assert left < 15 and top > 85


def deletion(pipeline, rows, share=0.25):
    """Mean loss of the probability of a label where the highest pixels are made black, and random ones."""
    rng, drops = np.random.default_rng(0), []
    for row in rows:
        (batch,) = pipeline.batches("eval", [np.array([row])], 0)
        pixels = batch.inputs["pixels"]

        def probabilities(changed, batch=batch):
            with torch.no_grad():
                one = Batch(ids=batch.ids, inputs={"pixels": changed}, targets=None)
                return pipeline.forward(pipeline.model, one).logits.softmax(-1)[0]

        before = probabilities(pixels)
        label = int(before.argmax())
        heat = grad_cam(
            pipeline.model, lambda batch=batch: pipeline.forward(pipeline.model, batch).logits, label
        )
        if heat is None:
            continue
        spread = nn.functional.interpolate(
            torch.from_numpy(heat)[None, None], pixels.shape[-2:], mode="bilinear"
        )
        order = spread.flatten().argsort(descending=True).numpy()
        count = int(share * len(order))
        lost = []
        for places in (order[:count], *(rng.permutation(len(order))[:count] for _ in range(3))):
            changed = pixels.clone().flatten(2)
            changed[..., places] = 0
            lost.append(float(before[label] - probabilities(changed.view_as(pixels))[label]))
        drops.append((lost[0], np.mean(lost[1:])))
    return np.array(drops).mean(0)


@pytest.mark.slow
def test_11_07_deleting_what_is_warm_costs_more_than_deleting_anything_and_the_report_shows_it(tmp_path):
    spec = image_spec(
        tmp_path / "r", epochs=10, max_train_examples=300, max_eval_examples=60, width=8, augment="none"
    )
    results = run(spec)
    assert results["metrics"]["accuracy"] > 0.6
    page = (tmp_path / "r/report.html").read_text()
    assert "Grad-CAM" in page and 'alt="where the model looks for ' in page and "% from the top" in page
    trained = trained_model(tmp_path / "r", [])
    with open_session(trained.spec, Silent()) as session:
        data = session.task.load_data(trained.spec, labels=None, train=False)
        pipeline = trained.build(session, data)
        pipeline.model.eval()
        highest, random = deletion(pipeline, range(30))
        assert highest > random + 0.05
        insight = Insights(pipeline)(0, pipeline.labels[3])
        assert set(insight) <= {"heat_png", "heat_place"}
