from pathlib import Path

import torch
from safetensors.torch import save_file

from ptm.vision.resnet_cifar import ResNetCifar
from tiny.image_classification import strangers_state
from tiny.samples import write_image_folder

__all__ = ["make", "strangers_state"]


def make(folder: Path) -> None:
    write_image_folder(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Of ten classes, so that the output layer is new.
        save_file(ResNetCifar(8, 10, 4).state_dict(), folder / "resnet8.safetensors")
