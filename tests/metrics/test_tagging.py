"""Entities by conlleval's rule, and the metrics of tagged words, against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.metrics.tagging import TaggedWords, TagMetrics, entities, entity_scores
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
    assert entities(tags.split()) == found


def test_a_word_that_was_not_seen_ends_an_entity():
    assert entities(["B-PER", None, "I-PER"]) == [("PER", 0, 0), ("PER", 2, 2)]


def test_scores_by_hand():
    """Three true entities, two said, one of them right; the other is one word too long."""
    truth = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"]
    said = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]
    scores = entity_scores([(truth, said)])
    assert scores["precision"] == 1 / 2
    assert scores["recall"] == 1 / 3
    assert scores["f1"] == pytest.approx(2 / 5)
    assert scores["f1/PER"] == 1
    assert scores["f1/LOC"] == 0
    assert entity_scores([(["O"], ["O"])]) == {"precision": 0, "recall": 0, "f1": 0}


def sentence(tags, predicted):
    words = [f"w{i}" for i in range(len(predicted))]
    known = None if tags is None else np.array(tags)
    return TaggedWords(words, known, np.array(predicted), np.full(len(words), 0.5, dtype=np.float32))


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
