"""The language modelling pipeline: losses against transformers' own, masks, metrics, models, completed texts."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers import evaluation, run, text_spec
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.config.spec import (
    AdapterSpec,
    DataSpec,
    ModelSpec,
    RunSpec,
    RuntimeSpec,
    ShapeSpec,
    TeacherSpec,
    TrainSpec,
)
from ptm.data.inputs import Typed
from ptm.engine import evaluate
from ptm.errors import ConfigError, DataError, ModelError
from ptm.text import language_modeling, origins
from ptm.text.masking import IGNORED
from tiny.samples import WORDPIECES, sentences

SMALL = ShapeSpec(layers=2, width=32, heads=2, positions=64)
NEW_BERT = ModelSpec(name="new:bert", tokenizer="train", vocabulary=120, shape=SMALL)
NEW_GPT2 = ModelSpec(name="new:gpt2", tokenizer="train", vocabulary=300, shape=SMALL)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, count, seed in (("train", 64, 1), ("eval", 24, 2)):
        lines = [text for text, _ in sentences(count, seed)]
        (folder / f"{name}.txt").write_text("\n".join([*lines, "ünsäglich good ☃"]))
    return folder


def spec_of(folder, task="masked-lm", model=NEW_BERT, output="r", teacher=None, train=None, **data):
    return RunSpec(
        version=1,
        task=task,
        model=model,
        teacher=teacher,
        data=DataSpec(
            **{"source": f"text:{folder}", "train": "train.txt", "eval": "eval.txt", "max_length": 24} | data
        ),
        train=TrainSpec(**{"steps": 3, "batch_size": 8, "learning_rate": 1e-2} | (train or {})),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output=str(output),
    )


def build(spec, model=None, complete=False):
    data = language_modeling.load_data(spec)
    return language_modeling.build(spec, data, model=model or spec.model.ref(), complete=complete)


def sharpened(pipeline):
    """Larger weights: fresh ones are so small that every token is as likely as another."""
    with torch.no_grad():
        for parameter in pipeline.model.parameters():
            if parameter.ndim == 2:
                parameter *= 6
    return pipeline


def batch_of(pipeline, rows, split="eval", epoch=0):
    (batch,) = pipeline.batches(split, [np.array(rows)], epoch)
    return batch


# The loss


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(("task", "model"), [("masked-lm", NEW_BERT), ("causal-lm", NEW_GPT2)])
def test_the_loss_is_that_of_transformers_as_a_sum(task, model, pack, texts):
    pipeline = sharpened(build(spec_of(texts, task, model, pack=pack)))
    pipeline.model.eval()
    batch = batch_of(pipeline, range(5), "train")
    with torch.no_grad():
        output = pipeline.forward(pipeline.model, batch)
    if task == "masked-lm":
        labels = batch.targets
    else:  # transformers shifts labels itself
        labels = batch.inputs["input_ids"].clone()
        labels[batch.inputs.get("attention_mask", torch.ones_like(labels)) == 0] = IGNORED
    with torch.no_grad():
        theirs = pipeline.model(**batch.inputs, labels=labels)
    counted = (labels if task == "masked-lm" else labels[:, 1:]) != IGNORED
    assert output.count == int(counted.sum()) >= 5
    torch.testing.assert_close(output.loss_sum, theirs.loss * output.count, rtol=1e-5, atol=1e-4)
    assert output.logits is None
    torch.testing.assert_close(
        pipeline.evaluate_batch(pipeline.model, batch).loss_sum.float(), output.loss_sum, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(("task", "model"), [("masked-lm", NEW_BERT), ("causal-lm", NEW_GPT2)])
def test_logits_are_given_when_wanted_and_a_wrapped_model_computes_the_same(task, model, texts):
    pipeline = sharpened(build(spec_of(texts, task, model, pack=False)))
    pipeline.model.eval()
    batch = batch_of(pipeline, range(4))
    output = pipeline.forward(pipeline.model, batch, ("logits",))
    counted = batch.targets != IGNORED
    assert output.logits.shape == (output.count, pipeline.model.config.vocab_size)
    assert torch.equal(output.targets, batch.targets[counted])
    full = pipeline.model(**batch.inputs).logits[counted]
    torch.testing.assert_close(output.logits, full, rtol=1e-4, atol=1e-4)
    expected = -full.log_softmax(-1).gather(1, output.targets[:, None]).sum()
    torch.testing.assert_close(output.loss_sum, expected, rtol=1e-5, atol=1e-3)

    class Wrapped(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **inputs):
            return self.inner(**inputs)

    wrapped = pipeline.forward(Wrapped(pipeline.model), batch)
    torch.testing.assert_close(wrapped.loss_sum, output.loss_sum, rtol=1e-5, atol=1e-3)
    assert not pipeline.model.get_output_embeddings()._forward_pre_hooks


def test_labels_smoothed_in_training_only(texts):
    pipeline = build(spec_of(texts, train={"label_smoothing": 0.2}, model=_without_dropout()))
    batch = batch_of(pipeline, range(4))
    pipeline.model.train()
    smoothed = pipeline.forward(pipeline.model, batch, ("logits",))
    pipeline.model.eval()
    plain = pipeline.forward(pipeline.model, batch)
    uniform = -smoothed.logits.log_softmax(-1).mean(-1).sum()
    torch.testing.assert_close(smoothed.loss_sum, 0.8 * plain.loss_sum + 0.2 * uniform)


def _without_dropout():
    shape = ShapeSpec(layers=2, width=32, heads=2, positions=64, dropout=0.0)
    return ModelSpec(name="new:bert", tokenizer="train", vocabulary=120, shape=shape)


def test_a_causal_model_never_predicts_padding(texts):
    pipeline = build(spec_of(texts, "causal-lm", NEW_GPT2, pack=False))
    batch = batch_of(pipeline, range(12))
    mask = batch.inputs["attention_mask"]
    assert (mask == 0).any()
    for ids, targets, real in zip(batch.inputs["input_ids"], batch.targets, mask.bool(), strict=True):
        own = ids[real]
        assert torch.equal(targets[targets != IGNORED], own[1:])
        assert (targets[len(own) - 1 :] == IGNORED).all()


# Masks


def test_masks_are_new_in_every_epoch_and_always_the_same_in_evaluation(texts):
    pipeline = build(spec_of(texts))
    again, other = build(spec_of(texts)), build(spec_of(texts, train={"seed": 7}))

    def targets(pipeline, split, epoch, rows=(0, 1, 2, 3)):
        return batch_of(pipeline, rows, split, epoch).targets

    first = targets(pipeline, "train", 0)
    assert torch.equal(first, targets(again, "train", 0))
    assert torch.equal(first[2:3], targets(pipeline, "train", 0, (2,)))
    assert not torch.equal(first, targets(pipeline, "train", 1))
    assert not torch.equal(first, targets(other, "train", 0))
    for compared in (targets(pipeline, "eval", 3), targets(other, "eval", 0)):
        assert torch.equal(targets(pipeline, "eval", 0), compared)
    assert pipeline.random_views
    assert pipeline.input_fingerprint != other.input_fingerprint


def test_the_keys_of_masking_count(texts):
    def share(**data):
        pipeline = build(spec_of(texts, **data))
        batch = batch_of(pipeline, range(pipeline.size("train")), "train")
        return float((batch.targets != IGNORED).float().mean())

    assert share(mask_share=0.4) > 1.8 * share() > 0.15
    model = ModelSpec(name="new:bert", tokenizer="train", vocabulary=70, shape=SMALL)  # words in pieces
    wholes = [build(spec_of(texts, model=model, whole_words=w)) for w in (None, True, False)]
    batches = [batch_of(pipeline, range(4), "train").targets for pipeline in wholes]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_a_text_without_a_word_is_refused(texts, tmp_path):
    (tmp_path / "train.txt").write_text((texts / "train.txt").read_text())
    (tmp_path / "eval.txt").write_text("the film\n[SEP]\n")
    with pytest.raises(DataError, match=r"eval\.txt:2: nothing in this text can be masked"):
        build(spec_of(tmp_path, pack=False))


# Metrics


def evaluated(pipeline, batch_size=5):
    from ptm.training.runtime import open_runtime

    with open_runtime(RuntimeSpec(device="cpu", threads=1)) as runtime:
        return evaluate(pipeline, runtime, batch_size=batch_size)


@pytest.mark.parametrize("pack", [True, False])
def test_perplexity_and_bits_per_byte_are_those_of_the_texts(pack, texts):
    """Computed text by text, or over the stream of all texts, by transformers' model."""
    pipeline = sharpened(
        build(spec_of(texts, "causal-lm", NEW_GPT2, pack=pack, max_length=64 if pack else 24))
    )
    values = evaluated(pipeline).compute()
    tokenizer, end = pipeline._tokenizer, pipeline._tokenizer.eos_token_id
    lines = (texts / "eval.txt").read_text().splitlines()
    rows = [[*tokenizer(line)["input_ids"], end] for line in lines]
    if pack:
        stream = [end, *(token for row in rows for token in row)]
        rows = [stream[start : start + 64] for start in range(0, len(stream) - 1, 63)]
    else:
        rows = [[end, *row] if len(row) < 24 else [end, *row[:23]] for row in rows]
    nats = tokens = 0
    for row in rows:
        with torch.no_grad():
            logits = pipeline.model(input_ids=torch.tensor([row])).logits[0, :-1].double()
        nats -= float(logits.log_softmax(-1)[range(len(row) - 1), row[1:]].sum())
        tokens += len(row) - 1
    assert values["loss"] == pytest.approx(nats / tokens, rel=1e-4)
    assert values["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert all(len(row) < 26 for row in rows) or pack
    if pack:
        written = sum(len(line.encode()) for line in lines)
        assert values["bits_per_byte"] == pytest.approx(nats / math.log(2) / written, rel=1e-4)


def test_masked_accuracy_is_that_of_the_masked_tokens(texts):
    pipeline = sharpened(build(spec_of(texts)))
    metrics = evaluated(pipeline)
    batch = batch_of(pipeline, range(pipeline.size("eval")))
    with torch.no_grad():
        logits = pipeline.model.eval()(**batch.inputs).logits
    counted = batch.targets != IGNORED
    right = (logits.argmax(-1) == batch.targets)[counted]
    values = metrics.compute()
    assert values["masked_accuracy"] == pytest.approx(float(right.float().mean()))
    assert "bits_per_byte" not in values
    rows = list(metrics.predictions())
    assert [row["tokens"] for row in rows] == counted.sum(1).tolist()
    assert evaluated(pipeline, 3).compute() == pytest.approx(values, rel=1e-5)


# Examples and facts


def test_examples_say_where_they_begin(texts):
    packed, single = build(spec_of(texts)), build(spec_of(texts, pack=False))
    assert packed.lengths("train") is None
    assert single.lengths("train").max() <= 24
    assert single.example("eval", 3)["text"] == (texts / "eval.txt").read_text().splitlines()[3]
    assert packed.example("eval", 0)["text"].startswith("[CLS] the")
    assert packed.example("eval", 0)["where"] == f"{texts / 'eval.txt'}:1"
    facts = packed.describe()["eval"]
    assert facts["texts"] == 25
    assert facts["examples"] == packed.size("eval") < 25
    assert facts["text_bytes"] == sum(len(t.encode()) for t in (texts / "eval.txt").read_text().splitlines())
    assert packed.domain_warnings() == []


# Models


def test_a_base_model_gets_a_new_head_and_is_loaded_whole(tiny_bert, texts):
    spec = spec_of(texts, model=ModelSpec(name=str(tiny_bert)))
    pipeline, other = build(spec), build(spec_of(texts, model=spec.model, train={"seed": 3}))
    stored = load_file(tiny_bert / "model.safetensors")
    own = pipeline.model.state_dict()
    assert all(torch.equal(own[f"bert.{n}"], t) for n, t in stored.items() if not n.startswith("pooler"))
    assert pipeline.load_report.new
    assert all(name.startswith("cls.") for name in pipeline.load_report.new)
    assert all(name.startswith("pooler.") for name in pipeline.load_report.left_over)
    assert pipeline.head == ("cls.",)
    weight = "cls.predictions.transform.dense.weight"
    assert not torch.equal(own[weight], other.model.state_dict()[weight])
    with pytest.raises(ModelError, match="tensors are missing: cls"):
        build(spec, complete=True)


@pytest.mark.parametrize("kind", ["tiny_distilbert", "tiny_roberta"])
def test_other_encoders(kind, texts, request):
    pipeline = build(spec_of(texts, model=ModelSpec(name=str(request.getfixturevalue(kind)))))
    batch = batch_of(pipeline, range(3), "train")
    output = pipeline.forward(pipeline.model.eval(), batch, ("logits",))
    full = pipeline.model(**batch.inputs).logits[batch.targets != IGNORED]
    torch.testing.assert_close(output.logits, full, rtol=1e-4, atol=1e-5)


def test_a_decoder_is_loaded_and_layers_can_be_chosen(tiny_gpt2, texts):
    model = ModelSpec(name=str(tiny_gpt2), layers=(1,))
    pipeline = build(spec_of(texts, "causal-lm", model))
    stored = load_file(tiny_gpt2 / "model.safetensors")
    own = pipeline.model.state_dict()
    assert torch.equal(own["transformer.h.0.mlp.c_fc.weight"], stored["h.1.mlp.c_fc.weight"])
    assert pipeline.load_report.new == ()
    assert pipeline.head == ()
    assert pipeline.embeddings == ("transformer.wte.", "transformer.wpe.")


def test_weights_of_a_file(tiny_bert, texts, tmp_path):
    trained = build(spec_of(texts, model=ModelSpec(name=str(tiny_bert))))
    trained.model.save_pretrained(tmp_path)
    model = ModelSpec(name=str(tiny_bert), weights=str(tmp_path / "model.safetensors"))
    again = build(spec_of(texts, model=model), complete=True)
    state = trained.model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in again.model.state_dict().items())
    random = build(spec_of(texts, model=ModelSpec(name=str(tiny_bert), weights="none")))
    assert random.load_report.loaded == 0


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("masked-lm", NEW_GPT2, r"new:gpt2 \(gpt2\) is no masked language model"),
        ("causal-lm", NEW_BERT, r"new:bert \(bert\) reads the whole text"),
        (
            "causal-lm",
            ModelSpec(name="new:marian", tokenizer="train", vocabulary=300),
            "is no causal language model",
        ),
        ("masked-lm", ModelSpec(name="new:elmo", tokenizer="train"), "there is no new:elmo"),
    ],
)
def test_models_of_another_kind_are_refused(task, model, message, texts):
    with pytest.raises(ConfigError, match=message):
        build(spec_of(texts, task, model))


