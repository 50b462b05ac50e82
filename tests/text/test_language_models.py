"""Language models: what is loaded, what is new, which kind a model is of."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptm.config.model_ref import ModelRef
from ptm.config.spec import ShapeSpec
from ptm.errors import ConfigError, ModelError
from ptm.text.language_models import build_language_model, projecting

SHAPE = ShapeSpec(layers=1, width=16, heads=2, positions=32)
TEXTS = ["the good film", "the bad film was awful", "a great hotel"] * 4


def build(name, kind="masked-lm", *, seed=1, complete=False, texts=None, **ref):
    return build_language_model(ModelRef(name=str(name), **ref), kind, texts, seed=seed, complete=complete)


def new(kind="masked-lm", seed=1, **ref):
    name = {"masked-lm": "new:bert", "causal-lm": "new:gpt2"}[kind]
    vocabulary = {"masked-lm": 60, "causal-lm": 270}[kind]
    ref = {"tokenizer": "train", "vocabulary": vocabulary, "shape": SHAPE, **ref}
    return build(name, kind, seed=seed, texts=lambda: TEXTS, **ref)


@pytest.mark.parametrize("kind", ["masked-lm", "causal-lm"])
def test_new_weights_are_a_function_of_the_seed_and_of_nothing_else(kind):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        before = torch.get_rng_state()
        one, same, other = new(kind), new(kind), new(kind, seed=2)
        assert torch.equal(torch.get_rng_state(), before)
    ours, again = one.model.state_dict(), same.model.state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    assert any(not torch.equal(ours[name], tensor) for name, tensor in other.model.state_dict().items())
    assert one.report.loaded == 0 and one.max_positions == one.tokenizer.model_max_length == 32


def test_a_base_model_is_loaded_whole_and_its_head_is_new_unless_all_must_be_there(tiny_bert):
    loaded = build(tiny_bert)
    assert loaded.head == ("cls.",) and loaded.report.new
    assert all(name.startswith("cls.") for name in loaded.report.new)
    with pytest.raises(ModelError, match="its head would be random"):
        build(tiny_bert, complete=True)


def test_a_decoder_has_no_head_of_its_own_so_it_is_complete(tiny_gpt2):
    loaded = build(tiny_gpt2, "causal-lm", complete=True)
    assert (loaded.head, loaded.report.new) == ((), ())
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id


@pytest.mark.parametrize(("complete", "weights"), [(True, "none"), (True, "default")])
def test_random_weights_are_no_trained_model(complete, weights):
    with pytest.raises(ModelError, match="would be random"):
        build(
            "new:bert",
            texts=lambda: TEXTS,
            complete=complete,
            weights=weights,
            tokenizer="train",
            vocabulary=60,
            shape=SHAPE,
        )


def test_weights_of_a_file_are_loaded_with_those_that_are_tied(tmp_path):
    model = new().model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert len(stored) < len(model.state_dict())  # what is tied is saved once
    loaded = new(weights=str(tmp_path / "model.safetensors"))
    assert loaded.report.new == ()
    own = loaded.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in model.state_dict().items())
    stored.pop("bert.encoder.layer.0.output.dense.weight")
    save_file(stored, tmp_path / "broken.safetensors")
    with pytest.raises(ModelError, match=r"output\.dense\.weight"):
        new(weights=str(tmp_path / "broken.safetensors"))


@pytest.mark.parametrize(
    ("kind", "folder", "what"),
    [
        ("masked-lm", "tiny_gpt2", "is no masked language model"),
        ("causal-lm", "tiny_bert", "reads the whole text"),
        ("causal-lm", "tiny_distilbert", "is no causal language model"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_task_that_it_is_for(kind, folder, what, request):
    other = "causal-lm" if kind == "masked-lm" else "masked-lm"
    with pytest.raises(ConfigError, match=what) as caught:
        build(request.getfixturevalue(folder), kind)
    assert f"task: {other}" in caught.value.problems[0].cure


def test_layers_can_be_chosen(tiny_gpt2):
    assert len(build(tiny_gpt2, "causal-lm", layers=(1,)).model.transformer.h) == 1


def test_only_chosen_places_are_projected_and_only_for_so_long(tiny_gpt2):
    model = build(tiny_gpt2, "causal-lm").model.eval()
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    rows = torch.tensor([[True, False, False], [False, True, True]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        with projecting(model, rows):
            some = model(input_ids=ids).logits
        torch.testing.assert_close(some, whole[rows])
        with pytest.raises(KeyError), projecting(model, rows):
            raise KeyError
        assert torch.equal(model(input_ids=ids).logits, whole)
