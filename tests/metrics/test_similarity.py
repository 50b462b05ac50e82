"""Embeddings that are measured: against scipy, and against places that are counted one by one."""

import numpy as np
import pytest
import torch
from scipy import stats

from ptm.metrics.similarity import NeighbourMetrics, RetrievalMetrics, ScoreMetrics
from ptm.pipeline import Batch, Output

DRAW = np.random.default_rng(3)


def directions(*shape):
    vectors = DRAW.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


PAIRS = directions(40, 2, 5)
NUMBERS = np.arange(40)
NUMBERS[7] = NUMBERS[3]  # the same text is the second of two pairs
PAIRS[7, 1] = PAIRS[3, 1]


def of_embeddings(metrics, ids, targets, embeddings):
    ids = np.array(ids)
    known = None if targets is None else torch.from_numpy(targets[ids])
    batch = Batch(ids=ids, inputs={}, targets=known)
    metrics.update(
        batch, Output(loss_sum=torch.zeros(()), count=len(ids), logits=None, predictions=embeddings[ids])
    )
    return metrics


def test_11_sim_places_are_counted_among_all_second_texts():
    parts = [
        of_embeddings(RetrievalMetrics(0.1), ids, NUMBERS, PAIRS) for ids in (range(5, 40), [4, 0, 1, 3, 2])
    ]
    values = parts[0].merge(parts[1:]).compute()
    distinct = [i for i in range(40) if i != 7]
    ranks, losses = [], []
    for i in range(40):
        own = 3 if i == 7 else i
        cosines = {j: float(PAIRS[i, 0] @ PAIRS[j, 1]) for j in distinct}
        ranks.append(1 + sum(c > cosines[own] for c in cosines.values()))
        losses.append(np.log(sum(np.exp(c / 0.1) for c in cosines.values())) - cosines[own] / 0.1)
    assert values["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert values["mrr"] == pytest.approx(np.mean([1 / r for r in ranks]))
    for k in (1, 5, 10):
        assert values[f"recall{k}"] == np.mean([r <= k for r in ranks])
    rows = list(parts[0].merge(parts[1:]).predictions())
    assert [row["rank"] for row in rows] == ranks
    assert rows[2]["similarity"] == pytest.approx(float(PAIRS[2, 0] @ PAIRS[2, 1]), abs=1e-6)


def test_11_sim_queries_in_pieces_come_to_the_same(monkeypatch):
    """Many texts are compared a few at a time, for the memory that it takes."""
    found = of_embeddings(RetrievalMetrics(0.1), range(40), NUMBERS, PAIRS)
    classes = of_embeddings(NeighbourMetrics("abc"), range(40), NUMBERS % 3, PAIRS[:, :1])
    whole = found.compute(), classes.compute()
    monkeypatch.setattr("ptm.metrics.similarity._COSINES", 100)  # 2 of 40 queries
    assert [found.compute(), classes.compute()] == [pytest.approx(values) for values in whole]


def test_11_sim_embeddings_that_are_all_alike_find_nothing():
    """Of texts with the same cosine each has the last place."""
    alike = np.zeros((40, 2, 5), np.float32)
    alike[..., 0] = 1
    values = of_embeddings(RetrievalMetrics(0.1), range(40), np.arange(40), alike).compute()
    assert values["recall1"] == values["recall10"] == 0 and values["mrr"] == pytest.approx(1 / 40)
    assert values["loss"] == pytest.approx(np.log(40))


def test_11_sim_pairs_nobody_judged_have_a_similarity_alone():
    (row, *_) = of_embeddings(RetrievalMetrics(0.1), [0, 1], None, PAIRS).predictions()
    assert row.keys() == {"id", "similarity"}


def test_11_sim_a_slice_is_searched_in_itself():
    metrics = of_embeddings(RetrievalMetrics(0.1), range(40), NUMBERS, PAIRS)
    part = np.array([0, 1, 2, 9])
    alone = of_embeddings(RetrievalMetrics(0.1), range(4), NUMBERS[part], PAIRS[part])
    assert metrics.subset(part).compute() == alone.compute()
    assert metrics.summary().constant["recall1"] == pytest.approx(1 / 39)


def test_11_sim_cosines_follow_scores_as_scipy_says():
    scores, cosines = np.linspace(0, 5, 12), DRAW.uniform(-1, 1, (12, 1)).astype(np.float32)
    metrics = ScoreMetrics((0.0, 5.0))
    batch = Batch(ids=np.arange(12), inputs={}, targets=torch.from_numpy(scores))
    loss = float(((scores / 5 - cosines[:, 0]) ** 2).sum())
    metrics.update(batch, Output(loss_sum=torch.tensor(loss), count=12, logits=torch.from_numpy(cosines)))
    values = metrics.compute()
    assert values["spearman"] == pytest.approx(stats.spearmanr(scores, cosines[:, 0]).statistic)
    assert values["pearson"] == pytest.approx(stats.pearsonr(scores, cosines[:, 0]).statistic)
    assert values["mean_squared_error"] == pytest.approx(np.mean((scores - 5 * cosines[:, 0]) ** 2), rel=1e-5)
    assert values["loss"] == pytest.approx(values["mean_squared_error"] / 25, rel=1e-5)
    constant = metrics.summary().constant
    assert constant["loss"] == pytest.approx(np.var(scores / 5))
    row = list(metrics.predictions())[3]
    assert row["label"] == pytest.approx(scores[3])
    assert row["similarity"] == pytest.approx(float(cosines[3, 0]), abs=1e-6)
    assert row["prediction"] == pytest.approx(5 * float(cosines[3, 0]), rel=1e-5)


def test_11_sim_the_nearest_other_text_answers_for_a_text():
    texts, classes = directions(30, 1, 4), DRAW.integers(0, 3, 30)
    metrics = of_embeddings(NeighbourMetrics(["a", "b", "c"]), range(30), classes, texts)
    cosines = texts[:, 0] @ texts[:, 0].T
    right, losses = [], []
    for i in range(30):
        others = [j for j in range(30) if j != i]
        nearest = max(others, key=lambda j: cosines[i, j])
        right.append(classes[nearest] == classes[i])
        same = [(1 - cosines[i, j]) ** 2 for j in others if classes[j] == classes[i]]
        losses.append(
            np.mean(same) + np.mean([cosines[i, j] ** 2 for j in others if classes[j] != classes[i]])
        )
    assert metrics.compute() == pytest.approx({"loss": np.mean(losses), "accuracy": np.mean(right)}, rel=1e-5)
    rows = list(metrics.predictions())
    assert [row["label"] == row["prediction"] for row in rows] == right
    (row, *_) = of_embeddings(NeighbourMetrics(), [0], None, texts).predictions()
    assert np.array(row["embedding"], dtype=np.float32).tolist() == texts[0, 0].tolist()
