"""Entities by conlleval's rule, and the metrics of tagged words, against numbers worked out by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptm.config.tags import entities, entity_tags
from ptm.errors import DataError
from ptm.metrics.tagging import TaggedWords, TagMetrics, entity_scores
from ptm.pipeline import Batch, Output

LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", []),
        ("", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("I-PER I-PER O", [("PER", 0, 1)]),  # I after O begins one
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),  # so does I of another kind
        ("I-PER I-LOC I-LOC B-LOC", [("PER", 0, 0), ("LOC", 1, 2), ("LOC", 3, 3)]),
        ("B-PER I-PER E-PER S-LOC", [("PER", 0, 2), ("LOC", 3, 3)]),
        ("E-PER E-PER I-PER", [("PER", 0, 0), ("PER", 1, 1), ("PER", 2, 2)]),
        ("B-WORK-OF-ART I-WORK-OF-ART", [("WORK-OF-ART", 0, 1)]),
    ],
)
def test_entities_by_hand(tags, found):
    assert entities(tags.split(), entity_tags(sorted({*tags.split(), "O"}))) == found


# Each scheme writes an entity of n words; whether one of its kind is right before it, or right after it.
SCHEMES = {
    "IOB1": lambda kind, n, before, after: [f"{'B' if before else 'I'}-{kind}", *[f"I-{kind}"] * (n - 1)],
    "IOB2": lambda kind, n, before, after: [f"B-{kind}", *[f"I-{kind}"] * (n - 1)],
    "IOE1": lambda kind, n, before, after: [*[f"I-{kind}"] * (n - 1), f"{'E' if after else 'I'}-{kind}"],
    "IOE2": lambda kind, n, before, after: [*[f"I-{kind}"] * (n - 1), f"E-{kind}"],
    "BIOES": lambda kind, n, before, after: placed(kind, n, "BIES"),
    "BILOU": lambda kind, n, before, after: placed(kind, n, "BILU"),
    "BMEWO": lambda kind, n, before, after: placed(kind, n, "BMEW"),
    "BIOES after the kind": lambda kind, n, before, after: [
        f"{tag[2:]}_{tag[0]}" for tag in placed(kind, n, "BIES")
    ],
}


def placed(kind, n, letters):
    begin, inside, end, single = letters
    return [f"{single}-{kind}"] if n == 1 else [f"{p}-{kind}" for p in (begin, *[inside] * (n - 2), end)]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from(["O", "PER", "LOC", "WORK-OF-ART"]), st.integers(1, 4)), max_size=8
    )
)
def test_10_18_every_scheme_is_read_back(scheme, pieces):
    """Entities written in a scheme, adjacent ones of one kind too, are found where they were put."""
    tags, spans = [], []
    for index, (kind, n) in enumerate(pieces):
        if kind == "O":
            tags += ["O"] * n
            continue
        before = index > 0 and pieces[index - 1][0] == kind
        after = index + 1 < len(pieces) and pieces[index + 1][0] == kind
        spans.append((kind, len(tags), len(tags) + n - 1))
        tags += SCHEMES[scheme](kind, n, before, after)
    cases = itertools.product(("PER", "LOC", "WORK-OF-ART"), (1, 2, 3), (False, True), (False, True))
    names = {tag for case in cases for tag in SCHEMES[scheme](*case)}
    assert entities(tags, entity_tags(["O", *sorted(names)])) == spans


def test_10_30_tags_without_a_place_are_entities_beside_o():
    known = entity_tags(["O", "PER", "LOC"])
    assert entities(["PER", "PER", "O", "LOC", "PER"], known) == [("PER", 0, 1), ("LOC", 3, 3), ("PER", 4, 4)]
    values = collect(("LOC", "O", "PER"), sentence([2, 2, 1, 0], [2, 2, 1, 1])).compute()
    assert (values["precision"], values["recall"]) == (1, 1 / 2)
    assert entity_tags(["NOUN", "VERB"]) == {}


def test_10_30_entities_stand_in_characters_of_the_text():
    metrics = TagMetrics(LABELS)
    tagged = TaggedWords(
        "Ada Lovelace, London",
        [0, 4, 12, 14],
        ["Ada", "Lovelace", ",", "London"],
        None,
        np.array([1, 3, 4, 0]),
        np.array([0.5, 1.0, 1.0, 0.25], dtype=np.float32),
    )
    output = Output(loss_sum=torch.tensor(0.0), count=4, predictions=[tagged])
    metrics.update(Batch(ids=np.array([0]), inputs={}, targets=None), output)
    (row,) = metrics.predictions()
    assert row["entities"] == [
        {"text": "Ada Lovelace", "kind": "PER", "start": 0, "end": 12, "score": 0.75},
        {"text": "London", "kind": "LOC", "start": 14, "end": 20, "score": 0.25},
    ]


def test_a_word_that_was_not_seen_ends_an_entity():
    assert entities(["B-PER", None, "I-PER"], entity_tags(LABELS)) == [("PER", 0, 0), ("PER", 2, 2)]


def test_scores_by_hand():
    """Three true entities, two said, one of them right; the other is one word too long."""
    truth = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"]
    said = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]
    scores = entity_scores([(truth, said)], entity_tags(LABELS))
    assert scores["precision"] == 1 / 2
    assert scores["recall"] == 1 / 3
    assert scores["f1"] == pytest.approx(2 / 5)
    assert scores["f1/PER"] == 1
    assert scores["f1/LOC"] == 0
    assert entity_scores([(["O"], ["O"])], entity_tags(LABELS)) == {"precision": 0, "recall": 0, "f1": 0}


def sentence(tags, predicted):
    words = [f"w{i}" for i in range(len(predicted))]
    known = None if tags is None else np.array(tags)
    starts = [3 * i for i in range(len(words))]
    return TaggedWords(
        " ".join(words), starts, words, known, np.array(predicted), np.full(len(words), 0.5, dtype=np.float32)
    )


def collect(labels, *sentences):
    parts = []
    for index, tagged in enumerate(sentences):
        part = TagMetrics(labels)
        output = Output(loss_sum=torch.tensor(1.5), count=len(tagged.words), predictions=[tagged])
        part.update(Batch(ids=np.array([index]), inputs={}, targets=None), output)
        parts.append(part)
    return parts[-1].merge(parts[:-1])


def test_words_and_entities_count_over_sentences():
    metrics = collect(LABELS, sentence([1, 3, 4], [1, 3, 0]), sentence([4, 0], [4, -1]))
    values = metrics.compute()
    assert values["accuracy"] == 3 / 5
    assert values["loss"] == 3 / 5
    assert (values["precision"], values["recall"], values["f1"]) == (1 / 2, 1 / 2, 1 / 2)
    first, second = metrics.predictions()
    assert first["words"] == ["w0", "w1", "w2"]
    assert first["tags"] == ["B-PER", "I-PER", "O"]
    assert first["predicted_tags"] == ["B-PER", "I-PER", "B-LOC"]
    assert second["predicted_tags"] == ["O", "O"]  # beyond max_length
    assert second["scores"] == [0.5, None]


def test_tags_that_name_no_entities_have_accuracy_alone():
    values = collect(("NOUN", "VERB"), sentence([0, 1], [0, -1])).compute()
    assert values == {"loss": 0.75, "accuracy": 0.5}


def test_without_tags_there_are_predictions_and_no_metrics():
    metrics = collect(LABELS, sentence(None, [4]))
    assert "tags" not in next(metrics.predictions())
    with pytest.raises(DataError, match="no tags to compare with"):
        metrics.compute()
    with pytest.raises(DataError, match="nothing was evaluated"):
        TagMetrics(LABELS).compute()
