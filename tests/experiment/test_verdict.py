"""What the difference of two arms is worth, against values computed by hand or elsewhere."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ptm.experiment.verdict import RUNS, PairedScores, bootstrap, compare, mcnemar, over_seeds


def pair(only_candidate, only_baseline, both=10, neither=5, seed=1):
    candidate = [True] * only_candidate + [False] * only_baseline + [True] * both + [False] * neither
    baseline = [False] * only_candidate + [True] * only_baseline + [True] * both + [False] * neither
    return PairedScores(seed=seed, candidate=np.array(candidate), baseline=np.array(baseline))


def test_mcnemar_by_hand():
    """Of 8 examples that only one got right, 7 went to the same: 2 · (8 + 1) / 2^8."""
    assert mcnemar(7, 1) == pytest.approx(2 * 9 / 256)
    assert mcnemar(4, 4) == 1.0
    assert mcnemar(0, 0) == 1.0
    coins = sum(math.comb(20, k) for k in range(6)) * 2 / 2**20
    assert mcnemar(15, 5) == pytest.approx(coins)


def test_one_seed_says_how_many_examples_the_gain_is():
    verdict = compare([pair(7, 4, both=700, neither=161)])
    assert (
        verdict["sentence"]
        == "+0.34 points is 3 of 872 examples, p = 0.55 (McNemar, exact): no difference shown"
    )
    assert verdict["spread"] is None
    better = compare([pair(30, 2, both=100)])
    assert better["shown"] == "better"
    assert compare([pair(2, 30, both=100)])["shown"] == "worse"


def test_several_seeds_have_a_spread():
    verdict = compare([pair(8, 2, seed=1), pair(6, 4, seed=2)])
    assert verdict["gain"] == pytest.approx((6 + 2) / 2 / 25)
    assert verdict["spread"] == pytest.approx(np.std([6 / 25, 2 / 25], ddof=1))
    assert "over 2 seeds" in verdict["sentence"]


def test_the_bootstrap_agrees_with_the_normal_approximation():
    differences = np.array([1.0] * 60 + [-1.0] * 40 + [0.0] * 900)
    draws = bootstrap(differences)
    error = differences.std() / math.sqrt(len(differences))
    lower, upper = np.quantile(draws, [0.025, 0.975])
    assert lower == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert upper == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)
    assert draws.std() == pytest.approx(error, rel=0.05)


def test_seeds_weigh_as_in_a_t_test_and_examples_as_in_a_z_test():
    """Where examples say nothing the test is Student's; where all seeds agree, the normal one; in between, by hand."""
    from scipy.stats import t, ttest_1samp

    gains = np.array([0.01, 0.03, 0.05, 0.02])
    assert over_seeds(gains, 0.0, 1000)[2] == pytest.approx(ttest_1samp(gains, 0).pvalue)
    assert over_seeds(np.full(3, 0.02), 0.01, 10**6)[2] == pytest.approx(
        math.erfc(2 / math.sqrt(2)), rel=1e-3
    )
    lower, upper, p = over_seeds(gains, 0.01, 1001)
    parts = 0.01**2, gains.var(ddof=1) / 4
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 1000 + parts[1] ** 2 / 3)
    assert p == pytest.approx(2 * t.sf(gains.mean() / math.sqrt(sum(parts)), freedom))
    assert (lower + upper) / 2 == pytest.approx(gains.mean())
    assert lower < 0 < upper


def test_one_lucky_seed_of_three_proves_nothing():
    """As a test user found: two seeds alike, one that did not train, and 32 examples that all say so."""
    noise = np.random.default_rng(0).normal(0, 0.01, 32)
    errors = [
        PairedScores(seed=seed, candidate=0.3 + offset + noise, baseline=np.full(32, 0.3))
        for seed, offset in enumerate((0.0002, 0.377, 0.016))
    ]
    verdict = compare(errors, metric="mean_squared_error", higher_is_better=False)
    assert verdict["shown"] == "no difference"
    assert verdict["gain"] < 0
    assert "worse over 3 seeds" in verdict["sentence"]


