import json
from pathlib import Path

from tiny.mask_samples import write_masks


def make(folder: Path) -> None:
    write_masks(folder)


def strangers_state(model: Path) -> dict:
    from safetensors.torch import load_file
    from torchvision.models import get_model

    saved = json.loads((model / "model.json").read_text())
    network = get_model(
        saved["architecture"], weights=None, weights_backbone=None, num_classes=len(saved["labels"])
    )
    network.load_state_dict(load_file(model / "model.safetensors"))
    return network.state_dict()
