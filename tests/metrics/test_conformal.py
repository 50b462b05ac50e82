"""Prediction sets: against the quantile of numpy and sets worked out by hand."""

import json
import math

import numpy as np
import pytest
import torch

from ptm.errors import ConfigError, ModelError
from ptm.metrics.classification import ClassificationMetrics
from ptm.metrics.conformal import Conformal, stored_conformal
from ptm.metrics.multilabel import MultiLabelMetrics
from ptm.pipeline import Batch, Output


def drawn(n, classes, seed=0):
    """Logits of a model that is mostly unsure, and its targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(-1)  # drawn by what the logits say
    return logits.astype(np.float32), targets


def evaluated(logits, targets, least=None, thresholds=None):
    metrics = ClassificationMetrics(
        [f"c{i}" for i in range(logits.shape[1])], None, thresholds or {}, least=least
    )
    for rows in np.array_split(np.arange(len(logits)), 3):
        batch = Batch(
            ids=rows, inputs={}, targets=None if targets is None else torch.from_numpy(targets[rows])
        )
        metrics.update(
            batch, Output(loss_sum=torch.zeros(()), count=len(rows), logits=torch.from_numpy(logits[rows]))
        )
    return metrics


def probabilities(logits):
    return torch.from_numpy(logits).double().softmax(-1).numpy()


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_11_02_the_least_probability_is_the_finite_sample_quantile_and_sets_go_by_it(classes):
    logits, targets = drawn(99, classes)
    conformal = Conformal.of(evaluated(logits, targets))
    scores = 1 - probabilities(logits)[np.arange(99), targets]
    for coverage in (0.07, 0.5, 0.57, 0.9, 0.99):
        level = math.ceil(round(100 * coverage, 6)) / 99
        quantile = np.quantile(scores, level - 1e-9, method="inverted_cdf")
        assert 0 < (1 - quantile) / conformal.least(coverage) - 1 < 5e-5  # just below
    least = conformal.least(0.9)
    fresh, truth = drawn(60, classes, seed=1)
    rows = list(evaluated(fresh, None, least).predictions())
    p = probabilities(fresh)
    for row, each in zip(rows, p, strict=True):
        wanted = {f"c{k}" for k in range(classes) if each[k] >= least} | {f"c{each.argmax()}"}
        assert set(row["prediction_set"]) == wanted and len(row["scores"]) == (5 if classes > 20 else classes)
        places = [each[int(name[1:])] for name in row["prediction_set"]]
        assert places == sorted(places, reverse=True) and row["prediction_set"][0] == row["prediction"]
    told = evaluated(fresh, truth).sets(least)
    held = [f"c{t}" in row["prediction_set"] for t, row in zip(truth, rows, strict=True)]
    sizes = [len(row["prediction_set"]) for row in rows]
    assert told["realised"] == pytest.approx(np.mean(held))
    if classes > 20:  # of these the five highest are kept
        assert told["at_least"] and told["mean_size"] == pytest.approx(np.minimum(sizes, 5).mean())
    else:
        assert not told["at_least"] and told["mean_size"] == pytest.approx(np.mean(sizes))
    whole = evaluated(fresh, truth, least)
    assert whole.sets(least)["mean_size"] == pytest.approx(np.mean(sizes))
    assert whole.compute() == pytest.approx(evaluated(fresh, truth).compute())
    halves = [whole.subset(np.arange(30)), whole.subset(np.arange(30, 60))]
    assert list(halves[0].merge(halves[1:]).predictions()) == list(whole.predictions())


def test_11_02_sets_hold_the_truth_as_often_as_asked_for_over_many_draws():
    """§1: between 1 - a and 1 - a + 1 / (n + 1), where no set is empty."""
    logits, targets = drawn(200 * 249, 6)
    p = probabilities(logits)[np.arange(len(targets)), targets].reshape(200, 249)
    for coverage in (0.8, 0.9):
        least = [Conformal(-np.sort(-row[:49])).least(coverage) for row in p]
        realised = (p[:, 49:] >= np.array(least)[:, None]).mean(-1)
        deviation = 4 * realised.std() / math.sqrt(200)
        assert coverage - deviation < realised.mean() < coverage + 1 / 50 + deviation


def test_11_02_a_prediction_by_a_threshold_is_in_its_set():
    logits = np.array([[0.0, 0.5], [2.0, 0.0]], dtype=np.float32)
    rows = list(evaluated(logits, None, 0.6, {"c1": 0.9}).predictions())
    assert [row["prediction"] for row in rows] == ["c0", "c0"]
    assert [row["prediction_set"] for row in rows] == [["c1", "c0"], ["c0"]]


def test_11_02_too_few_examples_are_refused_with_how_many_it_takes():
    logits, targets = drawn(8, 3)
    conformal = Conformal.of(evaluated(logits, targets))
    with pytest.raises(ConfigError, match=r"(?s)coverage of 0\.9 cannot .* 8 .*at least 9 examples"):
        conformal.least(0.9)
    logits, targets = drawn(9, 3)
    nine = Conformal.of(evaluated(logits, targets))
    assert nine.least(0.9) == pytest.approx(probabilities(logits)[np.arange(9), targets].min(), rel=5e-5)
    facts = nine.facts(evaluated(logits, targets), "eval")
    assert [row["coverage"] for row in facts["sets"]] == [0.8, 0.9] and facts["examples"] == 9
    assert facts["sets"][1]["realised"] == 1 and facts["sets"][1]["split"] == "eval"
    assert Conformal.of(MultiLabelMetrics(["a"])) is None


def test_11_02_of_many_examples_a_part_is_kept_and_what_is_written_is_read(tmp_path):
    logits, targets = drawn(12_000, 3)
    conformal = Conformal.of(evaluated(logits, targets))
    assert len(conformal.probabilities) == 10_000
    conformal.write(tmp_path)
    assert (stored_conformal(str(tmp_path)).probabilities == conformal.probabilities).all()
    assert stored_conformal("bert-base") is None and stored_conformal(str(tmp_path / "none")) is None
    good = json.loads((tmp_path / "conformal.json").read_text())
    for wrong in (
        {"format": 2},
        {"probabilities": [0.1, 0.2]},
        {"probabilities": [2]},
        {"probabilities": "a"},
    ):
        (tmp_path / "conformal.json").write_text(json.dumps({**good, **wrong}))
        with pytest.raises(ModelError, match="train the model again"):
            stored_conformal(str(tmp_path))
