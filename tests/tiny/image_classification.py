from pathlib import Path

from tiny.samples import write_image_folder


def make(folder: Path) -> None:
    write_image_folder(folder)


def strangers_state(model: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(model / "model.safetensors")