def test_what_cannot_be_is_refused_before_anything_is_loaded(texts):
    with pytest.raises(ConfigError, match="max_length 65 is more than the 64 tokens"):
        build(spec_of(texts, max_length=65))
    with pytest.raises(ConfigError, match="max_length 2 leaves no room"):
        build(spec_of(texts, max_length=2))
    with pytest.raises(ModelError, match="its weights would be random"):
        build(spec_of(texts), complete=True)
    assert build(spec_of(texts, max_length=None))._max_length == SMALL.positions
    assert language_modeling.stored_labels("new:bert") is None


# Tokenizers


def test_a_tokenizer_with_other_tokens_is_refused(tiny_bert, tiny_distilbert, tiny_roberta, texts):
    own, other = (str(place) for place in (tiny_bert, tiny_roberta))
    with pytest.raises(ConfigError, match=r"model\.tokenizer: the vocabulary of .* is not that of"):
        build(spec_of(texts, model=ModelSpec(name=own, tokenizer=other)))
    with pytest.raises(ConfigError, match="already belong to the tokens"):
        build(spec_of(texts, model=ModelSpec(name=own, tokenizer="train")))
    same = build(spec_of(texts, model=ModelSpec(name=own, tokenizer=str(tiny_distilbert))))
    assert len(same._tokenizer) == len(WORDPIECES)
    new = build(spec_of(texts, model=ModelSpec(name="new:bert", tokenizer=own, shape=SMALL)))
    assert new._tokenizer.get_vocab() == same._tokenizer.get_vocab()
    assert new.model.config.vocab_size == len(WORDPIECES)


