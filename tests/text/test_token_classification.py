"""Tagged words: which tokens learn and speak, what is refused, what a stranger gets."""

import json

import numpy as np
import pytest
import torch

from helpers import run
from ptm.base.console import Silent
from ptm.config.load import load_config
from ptm.config.model_ref import ModelRef
from ptm.config.tags import entities, entity_tags
from ptm.errors import ConfigError, DataError, ModelError
from ptm.experiment.train import run_training
from ptm.text import token_classification
from tiny import prepare
from tiny.samples import tagged_sentences, write_jsonl

ROWS = [
    {"words": ["the", "film", "was", "xylophonic"], "tags": ["O", "B-THING", "O", "B-GOOD"]},
    {"words": ["good"], "tags": ["B-GOOD"]},
    {"words": ["the", "soup", "book"], "tags": ["O", "B-THING", "I-THING"]},
]


@pytest.fixture
def world(tmp_path):
    config = prepare("token-classification", tmp_path)
    folder = tmp_path / "data" / "token-classification"

    def make(rows=ROWS, *changes, model="bert"):
        if rows is not None:
            for name in ("train", "eval"):
                write_jsonl(folder / f"{name}.jsonl", rows)
        return load_config(config, [f"output={json.dumps(str(tmp_path / 'r'))}", *changes])

    return make


def build(spec, **how):
    data = token_classification.load_data(spec)
    complete = how.pop("complete", False)
    return token_classification.build(spec, data, model=how.pop("model", spec.model.ref()), complete=complete)


def evaluated(pipeline, ids):
    pipeline.model.eval()
    (batch,) = pipeline.batches("eval", [np.array(ids)], 0)
    with torch.no_grad():
        return batch, pipeline.evaluate_batch(pipeline.model, batch)


# One batch


def test_the_first_token_of_a_word_has_its_tag_and_no_other(world):
    pipeline = build(world())
    batch, output = evaluated(pipeline, [0, 1])
    labels = ("B-GOOD", "B-THING", "I-THING", "O")
    assert pipeline.labels == labels
    pieces = batch.inputs["input_ids"].shape[1]
    assert pieces == 2 + 3 + len("xylophonic")  # the last word is unknown, and cut into letters
    targets = batch.targets.tolist()
    assert targets[0] == [-100, 3, 1, 3, 0, *[-100] * (pieces - 5)]
    assert targets[1] == [-100, 0, *[-100] * (pieces - 2)]
    assert output.targets.tolist() == [3, 1, 3, 0, 0]
    assert output.count == 5
    whole = pipeline.model(**{k: v for k, v in batch.inputs.items() if k != "first"}).logits
    torch.testing.assert_close(output.logits, torch.cat([whole[0, 1:5], whole[1, 1:2]]))
    by_hand = -output.logits.log_softmax(-1)[torch.arange(5), output.targets].sum()
    torch.testing.assert_close(output.loss_sum, by_hand)


def test_what_is_predicted_is_put_back_to_the_words(world):
    pipeline = build(world())
    _, output = evaluated(pipeline, [2, 0])
    first, second = output.predictions
    assert first.words == ["the", "soup", "book"]
    assert first.tags.tolist() == [3, 1, 2]
    assert first.predicted.tolist() == output.logits[:3].argmax(-1).tolist()
    assert second.predicted.tolist() == output.logits[3:].argmax(-1).tolist()
    torch.testing.assert_close(
        torch.from_numpy(second.probabilities), output.logits[3:].softmax(-1).max(-1).values
    )


def test_a_word_beyond_max_length_is_counted_and_said_to_be_outside(world):
    pipeline = build(world(ROWS, "data.max_length=4"))
    facts = pipeline.describe()["eval"]
    assert (facts["words"], facts["words_cut_off"], facts["cut_to_max_length"]) == (8, 3, 2)
    _, output = evaluated(pipeline, [0])
    assert output.count == 2
    assert output.predictions[0].predicted.tolist()[2:] == [-1, -1]
    metrics = pipeline.new_metrics()
    batch, output = evaluated(pipeline, [0, 1, 2])
    metrics.update(batch, output)
    rows = list(metrics.predictions())
    assert rows[0]["predicted_tags"][2:] == ["O", "O"]
    assert rows[2]["predicted_tags"][2:] == ["O"]
    assert metrics.compute()["recall"] <= 2 / 4


def test_a_word_without_a_token_is_counted(world):
    rows = [{"words": ["good", "\u200b", "film"], "tags": ["O", "O", "B-THING"]}] * 2
    pipeline = build(world(rows))
    assert pipeline.describe()["train"]["words_without_token"] == 2
    _, output = evaluated(pipeline, [0])
    assert output.targets.tolist() == [1, 0]
    assert output.predictions[0].predicted.tolist()[1] == -1


def test_without_tags_it_predicts_all_the_same(world, tmp_path):
    spec = world()
    pipeline = build(spec)
    (piece,) = token_classification.read_inputs(spec, [write_jsonl(tmp_path / "new.jsonl", ROWS)])
    text = tmp_path / "new.txt"
    text.write_text("the soup book\ngood\n")
    (plain,) = token_classification.read_inputs(spec, [text])
    assert plain.columns["words"] == [
        "the soup book",
        "good",
    ]  # cut by the pipeline, as its model's words were
    for examples, ids in ((piece, [2, 1]), (plain, [0, 1])):
        other = pipeline.with_examples(examples)
        batch, output = evaluated(other, ids)
        assert batch.targets is None
        assert output.predictions[0].tags is None
        torch.testing.assert_close(output.logits, evaluated(pipeline, [2, 1])[1].logits)


