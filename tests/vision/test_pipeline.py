"""What all pipelines over images have in common."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ptm.errors import ModelError
from ptm.vision.pipeline import ImagePipeline, apply_model, decided_data


class Plain(ImagePipeline):
    """Only what is common."""

    def _read(self, split):
        return None

    def _forget(self):
        return None

    batches = forward = new_metrics = save_model = describe = None


Plain.__abstractmethods__ = frozenset()


def plain(channels_last=False):
    pipeline = Plain()
    pipeline._spec = SimpleNamespace(runtime=SimpleNamespace(channels_last=channels_last))
    return pipeline


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_are_scaled_and_normalised_by_channel(channels_last):
    pipeline = plain(channels_last)
    pipeline._set_normalisation((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    made = pipeline._normalise(pixels)
    expected = [(0 - 0.5) / 0.5, (0.2 - 0.25) / 0.25, (1 - 0.0) / 2]
    assert made.dtype == torch.float32
    assert made[1, :, 1, 0].tolist() == pytest.approx(expected)
    assert made.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert pixels[0, 2, 0, 0] == 255  # the batch itself stays
    assert pipeline.reads == "mean 0.5, 0.25, 0, std 0.5, 0.25, 2"


@pytest.mark.parametrize("dim", [1, -1])
def test_outputs_are_brought_into_the_order_of_the_data(dim):
    pipeline, logits = plain(), torch.tensor([[30.0, 10.0, 20.0]], dtype=torch.bfloat16)
    assert pipeline._in_data_order(logits, dim).dtype == torch.float32
    pipeline._set_order(np.array([1, 2, 0]))
    assert pipeline._in_data_order(logits, dim).tolist() == [[10.0, 20.0, 30.0]]
    pipeline._set_order(None)
    assert pipeline._in_data_order(logits, dim).tolist() == [[30.0, 10.0, 20.0]]


def test_what_the_weights_decided_is_what_they_have_of_it():
    preprocessing = SimpleNamespace(image_size=64, mean=(0.5,), other=1)
    assert decided_data(preprocessing) == {"image_size": 64, "mean": (0.5,)}
    assert decided_data(SimpleNamespace(longest_side=9)) == {"longest_side": 9}


def test_a_batch_norm_over_one_value_is_a_message_and_other_errors_stay():
    norm = nn.BatchNorm1d(2).train()
    with pytest.raises(ModelError, match="batch of one image") as caught:
        apply_model(norm, torch.ones(1, 2))
    assert caught.value.problems[0].where == "train.batch_size"
    assert apply_model(norm, torch.ones(2, 2)).shape == (2, 2)

    def fails(_):
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        apply_model(fails, torch.ones(1))


def test_weights_are_saved_whole_and_contiguous(tmp_path):
    from safetensors.torch import load_file

    pipeline = plain()
    pipeline.model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    pipeline._save_weights(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == {"weight", "bias"}
    assert torch.equal(stored["weight"], pipeline.model.weight)


def test_13_03_where_an_image_is_can_be_told_without_decoding_it():
    pipeline = plain()
    pipeline._data = SimpleNamespace(eval=SimpleNamespace(where=lambda i: f"a/{i}.jpg", columns={}))
    assert pipeline.named_example("eval", 3) == {"where": "a/3.jpg"}