def test_the_names_of_new_models(texts, monkeypatch):
    assert origins.missing(NEW_BERT.ref()) == []
    gone = origins.missing(ModelRef(name="new:bert", tokenizer="package:no_such_package/m"))
    assert [problem.where for problem in gone] == ["model 'package:no_such_package/m'"]
    assert origins.stored_labels("new:bert") is None
    with pytest.raises(ConfigError, match="a new: model has no files"):
        origins.locate("new:bert")


# From one task to another


@pytest.mark.slow
def test_a_classifier_starts_from_a_pretrained_encoder(texts, reviews, tmp_path):
    results = run(spec_of(texts, output=tmp_path / "mlm", train={"log_every_steps": 1}))
    assert list(results["metrics"]) == ["loss", "perplexity", "masked_accuracy"]
    again = evaluation(tmp_path / "mlm")
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    spec = text_spec(tmp_path / "mlm", reviews, tmp_path / "classifier", epochs=1)
    from ptm.text import classification

    data = classification.load_data(spec)
    pipeline = classification.build(spec, data, model=spec.model.ref(), complete=False)
    stored = load_file(tmp_path / "mlm" / "model" / "model.safetensors")
    own = pipeline.model.state_dict()
    encoder = [name for name in stored if name.startswith("bert.")]
    assert len(encoder) > 20
    assert all(torch.equal(own[name], stored[name]) for name in encoder)
    new = {name.split(".weight")[0].split(".bias")[0] for name in pipeline.load_report.new}
    assert new == {"classifier", "bert.pooler.dense"}
    assert pipeline.model.config.id2label == {0: "negative", 1: "positive"}
    assert run(spec)["metrics"]["accuracy"] >= 0

    control = ModelRef(name="new:bert", tokenizer=str(tmp_path / "mlm"), shape=SMALL)
    bare = classification.build(spec, data, model=control, complete=False)
    assert bare.input_fingerprint == pipeline.input_fingerprint  # the same tokens
    assert {n: t.shape for n, t in bare.model.state_dict().items()} == {n: t.shape for n, t in own.items()}
    assert bare.load_report.loaded == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [NEW_BERT, NEW_GPT2])
