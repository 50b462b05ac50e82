"""A small Mask R-CNN on ResNet-18 from scratch: 8 and 3 images of 32 x 32 with discs and bars, outlined as in COCO."""

import json
from pathlib import Path

CHECK = {"training": True}  # torchvision's detectors have no loss when they are evaluated


def make(folder: Path) -> None:
    write_coco(folder)


def strangers_state(model: Path) -> dict:
    """As a user of torchvision loads it, without ptm."""
    import torch
    from safetensors.torch import load_file
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

    m = json.loads((model / "model.json").read_text())
    assert m["task"] == "instance-segmentation"
    classes = len(m["labels"]) + 1
    body = resnet_fpn_backbone(backbone_name=m["backbone"], weights=None, norm_layer=torch.nn.BatchNorm2d)
    net = MaskRCNN(
        body,
        min_size=m["image_size"],
        max_size=m["longest_side"],
        image_mean=m["mean"],
        image_std=m["std"],
        rpn_anchor_generator=AnchorGenerator(m["anchors"]["sizes"], m["anchors"]["aspect_ratios"]),
        rpn_pre_nms_top_n_test=256,
        rpn_post_nms_top_n_test=128,
        box_head=TwoMLPHead(256 * 7 * 7, 128),
        box_predictor=FastRCNNPredictor(128, classes),
        mask_head=MaskRCNNHeads(256, (64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, classes),
    )
    net.load_state_dict(load_file(model / "model.safetensors"))
    assert net.eval()([torch.rand(3, 32, 32)])[0]["masks"].shape[1:] == (1, 32, 32)
    return net.state_dict()


def write_coco(folder: Path, *, side: int = 32, train: int = 8, val: int = 3) -> Path:
    """One or two objects an image: red discs as polygons of 24 corners, green bars as uncompressed run-length codes."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for index in range(count):
            pixels = rng.normal(60, 15, (side, side, 3))
            for half in range(1 + index % 2):  # the second one stands in the lower half
                size = side // 3 + int(rng.integers(0, side // 8))
                x1 = int(rng.integers(0, side - size))
                y1 = half * (side // 2) + int(rng.integers(0, side // 2 - size + 1))
                if (index + half) % 2:
                    r, cx, cy = size / 2, x1 + size / 2, y1 + size / 2
                    inside = np.hypot(x + 0.5 - cx, y + 0.5 - cy) <= r
                    drawn = [np.stack([cx + r * np.cos(angles), cy + r * np.sin(angles)], 1).ravel().tolist()]
                else:
                    inside = (x >= x1) & (x < x1 + size // 2) & (y >= y1) & (y < y1 + size)
                    flat = inside.T.ravel()  # down the columns; the first run is of other pixels
                    ends = np.flatnonzero(np.diff(flat)) + 1
                    runs = np.diff([0, *([0] if flat[0] else []), *ends, side * side]).tolist()
                    drawn = {"size": [side, side], "counts": runs}
                pixels[inside] = (220, 60, 60) if (index + half) % 2 else (60, 220, 60)
                own = {"id": len(annotations) + 1, "image_id": index, "category_id": 1 + (index + half) % 2}
                annotations.append({**own, "iscrowd": 0, "segmentation": drawn})
            name = f"{split}{index:03d}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
            images.append({"id": index, "file_name": name, "width": side, "height": side})
        categories = [{"id": 1, "name": "bar"}, {"id": 2, "name": "disc"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return folder
