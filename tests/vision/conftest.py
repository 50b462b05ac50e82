"""Data and models that several test modules use."""

from pathlib import Path

import pytest
import torch

from detection_samples import make, spec_of
from helpers import run
from segmentation_samples import spec
from tiny.mask_samples import write_masks
from tiny.object_detection import write_voc


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc"), train=6, val=3)


@pytest.fixture(scope="module")
def built(voc):
    """family → pipeline, made once."""
    made: dict = {}

    def get(family):
        if family not in made:
            made[family] = make(spec_of(voc, family))
        made[family].model.zero_grad(set_to_none=True)
        return made[family]

    return get


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    return write_masks(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="session")
def finished(pairs, tmp_path_factory) -> Path:
    """A run of a few steps at the images' own scale."""
    output = tmp_path_factory.mktemp("run") / "r"
    run(spec(pairs, output=output, data={"augment": "standard"}, steps=12, batch_size=8, learning_rate=3e-3))
    return output