def test_a_classifier_from_nothing(model, reviews, tmp_path):
    spec = text_spec(tmp_path, reviews, tmp_path / "r", epochs=1)
    from dataclasses import replace

    from ptm.text import classification

    spec = replace(spec, model=model)
    results = run(spec)
    assert results["model"]["name"] == model.name
    assert evaluation(tmp_path / "r")["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    data = classification.load_data(spec)
    with pytest.raises(ModelError, match="a new: model knows nothing"):
        classification.build(spec, data, model=model.ref(), complete=True)
    marian = ModelRef(name="new:marian", tokenizer="train", vocabulary=300)
    with pytest.raises(ConfigError, match="new:marian writes texts"):
        classification.build(spec, data, model=marian, complete=False)


# Completed texts


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    """Directories of a masked and a causal run."""
    folder = tmp_path_factory.mktemp("trained")
    for task, model in (("masked-lm", NEW_BERT), ("causal-lm", NEW_GPT2)):
        run(spec_of(texts, task, model, output=folder / task, train={"steps": 30}))
    return folder


def completed(task, texts, trained, given, batch_size=2):
    from ptm.data.examples import Dataset

    spec = spec_of(texts, task)
    (examples,) = language_modeling.read_inputs(spec, [Typed(tuple(given))])
    data = Dataset(None, examples, (), {})
    model = ModelRef(name=str(trained / task))
    pipeline = language_modeling.build(spec, data, model=model, complete=True)
    return list(evaluated(pipeline, batch_size).predictions())


@pytest.mark.slow
def test_blanks_are_filled_as_a_stranger_fills_them(texts, trained):
    from transformers import pipeline as stranger

    given = ["the film was [MASK]", "the [MASK] was really [MASK]", "the [MASK] was really really really bad"]
    rows = completed("masked-lm", texts, trained, given)
    theirs = stranger("fill-mask", str(trained / "masked-lm" / "model"), device="cpu")
    for text, row in zip(given, rows, strict=True):
        answers = theirs(text)
        answers = answers if isinstance(answers[0], list) else [answers]
        assert len(row["masks"]) == text.count("[MASK]") == len(answers)
        for mask, answer in zip(row["masks"], answers, strict=True):
            assert list(mask) == [a["token_str"].strip() for a in answer]
            # 10.3: six significant digits, however small a probability is.
            assert list(mask.values()) == pytest.approx([a["score"] for a in answer], rel=2e-4, abs=1e-12)
    first = next(iter(rows[0]["masks"][0]))
    assert rows[0]["prediction"] == f"the film was {first}"
    again = completed("masked-lm", texts, trained, given, batch_size=1)
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]


