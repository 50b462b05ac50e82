"""The embedded tagged sentences: enough of them, well-formed tags, no name of the test split known from training."""

import json
from pathlib import Path

from ptm.config.tags import entities, entity_tags

FOLDER = Path(__file__).parents[2] / "configs" / "samples"


def read(name: str) -> list[dict[str, list[str]]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def names(rows: list[dict[str, list[str]]]) -> set[str]:
    known = entity_tags(sorted({tag for row in rows for tag in row["tags"]}))
    return {
        " ".join(row["words"][first : last + 1])
        for row in rows
        for _, first, last in entities(row["tags"], known)
    }


def test_every_word_has_a_tag_and_inside_follows_beginning():
    for row in read("tags_train.jsonl") + read("tags_test.jsonl"):
        assert len(row["words"]) == len(row["tags"])
        for before, tag in zip(["O", *row["tags"]], row["tags"], strict=False):
            assert tag in ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
            assert not tag.startswith("I-") or before[1:] == tag[1:]


def test_size_and_no_sentence_twice():
    train, test = read("tags_train.jsonl"), read("tags_test.jsonl")
    assert len(train) >= 140
    assert len(test) >= 50
    sentences = [tuple(row["words"]) for row in train + test]
    assert len(set(sentences)) == len(sentences)


def test_no_name_of_the_test_split_stands_in_training():
    assert names(read("tags_train.jsonl")).isdisjoint(names(read("tags_test.jsonl")))
