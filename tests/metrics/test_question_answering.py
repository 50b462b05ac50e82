"""SQuAD's measures, held against values that were worked out by hand from the official evaluation's rules."""

import numpy as np
import pytest

from ptm.errors import DataError
from ptm.metrics.question_answering import AnswerMetrics, FoundAnswer, exact_match, f1, normalised
from ptm.pipeline import Batch, Output


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("an apple, a pear", "apple pear"),
        ("A.B. and the THE", "ab and"),  # punctuation goes first: A.B. is no article
        ("theatre", "theatre"),
        ("«quoted»", "«quoted»"),  # ASCII punctuation alone
        ("a\u00a0b\tc", "b c"),
        ("...", ""),
    ],
)
def test_11_13_texts_are_compared_as_squad_compares_them(text, plain):
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "shared"),
    [
        ("the Saint Bernadette Soubirous", ["Saint Bernadette Soubirous"], 1, 1),
        ("in 1858 at Lourdes", ["1858"], 0, 2 * 0.25 / 1.25),
        ("Denver Broncos", ["Denver Broncos", "the Broncos", "Broncos"], 1, 1),
        ("Carolina", ["Denver Broncos", "Carolina Panthers"], 0, 2 / 3),
        ("to to be", ["to be or not to be"], 0, 2 * 3 / 9),  # words as often as they stand
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("", ["something"], 0, 0),
        ("the", ["a", "an"], 1, 1),  # such answers are none
        ("word", ["the", "word play"], 0, 2 / 3),
    ],
)
def test_11_13_exact_match_and_f1_are_those_of_squad(answer, accepted, exact, shared):
    assert exact_match(answer, accepted) == exact
    assert f1(answer, accepted) == pytest.approx(shared)


def metrics_of(*found):
    metrics = AnswerMetrics()
    for number, each in enumerate(found):
        batch = Batch(ids=np.array([number]), inputs={}, targets=None)
        metrics.update(batch, Output(loss_sum=np.float32(number), count=2, predictions=[each]))
    return metrics


def test_11_13_means_over_questions_parts_and_the_constant_answer():
    right = FoundAnswer("Ada", 0, 3, 0.75, ("Ada",))
    half = FoundAnswer("Ada wrote", 0, 9, 0.5, ("Ada", "Ben"))
    none = FoundAnswer("", None, None, 0.9, ())
    metrics = metrics_of(right, half, none)
    expected = {"loss": 0.5, "exact_match": 2 / 3, "f1": (1 + 2 / 3 + 1) / 3}
    assert metrics.compute() == pytest.approx(expected)
    assert metrics_of(right).merge([metrics]).compute()["f1"] == pytest.approx(expected["f1"])
    assert metrics.subset(np.array([1])).compute() == pytest.approx({"exact_match": 0, "f1": 2 / 3})
    summary = metrics.summary()
    assert summary.constant == pytest.approx({"exact_match": 1 / 3, "f1": 1 / 3}) and summary.answers == 3
    assert metrics_of(none).summary().only == "that there is none"
    rows = list(metrics.predictions())
    assert rows[1] == {
        "id": 1, "answer": "Ada wrote", "start": 0, "end": 9, "probability": 0.5,
        "answers": ["Ada", "Ben"], "exact_match": 0.0, "f1": 0.666667,
    }  # fmt: skip
    assert (rows[2]["start"], rows[2]["end"], rows[2]["answers"]) == (None, None, [])


def test_11_13_without_answers_there_is_nothing_to_measure():
    metrics = metrics_of(FoundAnswer("Ada", 0, 3, 1.0, None))
    assert list(metrics.predictions()) == [
        {"id": 0, "answer": "Ada", "start": 0, "end": 3, "probability": 1.0}
    ]
    for empty in (metrics, AnswerMetrics()):
        with pytest.raises(DataError):
            empty.compute()