@pytest.mark.slow
def test_a_text_without_a_blank_is_named(texts, trained):
    with pytest.raises(DataError, match=r"--text 2: no \[MASK\] among its first 24 tokens"):
        completed("masked-lm", texts, trained, ["a [MASK]", "a film"])


@pytest.mark.slow
def test_texts_are_continued_as_when_alone(texts, trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = ["the film", "the hotel was really", "really " * 100]
    rows = completed("causal-lm", texts, trained, given, batch_size=3)
    place = trained / "causal-lm" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    new = SMALL.positions // 2
    for text, row in zip(given, rows, strict=True):
        ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]][-(SMALL.positions - new) :]
        begun = len(ids)
        while len(ids) < begun + new:
            with torch.no_grad():
                token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            ids.append(token)
        assert row["prediction"] == tokenizer.decode(ids[begun:])


def test_over_other_texts(texts, trained):
    spec = spec_of(texts, "masked-lm", ModelSpec(name=str(trained / "masked-lm")))
    pipeline = build(spec, complete=True)
    (examples,) = language_modeling.read_inputs(spec, [Typed(("the [MASK]",))])
    other = pipeline.with_examples(examples)
    assert other.model is pipeline.model
    assert other.size("eval") == 1
    (again,) = language_modeling.read_inputs(spec, [Typed(("a [MASK]", "b [MASK]"))])
    assert other.with_examples(again).size("eval") == 2


