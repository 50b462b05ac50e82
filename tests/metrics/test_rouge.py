"""ROUGE against values of Google's package rouge-score 0.1.2, which is not needed to run this."""

import pytest

from ptm.metrics.rouge import rouge

# Written, target, what RougeScorer(["rouge1", "rouge2", "rougeL"]).score(target, written) says, times 100.
REFERENCE = [
    (
        "Two dogs, running in the snow!",
        "Two dogs run through the deep snow.",
        (61.538462, 18.181818, 61.538462),
    ),
    ("a man's red hat", "The man wears a red hat", (72.727273, 22.222222, 54.545455)),
    ("nothing alike", "something else", (0.0, 0.0, 0.0)),
    ("the the the cat", "the cat sat on the mat", (60.0, 25.0, 40.0)),
]


def test_11_rouge_is_that_of_rouge_score():
    for written, target, expected in REFERENCE:
        assert list(rouge([written], [target]).values()) == pytest.approx(expected, abs=1e-5)
    texts, targets, values = zip(*REFERENCE, strict=True)
    means = [sum(column) / len(REFERENCE) for column in zip(*values, strict=True)]
    together = rouge(texts, targets)
    assert list(together) == ["rouge1", "rouge2", "rougeL"]
    assert list(together.values()) == pytest.approx(means, abs=1e-5)


def test_11_rouge_of_a_text_as_it_should_be_is_100_and_of_no_words_0():
    same = "Ein Mann läuft über die Straße."
    assert rouge([same], [same]) == {"rouge1": 100.0, "rouge2": 100.0, "rougeL": 100.0}
    assert rouge(["läuft"], [same])["rouge1"] == pytest.approx(
        100 * 2 / 7
    )  # letters of other alphabets count
    assert rouge([""], [same]) == rouge(["!"], ["…"]) == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    assert rouge(["one"], ["one"])["rouge2"] == 0.0  # no pair of words


def test_11_rouge_of_texts_without_blanks_is_of_characters():
    scores = rouge(["猫在 GPU 上睡觉。"], ["猫在GPU旁睡"])  # 6 and 5 words, 5 and 4 pairs of them
    assert scores["rouge1"] == pytest.approx(200 * 4 / 11)
    assert scores["rouge2"] == pytest.approx(200 * 2 / 9)
    assert scores["rougeL"] == pytest.approx(200 * 4 / 11)


def test_11_rouge_orders_words_of_long_texts_as_a_table_would():
    a = [f"w{(7 * k) % 50}" for k in range(180)]
    b = [f"w{(11 * k) % 60}" for k in range(140)]
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    expected = 200 * table[-1][-1] / (len(a) + len(b))
    assert rouge([" ".join(a)], [" ".join(b)])["rougeL"] == pytest.approx(expected)
