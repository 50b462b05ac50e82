"""Out of memory names what was too large."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from ptm.errors import ModelError, OutOfMemory
from ptm.pipeline import Batch
from ptm.training.memory import batch_memory, is_out_of_memory, recompute_layers

NO_ROOM = "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 29800000000 bytes. Error code 12"  # noqa: E501
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}


def words(n, length):
    return {"input_ids": torch.zeros(n, length, dtype=torch.long)}


def classifier(classes=2):
    return BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=classes, **SMALL))


def generator(vocabulary):
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2))


CASES = {
    "sequence length": (classifier(), 2, words(8, 500), "texts of 500 tokens", "a smaller data.max_length"),
    "classes": (classifier(), 20_000, words(8, 3), "20,000 classes", "fewer classes"),
    "vocabulary": (
        generator(40_000), 0, words(8, 60), "a vocabulary of 40,000 words for each of 480 tokens", "smaller vocabulary",
    ),
    "image size": (
        nn.Conv2d(3, 8, 3), 10, {"pixels": torch.zeros(8, 3, 700, 900, dtype=torch.uint8)},
        "images of 700 x 900 pixels", "a smaller data.image_size",
    ),
    "the largest image": (
        nn.Conv2d(3, 8, 3), 10,
        {"images": [torch.zeros(3, side, 50, dtype=torch.uint8) for side in (30, 2000, 40)]},
        "images of 2000 x 50 pixels", "leave out or cut the largest images",
    ),
    "model": (
        nn.Linear(3000, 3000), 2, words(8, 3), "the model, 9,003,000 parameters with gradients", "a smaller model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_15_15_what_was_too_large_is_named(name):
    model, classes, inputs, what, cure = CASES[name]
    pipeline = SimpleNamespace(model=model, labels=("a",) * classes, per_example=True)
    n = 3 if name == "the largest image" else 8
    batch = Batch(ids=np.arange(n), inputs=inputs, targets=None)
    key = "train.micro_batch_size"
    with pytest.raises(OutOfMemory) as caught, batch_memory(pipeline, batch, key, training=True):
        raise RuntimeError(NO_ROOM)
    (problem,) = caught.value.problems
    assert problem.what == f"out of memory: a batch of {n} does not fit; 29.8 GB were asked for at once"
    assert problem.where.startswith(f"most of it is for {what}")
    assert cure in problem.cure
    assert f"train.micro_batch_size={n // 2} (the batch stays the same)" in problem.cure
    assert problem.cure.startswith("a smaller model") is (name == "model")


def test_13_06_a_kernel_of_onednn_that_finds_no_room_is_out_of_memory():
    """It was a traceback under `ulimit -v`."""
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))


def test_15_15_a_batch_of_one_cannot_become_smaller():
    model, classes, inputs, _, cure = CASES["classes"]
    pipeline = SimpleNamespace(model=model, labels=("a",) * classes, per_example=True)
    batch = Batch(ids=np.arange(1), inputs=inputs, targets=None)
    with pytest.raises(OutOfMemory) as caught, batch_memory(pipeline, batch, "--batch-size"):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity …"
        )
    assert caught.value.problems[0].cure == cure
    assert "2.7 GB were asked for" in str(caught.value)


def kept_bytes(model, length=64):
    """Bytes that the forward pass of a training step leaves for the backward pass, and the gradients of that."""
    sizes = []
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (sizes.append(tensor.nbytes), tensor)[1], lambda tensor: tensor
    ):
        loss = model(**words(8, length), labels=torch.zeros(8, dtype=torch.long)).loss
    kept = sum(sizes)
    loss.backward()
    return kept, [parameter.grad.clone() for parameter in model.parameters()]


def test_13_06_layers_that_are_computed_again_keep_less_and_give_the_same_gradients():
    torch.manual_seed(1)
    model = classifier().train()
    before, gradients = kept_bytes(model)
    model.zero_grad()
    recompute_layers(model, "model.name")
    after, again = kept_bytes(model)
    assert after < before / 3
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_13_06_a_model_that_cannot_compute_its_layers_again_says_so():
    with pytest.raises(ModelError, match="cannot compute its layers again") as caught:
        recompute_layers(nn.Linear(1, 1), "model 'x'")
    assert "train.gradient_checkpointing" in caught.value.problems[0].cure