def test_counts_weigh_and_errors_are_better_when_lower():
    """Two words right of four instead of one; a squared error of 1 instead of 4."""
    words = PairedScores(
        seed=1, candidate=np.array([2.0, 0.0]), baseline=np.array([1.0, 0.0]), counts=np.array([3.0, 1.0])
    )
    verdict = compare([words], things="words")
    assert (verdict["gain"], verdict["judged"], verdict["examples"]) == (1 / 4, 4, 2)
    assert "p_mcnemar" not in verdict["seeds"][0]
    assert "+25.00 points is 1 of 4 words" in verdict["sentence"]
    errors = PairedScores(seed=1, candidate=np.linspace(0.9, 1.1, 50), baseline=np.linspace(3.9, 4.1, 50))
    verdict = compare([errors], metric="mean_squared_error", higher_is_better=False)
    assert verdict["shown"] == "better"
    assert verdict["gain"] == pytest.approx(3)  # above 0 is better, of errors too
    assert verdict["sentence"].startswith("mean squared error 1 instead of 4, 3 better, p = 0.0001")
    assert verdict["sentence"].endswith("the teacher helped with this seed")
    worse = PairedScores(seed=1, candidate=errors.baseline, baseline=errors.candidate)
    assert compare([worse], metric="loss", higher_is_better=False)["shown"] == "worse"


@pytest.mark.slow
def test_a_ratio_s_interval_agrees_with_the_delta_method():
    draw = np.random.default_rng(3)
    counts = draw.integers(1, 30, 500).astype(float)
    differences = counts * 0.1 + draw.normal(0, 1, 500)
    lower, upper = np.quantile(bootstrap(differences, counts), [0.025, 0.975])
    ratio = differences.sum() / counts.sum()
    error = np.std(differences - ratio * counts) / counts.mean() / math.sqrt(500)
    assert lower == pytest.approx(ratio - 1.96 * error, abs=0.1 * error)
    assert upper == pytest.approx(ratio + 1.96 * error, abs=0.1 * error)


CONFIG = """
version: 1
task: image-classification
teacher: {{name: {teacher}}}
model: {{name: resnet8, width: 2, weights: none}}
distill: {{temperature: 4.0, audit: "off"}}
data: {{source: "builtin:digits", train: train, eval: test, image_size: 16, max_train_examples: 64,
  max_eval_examples: 40}}
train: {{epochs: 1, batch_size: 16, learning_rate: 0.05}}
runtime: {{device: cpu, threads: 1}}
output: {output}
"""


def test_the_command_trains_both_arms_and_says_what_the_teacher_brought(run_cli, tmp_path):
    from helpers import image_spec, run

    run(image_spec(tmp_path / "teacher", epochs=1))
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.format(teacher=tmp_path / "teacher", output=tmp_path / "r"))
    done = run_cli("distill", config, "--seeds", "1,2")
    assert done.returncode == 0, done.stderr
    verdict = json.loads((tmp_path / "r" / "verdict.json").read_text())
    assert verdict["sentence"] in done.stdout
    assert [row["seed"] for row in verdict["seeds"]] == [1, 2]
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "distilled-1", "control-1", "distilled-2", "control-2", "verdict.json",
    }  # fmt: skip
    results = json.loads((tmp_path / "r" / "distilled-1" / "results.json").read_text())
    assert results["verdict"]["sentence"] == verdict["sentence"]
    control = json.loads((tmp_path / "r" / "control-1" / "results.json").read_text())
    assert results["control"]["metrics"] == control["metrics"]
    assert control["teacher"] is None
    assert run_cli("distill", config, "--seeds", "1,2").returncode == 2
    again = run_cli("distill", config, "--seeds", "1,2", "--resume", "--json")
    assert json.loads(again.stdout) == verdict
    assert run_cli("distill", config, "--seeds", "1,x").returncode == 2
    done = run_cli("report", tmp_path / "r" / "distilled-1")
    assert "student alone" in done.stdout, done.stderr
    page = (tmp_path / "r" / "distilled-1" / "report.html").read_text()
    assert "Scorecard" in page and "Latency, batch 32" in page and verdict["sentence"] in page
    models = json.loads((tmp_path / "r" / "distilled-1" / "results.json").read_text())["scorecard"]["models"]
    assert models["teacher"]["agreement"] == 1.0
    assert models["student alone"]["value"] == control["metrics"]["accuracy"]
    assert models["student distilled"]["parameters"] < models["teacher"]["parameters"]


