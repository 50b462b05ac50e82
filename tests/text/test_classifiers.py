"""Loading classifiers of transformers: the right weights, the right labels, nothing executed, nothing half."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ptm.config.model_ref import ModelRef
from ptm.errors import ModelError
from ptm.text import classifiers, origins
from tiny.samples import POSITIONS, WORDPIECES

LABELS = ("negative", "positive")
KINDS = ("tiny_bert", "tiny_distilbert", "tiny_roberta", "tiny_gpt2")


@pytest.fixture(params=KINDS)
def tiny(request):
    return request.getfixturevalue(request.param)


def build(place, labels=LABELS, *, seed=1, complete=False, teacher_labels=None, **spec):
    ref = ModelRef(name=str(place), labels=teacher_labels, **spec)
    return classifiers.build_classifier(ref, labels, seed=seed, complete=complete)


def state(loaded):
    return loaded.model.state_dict()


def changed(place, folder, **config):
    """A copy of a model, or it itself, with other values in its config.json."""
    if place != folder:
        shutil.copytree(place, folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def saved(place, folder, labels=LABELS, **how):
    """A fine-tuned classifier, as a run would save it."""
    loaded = build(place, labels, **how)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


# What is loaded and what is new


def test_a_base_model_is_loaded_whole_and_gets_a_new_head(tiny):
    loaded = build(tiny)
    own, stored = state(loaded), load_file(tiny / "model.safetensors")
    prefix = loaded.model.base_model_prefix + "."
    backbone = {name: t for name, t in own.items() if name.startswith(prefix)}
    assert backbone
    assert all(torch.equal(t, stored[name.removeprefix(prefix)]) for name, t in backbone.items())
    assert set(loaded.report.new) == set(own) - set(backbone)
    assert loaded.report.loaded == len(backbone)
    assert all(name.startswith(loaded.head) for name in loaded.report.new)
    assert not any(name.startswith(loaded.head) for name in backbone)
    assert loaded.model.config.id2label == {0: "negative", 1: "positive"}
    assert loaded.max_positions == POSITIONS
    assert {tensor.dtype for tensor in own.values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(
    ("kind", "head", "embeddings"),
    [
        ("tiny_bert", ("classifier.",), ("bert.embeddings.",)),
        ("tiny_distilbert", ("classifier.", "pre_classifier."), ("distilbert.embeddings.",)),
        ("tiny_roberta", ("classifier.",), ("roberta.embeddings.",)),
        ("tiny_gpt2", ("score.",), ("transformer.wte.", "transformer.wpe.")),
    ],
)
def test_names_of_head_and_embeddings(kind, head, embeddings, request):
    loaded = build(request.getfixturevalue(kind))
    assert (loaded.head, loaded.embeddings) == (head, embeddings)
    for prefix in (*head, *embeddings):
        assert any(name.startswith(prefix) for name in state(loaded))
    assert loaded.segments == (kind == "tiny_bert")


@pytest.mark.slow
def test_new_weights_are_a_function_of_the_seed(tiny):
    before = torch.random.get_rng_state()
    for weights in ("default", "none"):
        one, same, other = (build(tiny, seed=seed, weights=weights) for seed in (1, 1, 2))
        assert all(torch.equal(state(one)[n], state(same)[n]) for n in state(one))
        new = [n for n in one.report.new if state(one)[n].ndim == 2 and state(one)[n].any()]
        assert new
        assert not any(torch.equal(state(one)[n], state(other)[n]) for n in new)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(one.report.new) == set(dict(one.model.named_parameters()))
    assert one.report.loaded == 0


def test_a_head_of_another_size_is_replaced(tiny, tmp_path):
    folder = saved(tiny, tmp_path / "m")
    loaded = build(folder, ("a", "b", "c"))
    assert loaded.model.config.num_labels == 3
    assert list(loaded.model.config.id2label.values()) == ["a", "b", "c"]
    assert all(name.startswith(loaded.head) for name in loaded.report.new)
    again = build(folder, ("a", "b", "c"))
    assert all(torch.equal(state(loaded)[n], state(again)[n]) for n in loaded.report.new)


def test_a_head_for_other_classes_is_replaced_and_one_for_the_same_is_kept(tiny, tmp_path):
    folder = saved(tiny, tmp_path / "m", ("ham", "spam"))
    kept, new, again = build(folder, ("ham", "spam")), build(folder, seed=2), build(folder, seed=2)
    assert kept.report.new == ()
    assert new.report.new and all(name.startswith(new.head) for name in new.report.new)
    assert new.report.loaded + len(new.report.new) == len(state(new))
    for name, tensor in state(new).items():
        assert torch.equal(tensor, state(again)[name])
        if name not in new.report.new or name.endswith("bias"):
            assert torch.equal(tensor, state(kept)[name])
        else:
            assert not torch.equal(tensor, state(kept)[name])


def test_weights_without_an_output_layer_are_no_trained_model(tiny):
    with pytest.raises(ModelError, match="its output layer would be random"):
        build(tiny, complete=True)
    with pytest.raises(ModelError, match="weights: none"):
        build(tiny, complete=True, weights="none")


def test_a_trained_model_is_what_was_saved(tiny, tmp_path):
    folder = saved(tiny, tmp_path / "m", seed=5)
    loaded, stored = build(folder, complete=True), load_file(folder / "model.safetensors")
    assert loaded.report.new == ()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in state(loaded).items())
    assert loaded.permutation is None


def test_weights_that_do_not_fit_are_refused(tiny_bert, tmp_path):
    with pytest.raises(ModelError, match=r"tensors are missing or of another shape: bert\.encoder\.layer\.2"):
        build(changed(tiny_bert, tmp_path / "deep", num_hidden_layers=3))
    with pytest.raises(ModelError, match=r"check config\.json against the weights"):
        build(changed(tiny_bert, tmp_path / "wide", hidden_size=48))


# A file of weights


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth"])
@pytest.mark.parametrize("headless", [False, True])
def test_weights_from_a_file(tiny, tmp_path, suffix, headless):
    source = build(tiny, seed=9, weights="none")
    module = source.model.base_model if headless else source.model
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    loaded = build(tiny, weights=str(path))
    base = loaded.model.base_model_prefix + "."
    for name, tensor in state(source).items():
        if name.startswith(base) or not headless:
            assert torch.equal(state(loaded)[name], tensor), name
    assert bool(loaded.report.new) == headless
    if headless:
        with pytest.raises(ModelError, match="its output layer would be random"):
            build(tiny, weights=str(path), complete=True)
    else:
        assert build(tiny, weights=str(path), complete=True).report.new == ()


def test_how_many_outputs_a_file_has_is_seen_in_the_file(tiny_bert, tmp_path):
    labels = ("a", "b", "c")
    torch.save(state(build(tiny_bert, labels, weights="none")), tmp_path / "w.bin")
    assert build(tiny_bert, labels, weights=str(tmp_path / "w.bin"), complete=True).report.new == ()
    with pytest.raises(
        ModelError, match=r"classifier\.weight: \[2, 32\] in the model, \[3, 32\] in the weights"
    ):
        build(tiny_bert, weights=str(tmp_path / "w.bin"), complete=True)


# Labels


def test_labels_in_another_order_are_refused_before_training(tiny_bert, tmp_path):
    folder = saved(tiny_bert, tmp_path / "m")
    with pytest.raises(ModelError) as caught:
        build(folder, ("positive", "negative"))
    (problem,) = caught.value.problems
    assert problem.cure == "data: {labels: [negative, positive]}"
    numbers = saved(tiny_bert, tmp_path / "n", ("0", "1"))
    with pytest.raises(ModelError, match="the same in another order"):
        build(numbers, ("1", "0"))


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_gpt2"])
def test_outputs_of_a_trained_model_are_matched_by_name(kind, request, tmp_path):
    folder = saved(request.getfixturevalue(kind), tmp_path / "m", ("c", "a", "b"))
    loaded = build(folder, ("a", "b", "c"), complete=True)
    assert loaded.permutation.tolist() == [1, 2, 0]
    assert list(loaded.model.config.id2label.values()) == ["c", "a", "b"]  # its own
    with pytest.raises(ModelError, match="the model's labels are c, a, b, the data's are a, b, x"):
        build(folder, ("a", "b", "x"), complete=True)
    with pytest.raises(ModelError, match="the model has 3 outputs, the data have 2 labels"):
        build(folder, complete=True)


def test_a_model_without_label_names_is_taken_in_the_order_of_the_data_or_of_teacher_labels(
    tiny_bert, tmp_path
):
    folder = saved(tiny_bert, tmp_path / "m")
    changed(folder, folder, id2label={0: "LABEL_0", 1: "LABEL_1"})
    assert build(folder, complete=True).permutation is None
    named = build(folder, complete=True, teacher_labels=("positive", "negative"))
    assert named.permutation.tolist() == [1, 0]
    assert origins.stored_labels(str(folder)) is None
    numbers = saved(tiny_bert, tmp_path / "n", ("0", "1", "2"))
    assert origins.stored_labels(str(numbers)) == ("0", "1", "2")
    assert build(numbers, ("a", "b", "c"), complete=True).permutation is None


# Tokenizers


def with_tokenizer_of(other, place, folder):
    shutil.copytree(place, folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    for path in other.glob("tokenizer*") if other else ():
        shutil.copy(path, folder)
    return folder


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(tiny_bert, tiny_roberta, tmp_path):
    folder = with_tokenizer_of(tiny_roberta, tiny_bert, tmp_path / "m")
    with pytest.raises(ModelError, match=rf"token ids up to 299, the model knows {len(WORDPIECES)} tokens"):
        build(folder)


def test_a_model_without_a_tokenizer_is_refused(tiny, tmp_path):
    """transformers then makes up a tokenizer that knows special tokens alone, and says nothing."""
    with pytest.raises(ModelError, match="there is no vocabulary beside the model"):
        build(with_tokenizer_of(None, tiny, tmp_path / "m"))


def test_what_pads_is_what_the_model_takes_for_padding(tiny_gpt2, tiny_roberta, tmp_path):
    for place in (tiny_gpt2, changed(tiny_gpt2, tmp_path / "m", pad_token_id=7)):
        loaded = build(place)
        assert loaded.tokenizer.pad_token == "<|endoftext|>"
        assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id
        assert loaded.tokenizer.padding_side == "right"
    assert build(tiny_roberta).model.config.pad_token_id == 1


def test_the_saved_tokenizer_cuts_to_what_the_model_takes(tiny, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved(tiny, tmp_path / "m"))
    assert tokenizer.model_max_length == POSITIONS
    assert len(tokenizer("really " * 200, truncation=True)["input_ids"]) == POSITIONS


# Code and pickles of strangers


class Payload:
    """What a hostile checkpoint would do when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def nobody_answers(monkeypatch):
    """Whoever asks whether to run code is answered yes, and found out."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    yield
    assert asked == []


@pytest.mark.usefixtures("nobody_answers")
@pytest.mark.parametrize("which", ["config", "model", "tokenizer"])
def test_code_beside_a_model_is_never_run(tiny_bert, tmp_path, which, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    marker = tmp_path / "marker"
    folder = tmp_path / "m"
    kind = {"config": "custom", "model": "bert", "tokenizer": "bert"}[which]
    maps = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    changed(tiny_bert, folder, model_type=kind, **({} if which == "tokenizer" else {"auto_map": maps}))
    (folder / "code.py").write_text(
        f"open({str(marker)!r}, 'w')\n"
        "from transformers import BertConfig as Config, BertForSequenceClassification as Model\n"
        "from transformers import BertTokenizer as Tokenizer\n"
    )
    if which == "tokenizer":
        path = folder / "tokenizer_config.json"
        mapped = {
            "auto_map": {"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]},
            "tokenizer_class": "Tokenizer",
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | mapped))
    if which == "config":
        with pytest.raises(ModelError, match="is never run"):
            build(folder)
    else:  # transformers' own classes serve as well
        assert type(build(folder).model).__module__.startswith("transformers.")
    assert not marker.exists()
    assert not [name for name in sys.modules if name.startswith("transformers_modules.")]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_in_place_of_weights_is_refused(tiny_bert, tmp_path, name, write):
    marker, folder = tmp_path / "marker", tmp_path / "m"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    write({"bert.pooler.dense.bias": Payload(marker)}, folder / name)
    with pytest.raises(ModelError) as caught:
        build(folder)
    assert "weights_only" not in str(caught.value)
    assert not marker.exists()
    with pytest.raises(ModelError):
        build(tiny_bert, weights=str(folder / name))
    assert not marker.exists()


def test_weights_that_are_plain_tensors_in_a_pickle_are_taken(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "m")
    torch.save(load_file(tiny_bert / "model.safetensors"), tmp_path / "m" / "pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    assert build(tmp_path / "m").report.loaded == build(tiny_bert).report.loaded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", "[1]", "cannot be loaded"),
        ("config.json", '{"model_type": "bert", "hidden_size": "wide"}', "hidden_size"),
        ("config.json", '{"model_type": "resnet"}', "cannot be loaded"),
        ("config.json", '{"model_type": "no such"}', "does not recognize"),
        ("tokenizer.json", "{", "cannot be loaded"),
        ("tokenizer.json", "{}", "cannot be loaded"),
        ("tokenizer_config.json", "[]", "cannot be loaded"),
        ("model.safetensors", "", "model.safetensors cannot be read"),
        ("model.safetensors", "x" * 500, "model.safetensors cannot be read"),
        ("model.safetensors", None, "no file named model.safetensors"),
    ],
)
def test_broken_files_are_one_message(tiny_bert, tmp_path, file, content, words):
    folder = tmp_path / "m"
    shutil.copytree(tiny_bert, folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(ModelError, match=words) as caught:
        build(folder)
    assert len(caught.value.problems) == 1


# Where a model is


def test_every_new_weight_is_finite_and_small(tiny):
    for name, tensor in state(build(tiny, weights="none")).items():
        assert np.isfinite(tensor.numpy()).all(), name
        assert tensor.abs().max() <= 1, name


def test_labels_of_many_classes_are_in_numeric_order(tiny_bert, tmp_path):
    labels = tuple(f"class {i}" for i in range(12))
    folder = saved(tiny_bert, tmp_path / "m", labels)
    assert origins.stored_labels(str(folder)) == labels
    assert build(folder, labels, complete=True).permutation is None
