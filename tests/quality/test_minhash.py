"""Near-duplicate texts, against all pairs compared one by one."""

import random
from itertools import combinations

import pytest

from ptm.quality import minhash
from ptm.quality.candidates import NearPairs
from ptm.quality.minhash import near, near_pairs


def test_12_05_all_near_pairs_of_a_naive_comparison():
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(400)]
    texts = [" ".join(draw.choices(words, k=draw.randint(5, 30))) for _ in range(150)]
    for i in range(0, 100, 2):
        parts = texts[i].split()
        parts[draw.randrange(len(parts))] = draw.choice(words)
        texts.append(" ".join(parts))
    texts = list(dict.fromkeys(texts))
    naive = {(i, j) for i, j in combinations(range(len(texts)), 2) if near(texts[i], texts[j])}
    pairs = {(i, j) for i, j, _ in near_pairs(texts).found}
    assert pairs == naive and len(naive) > 10


@pytest.mark.parametrize(
    ("a", "b", "similar"),
    [
        ("worth every cent", "worth evry cent", True),
        ("a dull film", "a dull film!!!", True),
        ("the film is good", "the film is bad", False),
        ("room 12 has a bed", "room 13 has a bed", False),
        ("这部电影非常好看我很喜欢", "这部电影非常好看我很喜欢。", True),
        ("abc " * 100 + "a long text ends", "abc " * 100 + "a long text ended", True),
    ],
)
def test_12_05_what_is_near(a, b, similar):
    assert bool(near_pairs([a, "something else", b]).found) is similar


def test_12_05_a_pair_on_the_border_between_short_and_long_texts():
    draw = random.Random(2)
    for length in range(236, 364, 9):
        text = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=length))
        assert len(near_pairs([text, text + "xyz ab", "another"]).found) == 1


def test_12_05_no_text_and_one_text():
    assert near_pairs([]) == near_pairs(["one"]) == near_pairs(["", "a", "b"]) == NearPairs([])


def test_15_15_texts_of_one_template_are_compared_up_to_a_limit(monkeypatch):
    texts = [f"class number {number} of the kind" for number in range(500)]
    long = "a film of rare warmth, quick and never loud, that one wants to see again before it is over "
    texts += [long * 2, f"{long * 2}x"]
    every = near_pairs(texts)
    monkeypatch.setattr(minhash, "MOST_PAIRS", 300)
    some = near_pairs(texts)
    assert every.limit is None and some.limit == 300
    assert set(some.found) < set(every.found) and len(some.found) <= 300
    assert (500, 501) in {(i, j) for i, j, _ in some.found}  # what is most alike is compared first


def test_15_15_long_texts_that_are_nearly_equal_are_compared_up_to_a_limit(monkeypatch):
    texts = [f"{'ab cd ' * 200} {number} x" for number in range(40)]
    monkeypatch.setattr(minhash, "MOST_CHARACTERS", 50_000)
    assert near_pairs(texts).limit == 20  # pairs of two texts of 1,200 characters