def test_a_distillation_that_misses_its_bound_shows_the_verdict_and_exits_with_4(run_cli, tmp_path):
    from helpers import image_spec, run

    run(image_spec(tmp_path / "teacher", epochs=1))
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.format(teacher=tmp_path / "teacher", output=tmp_path / "r"))
    missed = ["--set", "expect.accuracy='> 1'"]
    done = run_cli("distill", config, *missed, "--control", "--json")
    assert done.returncode == 4
    assert f"{tmp_path / 'r' / 'distilled-42'}: accuracy is" in done.stderr
    assert "expected: accuracy > 1" in done.stderr
    verdict = json.loads(done.stdout)
    assert verdict == json.loads((tmp_path / "r" / "verdict.json").read_text())
    assert [e["met"] for e in verdict["runs"]["distilled-42"]["expect"]] == [False]
    assert verdict["runs"]["control-42"]["expect"] == []
    done = run_cli("distill", config, *missed, "--control", "--resume")
    assert done.returncode == 4
    assert verdict["sentence"] in done.stdout
    done = run_cli("distill", config, *missed, "--output", tmp_path / "alone", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["expect"][0]["met"] is False


@pytest.mark.slow
def test_10_30_f1_of_two_models_with_counts_of_their_own():
    """Twice what is right, over what is there and what is said, by hand; the bootstrap against its delta method."""
    rng = np.random.default_rng(3)
    true, said, said_control = (rng.integers(0, 4, 400).astype(float) for _ in range(3))
    right, right_control = np.minimum(true, said), np.minimum(true, said_control) * (rng.random(400) < 0.7)
    pair = PairedScores(
        seed=1,
        candidate=2 * right,
        baseline=2 * right_control,
        counts=true + said,
        baseline_counts=true + said_control,
    )
    f1 = 2 * right.sum() / (true + said).sum()
    control = 2 * right_control.sum() / (true + said_control).sum()
    verdict = compare([pair], metric="f1", things="sentences")
    assert verdict["gain"] == pytest.approx(f1 - control)
    assert (verdict["seeds"][0]["distilled"], verdict["seeds"][0]["control"]) == pytest.approx((f1, control))
    influence = (2 * right - f1 * (true + said)) / (true + said).mean()
    influence -= (2 * right_control - control * (true + said_control)) / (true + said_control).mean()
    error = influence.std() / math.sqrt(400)
    lower, upper = verdict["interval_95"]
    assert lower == pytest.approx(f1 - control - 1.96 * error, abs=0.2 * error)
    assert upper == pytest.approx(f1 - control + 1.96 * error, abs=0.2 * error)
    assert verdict["sentence"].startswith(
        f"{100 * (f1 - control):+.2f} points, f1 {f1:.4g} instead of {control:.4g} on 400 sentences, p = "
    )
    assert verdict["shown"] == "better"
    assert compare([pair, replace(pair, seed=2)], metric="f1", things="sentences")["gain"] == pytest.approx(
        f1 - control
    )


def test_10_30_no_entity_anywhere_is_an_f1_of_0():
    nothing = np.zeros(5)
    pair = PairedScores(
        seed=1, candidate=nothing, baseline=nothing, counts=nothing, baseline_counts=np.ones(5)
    )
    assert compare([pair], metric="f1", things="sentences")["gain"] == 0


def test_15_08_f1_of_two_runs_that_are_no_distillation_has_a_sentence():
    """`ptm compare` of models that tag entities ended in a traceback: the sentence knew a distillation alone."""
    pair = PairedScores(
        seed=1,
        candidate=np.array([2.0, 2.0]),
        baseline=np.array([2.0, 0.0]),
        counts=np.array([2.0, 2.0]),
        baseline_counts=np.array([2.0, 2.0]),
    )
    said = compare([pair], metric="f1", things="sentences", wording=RUNS)["sentence"]
    assert "f1 1 instead of 0.5" in said and "+50.00 points" in said
