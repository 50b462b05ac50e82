"""The text pipeline: what a batch computes, what is refused before training, what a stranger gets."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

from helpers import evaluation, run, text_spec
from ptm.config.model_ref import ModelRef
from ptm.config.spec import TeacherSpec
from ptm.errors import ConfigError, DataError
from ptm.text import classification, origins
from tiny.samples import POSITIONS, sentences, write_csv

KINDS = ("tiny_bert", "tiny_distilbert", "tiny_roberta", "tiny_gpt2")


@pytest.fixture(params=KINDS)
def tiny(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def pairs(tmp_path):
    """Two texts a row; the label says whether they are of one class."""
    rows = [
        (one, other, "same" if a == b else "other")
        for (one, a), (other, b) in zip(sentences(24, 1), sentences(30, 2)[3:27], strict=True)
    ]
    rows += [(one, one, "same") for one, _, _ in rows[:6]]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("train", "eval"):
        write_csv(folder / f"{name}.csv", rows, ("text", "second", "label"))
    return folder


def build(place, data, tmp_path, model=None, complete=False, **changes):
    spec = text_spec(place, data, tmp_path / "r", **changes)
    dataset = classification.load_data(spec)
    return classification.build(spec, dataset, model=model or spec.model.ref(), complete=complete)


def sharpened(pipeline):
    """Larger weights: fresh ones are so small that any two texts come out nearly alike."""
    with torch.no_grad():
        for parameter in pipeline.model.parameters():
            if parameter.ndim == 2:
                parameter *= 8
    return pipeline


def logits(pipeline, rows, split="eval"):
    pipeline.model.eval()
    (batch,) = pipeline.batches(split, [np.array(rows)], 0)
    with torch.no_grad():
        return pipeline.forward(pipeline.model, batch)


# One batch


def test_logits_of_a_text_do_not_depend_on_what_it_is_padded_beside(tiny, reviews, tmp_path):
    pipeline = sharpened(build(tiny, reviews, tmp_path))
    lengths = pipeline.lengths("eval")
    short, long = int(lengths.argmin()), int(lengths.argmax())
    assert lengths[short] < lengths[long]
    alone, beside = logits(pipeline, [short]), logits(pipeline, [long, short, long])
    torch.testing.assert_close(beside.logits[1:2], alone.logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone.logits, beside.logits[:1], rtol=0, atol=1e-2)


def test_a_decoder_whose_config_names_another_pad_token_is_not_misled(tiny_gpt2, reviews, tmp_path):
    folder = tmp_path / "gpt2"
    shutil.copytree(tiny_gpt2, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 7}))
    pipeline = sharpened(build(folder, reviews, tmp_path))
    short, long = (int(pick(pipeline.lengths("eval"))) for pick in (np.argmin, np.argmax))
    alone, beside = logits(pipeline, [short]), logits(pipeline, [long, short])
    torch.testing.assert_close(beside.logits[1:], alone.logits, rtol=1e-4, atol=1e-4)


def test_the_loss_is_a_sum_smoothed_in_training_only(tiny_bert, reviews, tmp_path):
    pipeline = build(tiny_bert, reviews, tmp_path, label_smoothing=0.3)
    output = logits(pipeline, [0, 1, 2])
    targets = torch.tensor([0, 1, 0])
    expected = -output.logits.log_softmax(-1)[torch.arange(3), targets].sum()
    torch.testing.assert_close(output.loss_sum, expected)
    assert output.count == 3
    assert output.logits.dtype == torch.float32
    for module in pipeline.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    pipeline.model.train()
    (batch,) = pipeline.batches("eval", [np.array([0, 1, 2])], 0)
    smoothed = pipeline.forward(pipeline.model, batch)
    uniform = -output.logits.log_softmax(-1).mean(-1).sum()
    torch.testing.assert_close(smoothed.loss_sum, 0.7 * expected + 0.3 * uniform)


# Pairs


def test_pairs_go_through_every_architecture_and_depend_on_their_order(tiny, pairs, tmp_path):
    pipeline = sharpened(build(tiny, pairs, tmp_path, text_pair="second", labels=("same", "other")))
    (batch,) = pipeline.batches("eval", [np.array([0, 1])], 0)
    assert ("token_type_ids" in batch.inputs) == (pipeline.model.config.model_type == "bert")
    turned = write_turned(pairs, tmp_path / "turned")
    swapped = sharpened(build(tiny, turned, tmp_path, text_pair="second", labels=("same", "other")))
    assert not torch.allclose(logits(pipeline, [0]).logits, logits(swapped, [0]).logits, rtol=0, atol=1e-2)


@pytest.mark.slow
def test_10_13_a_decoder_sees_where_the_second_text_of_a_pair_begins(tiny_gpt2, tmp_path):
    """All that the labels depend on is where the border is: glued together, the pairs are the same tokens."""
    words = ["the", "film", "was", "really", "good"]
    rows = []
    for more, again in itertools.product(range(3), range(1, 5)):
        text = [*words[: more + 3], *words[:again]]
        for border, label in ((2, "early"), (3, "late")):
            rows.append((" ".join(text[:border]), " " + " ".join(text[border:]), label))
    for name in ("train.csv", "eval.csv"):
        write_csv(tmp_path / name, rows, ("text", "second", "label"))
    how = {"text_pair": "second", "labels": ("early", "late"), "epochs": 40, "learning_rate": 1e-2}
    spec = text_spec(tiny_gpt2, tmp_path, tmp_path / "r", **how)
    assert run(spec)["metrics"]["accuracy"] == 1.0
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(tmp_path / "r" / "model")
    first, second = (saved(*pair)["input_ids"] for pair in (("the film", " was"), ("the", " film was")))
    assert sorted(first) == sorted(second)
    assert first != second
    assert first.count(saved.eos_token_id) == 1
    assert saved("the film was")["input_ids"] == [token for token in first if token != saved.eos_token_id]
    assert evaluation(tmp_path / "r")["metrics"]["accuracy"] == 1.0


def test_10_13_a_trained_decoder_reads_pairs_as_it_was_trained(tiny_gpt2, pairs, tmp_path):
    """One that somebody trained without a separator is evaluated without."""
    columns = {"text_pair": "second", "labels": ("same", "other")}
    build(tiny_gpt2, pairs, tmp_path, **columns).save_model(tmp_path / "m")
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_gpt2).save_pretrained(tmp_path / "m")
    spec = text_spec(tmp_path / "m", pairs, tmp_path / "r", **columns)
    data = classification.load_data(spec)
    trained = classification.build(spec, data, model=ModelRef(name=str(tmp_path / "m")), complete=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    (batch,) = trained.batches("eval", [np.array([0])], 0)
    row = [data.eval.columns[role][0] for role in ("text", "text_pair")]
    assert batch.inputs["input_ids"][0].tolist() == tokenizer(*row)["input_ids"]
    assert tokenizer.eos_token_id not in batch.inputs["input_ids"]


def write_turned(pairs, folder):
    folder.mkdir()
    for name in ("train", "eval"):
        text = (pairs / f"{name}.csv").read_text().replace("text,second", "second,text", 1)
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_token_types_count(tiny_bert, pairs, tmp_path):
    pipeline = sharpened(build(tiny_bert, pairs, tmp_path, text_pair="second", labels=("same", "other")))
    (batch,) = pipeline.batches("eval", [np.array([0])], 0)
    types = batch.inputs["token_type_ids"][0].tolist()
    separators = [i for i, t in enumerate(batch.inputs["input_ids"][0].tolist()) if t == 3]
    assert types == [0] * (separators[0] + 1) + [1] * (separators[1] - separators[0])
    pipeline.model.eval()
    with torch.no_grad():
        with_types = pipeline.model(**batch.inputs).logits
        without = pipeline.model(input_ids=batch.inputs["input_ids"]).logits
    assert not torch.allclose(with_types, without, rtol=0, atol=1e-2)


@pytest.mark.parametrize("kind", ["tiny_distilbert", "tiny_roberta", "tiny_gpt2"])
def test_a_tokenizer_with_types_for_a_model_without_does_no_harm(kind, pairs, request, tmp_path):
    """GPT-2 would take a token type for a word."""
    folder = tmp_path / "m"
    shutil.copytree(request.getfixturevalue(kind), folder)
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text()) | {
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]
    }
    path.write_text(json.dumps(content))
    pipeline = build(folder, pairs, tmp_path, text_pair="second", labels=("same", "other"))
    assert "token_type_ids" in pipeline._tokenizer.model_input_names
    (batch,) = pipeline.batches("eval", [np.array([0, 1])], 0)
    assert "token_type_ids" not in batch.inputs
    assert logits(pipeline, [0, 1]).logits.isfinite().all()


# Lengths


def test_texts_as_long_as_the_model_takes_go_through(tiny, tmp_path):
    for name in ("train", "eval"):
        rows = [("good " * 200, "positive"), ("bad " * 200, "negative")]
        write_csv(tmp_path / f"{name}.csv", rows)
    pipeline = build(tiny, tmp_path, tmp_path)  # by default as much as the model takes, at most 128
    assert pipeline.lengths("eval").tolist() == [POSITIONS, POSITIONS]
    assert logits(pipeline, [0, 1]).logits.isfinite().all()
    assert pipeline.describe()["eval"] == {
        "examples": 2,
        "tokens": 2 * POSITIONS,
        "longest_tokens": POSITIONS,
        "cut_to_max_length": 2,
    }


def test_max_length_beyond_what_the_model_takes_is_refused(tiny, reviews, tmp_path):
    with pytest.raises(ConfigError, match=rf"max_length {POSITIONS + 1} is more than the {POSITIONS} tokens"):
        build(tiny, reviews, tmp_path, max_length=POSITIONS + 1)
    assert build(tiny, reviews, tmp_path, max_length=POSITIONS).lengths("eval").max() <= POSITIONS


def test_max_length_that_leaves_no_room_is_refused(tiny_bert, tiny_gpt2, pairs, reviews, tmp_path):
    """The tokenizer would not cut at all."""
    with pytest.raises(ConfigError, match="leaves no room for a text: the tokenizer adds 2 tokens"):
        build(tiny_bert, reviews, tmp_path, max_length=2)
    with pytest.raises(ConfigError, match="set it to 4 or more"):
        build(tiny_bert, pairs, tmp_path, max_length=3, text_pair="second", labels=("same", "other"))
    assert build(tiny_bert, reviews, tmp_path, max_length=3).lengths("eval").max() == 3
    assert build(tiny_gpt2, reviews, tmp_path, max_length=2).lengths("eval").max() == 2


def test_rows_without_a_text_are_named(tiny_bert, tmp_path):
    for name in ("train", "eval"):
        write_csv(tmp_path / f"{name}.csv", [("good", "positive"), ("", "negative")])
    with pytest.raises(DataError, match=r"eval\.csv:3: no text here"):
        build(tiny_bert, tmp_path, tmp_path)


# Views, examples


def test_the_view_names_tokenizer_and_length(tiny_bert, tiny_distilbert, tiny_roberta, reviews, tmp_path):
    bert, distilbert, roberta = (
        build(place, reviews, tmp_path) for place in (tiny_bert, tiny_distilbert, tiny_roberta)
    )
    assert bert.input_fingerprint == distilbert.input_fingerprint != roberta.input_fingerprint
    assert build(tiny_bert, reviews, tmp_path, max_length=20).input_fingerprint != bert.input_fingerprint


def test_an_example_can_be_shown(tiny_bert, pairs, tmp_path):
    pipeline = build(tiny_bert, pairs, tmp_path, text_pair="second", labels=("same", "other"))
    shown = pipeline.example("eval", 0)
    assert shown["where"] == f"{pairs / 'eval.csv'}:2"
    assert " ⟂ " in shown["text"]


# Saved models and teachers


def test_a_stranger_gets_the_same_prediction_and_our_names(tiny, reviews, tmp_path):
    from transformers import pipeline as stranger

    ours = sharpened(build(tiny, reviews, tmp_path))
    folder = tmp_path / "model"
    folder.mkdir()
    ours.save_model(folder)
    theirs = stranger("text-classification", str(folder), device="cpu")
    texts = [ours.example("eval", i)["text"] for i in range(4)]
    probabilities = logits(ours, range(4)).logits.softmax(-1)
    for batch_size in (1, 4):
        for answer, row in zip(theirs(texts, batch_size=batch_size), probabilities, strict=True):
            assert answer["label"] == ours.labels[int(row.argmax())]
            assert answer["score"] == pytest.approx(float(row.max()), abs=1e-4)
    assert theirs("really " * 300, truncation=True)[0]["label"] in ours.labels
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"] is None
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".json", ".json", ".safetensors"]
    again = build(tiny, reviews, tmp_path, model=ModelRef(name=str(folder)), complete=True)
    torch.testing.assert_close(logits(again, range(4)).logits, logits(ours, range(4)).logits)
    assert again.input_fingerprint == ours.input_fingerprint


def test_a_teacher_with_its_labels_in_another_order_answers_in_ours(tiny, tmp_path):
    rows = [("good film", "a"), ("bad film", "b"), ("the film was really good", "c")] * 2
    for name in ("train", "eval"):
        write_csv(tmp_path / f"{name}.csv", rows)
    original = sharpened(build(tiny, tmp_path, tmp_path, labels=("c", "a", "b")))
    folder = tmp_path / "teacher"
    folder.mkdir()
    original.save_model(folder)
    model = ModelRef(role="teacher", name=str(folder))
    teacher = build(tiny, tmp_path, tmp_path, model=model, complete=True, labels=("a", "b", "c"))
    assert teacher.labels == ("a", "b", "c")
    theirs, ours = logits(original, range(6)), logits(teacher, range(6))
    torch.testing.assert_close(ours.logits, theirs.logits[:, [1, 2, 0]])
    torch.testing.assert_close(ours.loss_sum, theirs.loss_sum)
    copy = tmp_path / "copy"
    copy.mkdir()
    teacher.save_model(copy)  # its outputs keep their own names
    assert origins.stored_labels(str(copy)) == ("c", "a", "b")


@pytest.mark.parametrize(
    ("trained", "asked", "student", "read"),
    [(None, None, 12, 12), (9, None, 12, 9), (9, None, 7, 9), (None, 8, 12, 8), (9, 8, 12, 8)],
)
def test_10_04_a_teacher_reads_as_much_of_a_text_as_it_was_trained_on(
    tiny_bert, reviews, tmp_path, trained, asked, student, read
):
    """``trained``: what its tokenizer says; its positions are more."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    build(tiny_bert, reviews, tmp_path).save_model(folder)
    if trained is not None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["model_max_length"] = trained
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    teacher = TeacherSpec(name=str(folder), max_length=asked)
    long = tmp_path / "long"
    long.mkdir()
    for name in ("train", "eval"):
        write_csv(long / f"{name}.csv", [("good film " * 20, "positive"), ("bad film " * 20, "negative")])
    options = {"teacher": teacher, "max_length": student}
    taught = build(tiny_bert, long, tmp_path, model=teacher.refs()[0], complete=True, **options)
    assert taught.lengths("train").tolist() == [read, read]
    assert build(tiny_bert, long, tmp_path, **options).lengths("train").tolist() == [student, student]
    assert taught.reads == f"texts of at most {read} tokens"


# What would have to be downloaded


def test_everything_that_is_missing_is_listed_at_once(monkeypatch, tmp_path, tiny_bert, reviews):
    import huggingface_hub
    from datasets import config

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path)
    teacher = TeacherSpec(name="package:no_such_package/m")
    spec = text_spec("someone/model", reviews, tmp_path / "r", source="hub:someone/data", teacher=teacher)
    problems = classification.missing(spec)
    assert [p.where for p in problems] == [
        "model 'someone/model'",
        "teacher 'package:no_such_package/m'",
        "data hub:someone/data",
    ]
    assert classification.missing(text_spec(tiny_bert, reviews, tmp_path / "r")) == []


def test_every_teacher_that_is_missing_is_listed(monkeypatch, tmp_path, tiny_bert, reviews):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    teacher = TeacherSpec(name=str(tiny_bert), others=("package:no_such_package/m",))
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", teacher=teacher)
    assert [p.where for p in classification.missing(spec)] == ["teacher 'package:no_such_package/m'"]
