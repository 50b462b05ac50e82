"""RetinaNet on ResNet-18 from scratch: 12 and 6 images of 64 x 64 with discs and bars on them, as Pascal VOC."""

from pathlib import Path

CHECK = {"training": True}  # torchvision's detectors have no loss when they are evaluated


def make(folder: Path) -> None:
    write_voc(folder)


def strangers_state(model: Path) -> dict:
    """As a user of torchvision loads it, without ptm."""
    import json

    import torch
    from safetensors.torch import load_file
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    m = json.loads((model / "model.json").read_text())
    body = resnet_fpn_backbone(
        backbone_name=m["backbone"],
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    net = RetinaNet(body, len(m["labels"]) + 1, m["image_size"], m["longest_side"], m["mean"], m["std"])
    net.load_state_dict(load_file(model / "model.safetensors"))
    assert len(net.eval()([torch.rand(3, 64, 64)])) == 1
    return net.state_dict()


def write_voc(folder: Path, *, side: int = 64, train: int = 12, val: int = 6) -> Path:
    """One or two objects an image, red discs and green bars, each a third of the image wide; PNGs without loss."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side]
    number = 0
    for split, count in (("train", train), ("val", val)):
        names = []
        for index in range(count):
            pixels = rng.normal(60, 15, (side, side, 3))
            objects = []
            for half in range(1 + index % 2):  # the second one stands in the lower half
                kind = "disc" if (index + half) % 2 else "bar"
                size = side // 3 + int(rng.integers(0, side // 8))
                x1 = int(rng.integers(0, side - size))
                y1 = int(rng.integers(0, side // 2 - size + side // 8)) + half * (side // 2 - side // 8)
                y1 = min(y1, side - size)
                if kind == "disc":
                    inside = np.hypot(x - x1 - (size - 1) / 2, y - y1 - (size - 1) / 2) <= size / 2
                else:
                    inside = (x >= x1) & (x < x1 + size) & (y >= y1) & (y < y1 + size)
                pixels[inside] = (220, 60, 60) if kind == "disc" else (60, 220, 60)
                objects.append((kind, (x1, y1, x1 + size, y1 + size)))
            names.append(f"{number:03d}")
            number += 1
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"JPEGImages/{names[-1]}.png")
            write_annotation(folder / f"Annotations/{names[-1]}.xml", (side, side), objects)
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def write_annotation(path: Path, size: tuple, objects: list) -> None:
    """``objects``: (label, (x1, y1, x2, y2))."""
    boxes = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, (x1, y1, x2, y2) in objects
    )
    path.write_text(
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{boxes}</annotation>"
    )
