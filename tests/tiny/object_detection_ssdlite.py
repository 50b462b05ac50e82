"""SSDlite on MobileNetV3 from scratch: the images of ``object_detection``, described as COCO does."""

import json
from pathlib import Path

from tiny.object_detection import write_voc

# torchvision's detectors have no loss when they are evaluated. Which negatives count is decided by rank, and AdamW's
# first steps take signs: the first step is the same to the bit in two processes, the third to 2e-4.
CHECK = {"training": True, "rtol": 1e-3}


def make(folder: Path) -> None:
    from ptm.data.voc import read_voc

    write_voc(folder, train=8, val=4)
    kinds = ["bar", "disc"]
    for split in ("train", "val"):
        rows = read_voc(folder, split).annotations
        content = {
            "images": [
                {"id": i, "file_name": f"JPEGImages/{row.image.name}", "width": 64, "height": 64}
                for i, row in enumerate(rows)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(kinds)],
            "annotations": [
                {"image_id": i, "category_id": kinds.index(box.label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
                for i, row in enumerate(rows)
                for box in row.boxes
                for x1, y1, x2, y2 in [box.corners]
            ],
        }
        (folder / f"instances_{split}.json").write_text(json.dumps(content))


def strangers_state(model: Path) -> dict:
    """As a user of torchvision loads it, without ptm."""
    from safetensors.torch import load_file
    from torchvision.models import get_model

    m = json.loads((model / "model.json").read_text())
    net = get_model(
        m["architecture"],
        weights=None,
        weights_backbone=None,
        num_classes=len(m["labels"]) + 1,
        image_mean=m["mean"],
        image_std=m["std"],
    )
    net.load_state_dict(load_file(model / "model.safetensors"))
    return net.state_dict()