def test_a_saved_model_is_what_a_stranger_expects(trained):
    files = {path.name for path in (trained / "masked-lm" / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files
    config = json.loads((trained / "masked-lm" / "model" / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == load_config(trained / "masked-lm" / "config.yaml").data.max_length


@pytest.mark.slow
@pytest.mark.parametrize("task", ["masked-lm", "causal-lm"])
def test_an_adapter_for_other_texts(task, texts, trained, tmp_path):
    pytest.importorskip("peft")
    model = ModelSpec(name=str(trained / task), adapter=AdapterSpec(rank=2))
    results = run(spec_of(texts, task, model, output=tmp_path / "r", train={"steps": 4}))
    assert results["model"]["trainable_parameters"] < results["model"]["parameters"]
    again = evaluation(tmp_path / "r")
    assert again["metrics"] == pytest.approx(results["metrics"], abs=1e-5)
    plain = evaluation(trained / task)
    assert plain["metrics"]["loss"] != pytest.approx(results["metrics"]["loss"], abs=1e-5)


def test_everything_that_is_missing_is_listed_at_once(texts):
    gone = [ModelSpec(name="package:no_such_model/m"), TeacherSpec(name="package:no_such_teacher/m")]
    problems = language_modeling.missing(spec_of(texts, model=gone[0], teacher=gone[1]))
    assert [problem.where for problem in problems] == [
        "model 'package:no_such_model/m'",
        "teacher 'package:no_such_teacher/m'",
    ]
    assert language_modeling.missing(spec_of(texts)) == []
