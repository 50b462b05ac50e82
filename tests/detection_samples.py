"""Small detectors and images with boxes that the tests of vision share."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.vision import detection
from tiny.object_detection import write_annotation

FAMILIES = {
    "retinanet": {"name": "retinanet", "backbone": "resnet18"},
    "fcos": {"name": "fcos", "backbone": "resnet18"},
    "fasterrcnn": {"name": "fasterrcnn", "backbone": "resnet18"},
    "ssdlite": {"name": "ssdlite320_mobilenet_v3_large"},
}
if importlib.util.find_spec("libreyolo"):  # the extra "yolo"
    FAMILIES["yolox"] = {"name": "libreyolo:yolox-n"}


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


def batch_of(pipeline, ids, split="train"):
    (batch,) = pipeline.batches(split, [np.array(ids)], 0)
    return batch


def photographed(folder: Path, stated: tuple, box: tuple) -> Path:
    """One JPEG that is stored as 40 x 30 and shown turned by 90 degrees."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "JPEGImages/a.jpg", exif=exif)
    write_annotation(folder / "Annotations/a.xml", stated, [("cat", box)])
    for split in ("train", "val"):
        (folder / f"ImageSets/Main/{split}.txt").write_text("a\n")
    return folder


def saved(pipeline, folder: Path) -> Path:
    folder.mkdir()
    pipeline.save_model(folder)
    return folder


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
