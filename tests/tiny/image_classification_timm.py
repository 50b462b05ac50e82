import json
from pathlib import Path

from tiny.samples import write_image_folder


def make(folder: Path) -> None:
    write_image_folder(folder)


def strangers_state(model: Path) -> dict:
    import timm
    from safetensors.torch import load_file

    saved = json.loads((model / "model.json").read_text())
    network = timm.create_model(saved["architecture"].removeprefix("timm:"), num_classes=len(saved["labels"]))
    network.load_state_dict(load_file(model / "model.safetensors"))
    return network.state_dict()
