import json
from pathlib import Path

from tiny.mask_samples import write_masks

CHECK = {"rtol": 1e-3}  # batch norms over few values, five levels deep


def make(folder: Path) -> None:
    write_masks(folder, side=64)


def strangers_state(model: Path) -> dict:
    import segmentation_models_pytorch as smp
    from safetensors.torch import load_file

    saved = json.loads((model / "model.json").read_text())
    name = saved["architecture"].removeprefix("smp:")
    network = smp.create_model(name, saved["backbone"], encoder_weights=None, classes=len(saved["labels"]))
    network.load_state_dict(load_file(model / "model.safetensors"))
    return network.state_dict()
