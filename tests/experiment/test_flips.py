"""Which examples flipped, by hand."""

import numpy as np
import pytest

from ptm.experiment.comparison import MEASURES, paired_scores
from ptm.experiment.flips import flips_of
from ptm.experiment.verdict import PairedScores

# Of each example, right (1) or wrong (0), in three seeds.
CANDIDATE = [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 1]]
BASELINE = [[0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 1]]


def rows(scores):
    return {k + 10: {"label": "a", "input": f"text {k}", "prediction": "ba"[s]} for k, s in enumerate(scores)}


def pair(seed):
    return PairedScores(
        seed=seed, candidate=np.array(CANDIDATE[seed], float), baseline=np.array(BASELINE[seed], float)
    )


def test_12_04_an_example_flips_the_way_of_most_seeds():
    both = [(rows(ours), rows(theirs)) for ours, theirs in zip(CANDIDATE, BASELINE, strict=True)]
    found = flips_of([pair(0), pair(1), pair(2)], both)
    better, worse = found["only_candidate_right"], found["only_baseline_right"]
    # The last was won once and lost once: no flip.
    assert [(flip["id"], flip["seeds"]) for flip in better["examples"]] == [(10, 2)]
    assert [(flip["id"], flip["seeds"]) for flip in worse["examples"]] == [(12, 2)]
    assert (better["count"], better["of"], worse["count"]) == (1, 3, 1)
    assert better["examples"][0]["candidate"] == "a" and better["examples"][0]["baseline"] == "b"
    assert worse["examples"][0]["input"] == "text 2" and worse["examples"][0]["baseline"] == "a"


def test_12_04_one_seed_counts_no_seeds():
    found = flips_of([pair(1)], [(rows(CANDIDATE[1]), rows(BASELINE[1]))])
    assert [flip["id"] for flip in found["only_candidate_right"]["examples"]] == [13]
    assert "seeds" not in found["only_candidate_right"]["examples"][0]


def test_12_04_scores_between_right_and_wrong_and_other_examples_flip_nothing():
    partly = PairedScores(seed=0, candidate=np.array([0.5]), baseline=np.array([1.0]))
    assert flips_of([partly], [(rows([1]), rows([0]))]) is None
    others = [(rows(CANDIDATE[0]), rows(BASELINE[0])), (rows([1, 0]), rows([0, 0]))]
    assert (
        flips_of([pair(0), PairedScores(seed=1, candidate=np.ones(2), baseline=np.zeros(2))], others) is None
    )


@pytest.mark.parametrize(
    ("comparison", "right", "wrong", "shown"),
    [
        ("pairs", {"similarity": 0.9, "rank": 1}, {"similarity": 0.1, "rank": 4}, (1, 4)),
        (
            "answers",
            {"answer": "Ada", "answers": ["Ada"], "f1": 1.0},
            {"answer": "Ben", "answers": ["Ada"], "f1": 0.0},
            ("Ada", "Ben"),
        ),
        ("masked tokens", {"right": 1, "tokens": 1}, {"right": 0, "tokens": 1}, (None, None)),
    ],
)
def test_15_08_answers_of_every_task_flip(comparison, right, wrong, shown):
    """Predictions of pairs and of questions were called damaged wherever two runs differed in an example."""
    ours = {number: {"id": number, "where": "a", **right} for number in range(2)}
    theirs = {**ours, 1: {"id": 1, "where": "a", **wrong}}
    scored = paired_scores(MEASURES[comparison], ours, theirs, 1)
    (flip,) = flips_of([scored], [(ours, theirs)])["only_candidate_right"]["examples"]
    assert (flip["candidate"], flip["baseline"]) == shown
    assert flip.get("answers") == right.get("answers")
