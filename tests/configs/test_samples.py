"""The embedded reviews: enough of them, balanced, and no sentence of the test split known from training."""

import csv
import re
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "configs" / "samples"


def read(name: str) -> list[tuple[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    found = words(text)
    return frozenset(tuple(found[i : i + size]) for i in range(len(found) - size + 1))


def overlap(a: frozenset, b: frozenset) -> float:
    """Jaccard similarity; 0 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 0.0


@pytest.mark.parametrize(("name", "least"), [("reviews_train.csv", 480), ("reviews_test.csv", 240)])
def test_size_and_balance(name, least):
    rows = read(name)
    assert len(rows) >= least
    counts = Counter(label for _, label in rows)
    assert set(counts) == {"negative", "positive"}
    assert counts["negative"] == counts["positive"]


def test_length_does_not_give_the_label_away():
    rows = read("reviews_train.csv") + read("reviews_test.csv")
    mean = {
        label: sum(len(words(text)) for text, kind in rows if kind == label) / (len(rows) / 2)
        for label in ("negative", "positive")
    }
    assert abs(mean["negative"] - mean["positive"]) < 2


@pytest.mark.slow
def test_no_sentence_stands_twice_and_none_is_nearly_another():
    train, test = read("reviews_train.csv"), read("reviews_test.csv")
    every = [" ".join(words(text)) for text, _ in train + test]
    assert len(set(every)) == len(every)
    sets = [[(shingles(text, 1), shingles(text, 3)) for text, _ in rows] for rows in (train, test)]
    for (a1, a3), (b1, b3) in product(*sets):
        assert overlap(a1, b1) < 0.6
        assert overlap(a3, b3) < 0.3
    for rows in sets:
        for (a1, _), (b1, _) in combinations(rows, 2):
            assert overlap(a1, b1) < 0.75