# Architectures


@pytest.mark.parametrize("kind", ["tiny_distilbert", "tiny_roberta", "tiny_gpt2"])
def test_every_architecture_finds_the_beginnings_of_words(kind, world, request):
    pipeline = build(world(ROWS, f"model.name={request.getfixturevalue(kind)}"))
    _, output = evaluated(pipeline, [0, 1, 2])
    assert output.count == 8
    tokens = pipeline._encodings["eval"].words
    for row, sentence in enumerate(ROWS):
        part = slice(tokens.tokens.starts[row], tokens.tokens.starts[row + 1])
        words = tokens.words[part]
        assert words[words >= 0].tolist() == list(range(len(sentence["words"])))
    _, alone = evaluated(pipeline, [1])
    torch.testing.assert_close(output.logits[4:5], alone.logits, rtol=1e-4, atol=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, r"train\.jsonl:2: 2 words, 1 tags"),
        ({"words": [], "tags": []}, r"train\.jsonl:2: a sentence without words"),
        ({"words": "a b", "tags": ["O", "O"]}, r"train\.jsonl:2: the words are 'a b'"),
        ({"words": ["a", " "], "tags": ["O", "O"]}, r"train\.jsonl:2: word 2 is ' '"),
        ({"words": ["a"], "tags": "O"}, r"train\.jsonl:2: the tags are 'O'"),
        ({"words": ["a"], "tags": [None]}, r"train\.jsonl:2, tag 1: label None"),
    ],
)
def test_rows_that_are_no_tagged_sentences_are_named(world, row, message):
    spec = world([ROWS[0], row])
    with pytest.raises(DataError, match=message):
        build(spec)


def test_a_tag_that_training_does_not_know_is_named(world, tmp_path):
    spec = world()
    other = [{"words": ["good"], "tags": ["B-NEW"]}]
    write_jsonl(tmp_path / "data" / "token-classification" / "eval.jsonl", other)
    with pytest.raises(DataError, match=r"eval\.jsonl:1, tag 1: label 'B-NEW' is not one of the 4 labels"):
        build(spec)


def test_the_column_of_tags_may_be_called_otherwise(world):
    renamed = [{"tokens": row["words"], "label": row["tags"]} for row in ROWS]
    assert build(world(renamed, "data.text=tokens")).size("train") == 3
    renamed = [{"words": row["words"], "ner": row["tags"]} for row in ROWS]
    assert build(world(renamed, "data.label=ner")).size("train") == 3
    with pytest.raises(DataError, match="no column 'tags'"):
        build(world(renamed))


# Saved models


@pytest.mark.slow
def test_a_stranger_gets_the_same_entities(world, tmp_path):
    from transformers import pipeline as stranger

    spec = world(None)
    results = run(spec)
    assert results["metrics"]["f1"] > 0.9
    theirs = stranger(
        "token-classification", str(tmp_path / "r" / "model"), aggregation_strategy="first", device="cpu"
    )
    rows = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    for row in rows[:6]:
        found = [(group["word"], group["entity_group"]) for group in theirs(" ".join(row["words"]))]
        ours = [
            (" ".join(row["words"][first : last + 1]), kind)
            for kind, first, last in entities(row["predicted_tags"], entity_tags(results["labels"]))
        ]
        assert ours == [(entity["text"], entity["kind"]) for entity in row["entities"]]
        assert found == ours


def test_a_teacher_with_its_labels_in_another_order_answers_in_ours(world, tmp_path):
    turned = ("O", "I-THING", "B-THING", "B-GOOD")
    original = build(world(ROWS, f"data.labels=[{', '.join(turned)}]"))
    folder = tmp_path / "teacher"
    folder.mkdir()
    original.save_model(folder)
    spec = world()
    teacher = build(spec, model=ModelRef(role="teacher", name=str(folder)), complete=True)
    assert teacher.labels == turned[::-1]
    theirs, ours = (evaluated(p, [0, 1, 2])[1] for p in (original, teacher))
    torch.testing.assert_close(ours.logits, theirs.logits.flip(-1))
    torch.testing.assert_close(ours.loss_sum, theirs.loss_sum)
    assert token_classification.stored_labels(str(folder)) == turned
    with pytest.raises(ModelError, match="output"):
        build(world(tagged_sentences(8, 1)), model=ModelRef(name=str(folder)), complete=True)


# Metrics


@pytest.mark.slow
def test_10_18_entity_metrics_of_tags_without_names_are_refused_before_the_first_step(world):
    """Tags are numbers here, and nothing says which of them begins a name."""
    rows = [{"words": ["good", "film"], "tags": [0, number % 3]} for number in range(8)]
    spec = world(rows, "best.metric=f1")
    reporter = Counting()
    with pytest.raises(ConfigError, match="no metric 'f1' with these labels") as caught:
        run_training(spec, mode="new", reporter=reporter)
    assert reporter.steps == 0
    (problem,) = caught.value.problems
    assert "f1 counts entities, and these labels name none: 0, 1, 2" in problem.expected
    assert problem.cure.startswith("name the tags in the order of their numbers: data.labels: [O, B-PER")
    named = world(rows, "best.metric=f1", "data.labels=[O, B-PER, I-PER]")
    assert "f1" in run_training(named, mode="new", reporter=reporter).metrics
    with pytest.raises(ConfigError, match="f1 counts entities"):
        world(rows, "best.metric=f1", "data.labels=[NOUN, VERB, ADJ]")


class Counting(Silent):
    steps = 0

    def advance(self, done, note):
        self.steps += 1
