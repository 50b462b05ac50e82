"""Teachers that cannot teach are refused with the reason; good ones are let through."""

import json
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from helpers import Saying, image_spec, run, text_spec
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.distill.audit import (
    ClassEvidence,
    MetricEvidence,
    balanced_skill,
    class_problems,
    meanings,
    metric_problems,
)
from ptm.errors import ModelError

pytestmark = pytest.mark.slow  # each trains

RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, 4, 400)


def evidence(predicted, **changes):
    values = {
        "name": "t",
        "labels": ("ant", "bee", "cat", "dog"),
        "targets": TARGETS,
        "predicted": predicted,
        "head_biases": {"head.bias": np.array([0.1, 0, 0, 0])},
        "recorded": None,
        "domain_warnings": (),
    }
    return ClassEvidence(**{**values, **changes})


def noisy(share):
    wrong = RNG.random(400) < share
    return np.where(wrong, RNG.integers(0, 4, 400), TARGETS)


def test_10_30_a_teacher_of_entities_is_judged_by_their_f1():
    """One that tags every word O is right in 92 of 100 words."""
    targets = np.repeat([0, 1, 2], [920, 60, 20])
    tags = {"labels": ("O", "B-PER", "I-PER"), "targets": targets, "metric": "f1"}
    (problem,) = class_problems(evidence(np.zeros(1000, int), value=0.0, **tags))
    assert "f1 0.000, of entities, while 0.920 of the words have their tag" in problem.what
    # Every begin is found and every end missed: the mean recall of tags says 0.67.
    begins = np.where(targets == 1, 1, 0)
    assert len(class_problems(evidence(begins, value=0.02, **tags))) == 1
    assert class_problems(evidence(targets, value=1.0, **tags)) == []
    (problem,) = class_problems(evidence(targets, value=0.8, recorded=0.95, **tags))
    assert "it had f1 0.950 on these very examples in its own run, here 0.800" in problem.what


def test_a_good_teacher_and_a_mediocre_one_pass():
    assert class_problems(evidence(noisy(0.1))) == []
    assert class_problems(evidence(noisy(0.7))) == []
    assert class_problems(evidence(noisy(0.1), head_biases={"head.bias": np.zeros(4)})) == []
    assert class_problems(evidence(noisy(0.1), recorded=0.93)) == []


def test_guessing_is_no_teaching_however_the_classes_are_shared_out():
    (problem,) = class_problems(evidence(noisy(1.0)))
    assert "knows nothing" in problem.what
    rare = (np.arange(400) % 20 == 0).astype(int)
    (problem,) = class_problems(evidence(np.zeros(400, dtype=int), targets=rare, labels=("no", "yes")))
    assert "accuracy 0.950" in problem.what


def test_exchanged_labels_are_found_and_named():
    exchanged = np.array([1, 0, 2, 3])[noisy(0.1)]
    (problem,) = class_problems(evidence(exchanged))
    assert "what it calls ant is mostly bee, bee is mostly ant" in problem.what
    assert "teacher.labels: [bee, ant, cat, dog]" in problem.cure
    assert meanings(TARGETS, exchanged, 4).tolist() == [1, 0, 2, 3]


def test_every_label_has_one_output_whatever_is_exchanged():
    """Three in a cycle, of which one is never predicted; and two outputs that mean the same label."""
    targets = np.repeat([1, 2, 0], 20)
    assert meanings(targets, np.repeat([0, 1, 0], [20, 20, 20]), 3).tolist() == [0, 2, 1]
    assert meanings(np.repeat([1, 2], 30), np.repeat([0, 1], 30), 3).tolist() == [1, 2, 0]
    assert meanings(np.repeat([2, 2], [30, 20]), np.repeat([0, 1], [30, 20]), 3).tolist() == [2, 1, 0]
    for seed in range(20):
        draw = np.random.default_rng(seed)
        found = meanings(draw.integers(0, 9, 300), draw.integers(0, 9, 300), 9)
        assert sorted(found.tolist()) == list(range(9))


def test_15_15_twenty_thousand_classes_are_audited_in_little_memory():
    """A matrix of the classes would take 3.2 GB, and the assignment of its rows hours."""
    classes = 20_000
    targets = np.arange(2 * classes) % classes
    labels = tuple(map(str, range(classes)))
    exchanged = targets.copy()
    exchanged[targets < 40] = 39 - targets[targets < 40]
    targets, exchanged = np.tile(targets, 8), np.tile(exchanged, 8)
    tracemalloc.start()
    (problem,) = class_problems(evidence(exchanged, targets=targets, labels=labels))
    assert class_problems(evidence(targets, targets=targets, labels=labels)) == []
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()
    assert "0 is mostly 39" in problem.what


def test_a_weak_teacher_is_not_called_shuffled():
    """It errs at random, so some other naming would fit a little better by chance."""
    for seed in range(50):
        draw = np.random.default_rng(seed)
        targets = draw.integers(0, 2, 872)
        problems = class_problems(evidence(draw.integers(0, 2, 872), targets=targets, labels=("no", "yes")))
        assert ["knows nothing" in problem.what for problem in problems] == [True]


def test_a_fresh_head_other_inputs_and_misfits():
    (problem,) = class_problems(evidence(noisy(1.0), head_biases={"head.bias": np.zeros(4)}))
    assert "freshly made: head.bias" in problem.what
    (problem,) = class_problems(evidence(noisy(0.3), recorded=0.95))
    assert "0.950 on these very examples" in problem.what
    (problem,) = class_problems(evidence(noisy(0.1), domain_warnings=["half of the words are unknown"]))
    assert "half of the words" in problem.what


def test_skill_by_hand():
    """Recalls 1 and 1/2: mean 3/4, half way from 1/2 to 1."""
    assert balanced_skill(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])) == pytest.approx(0.5)


@pytest.mark.parametrize(("value", "passes"), [(0.9, True), (0.56, True), (0.52, False), (math.nan, False)])
def test_a_teacher_must_know_more_than_a_constant_answer(value, passes):
    teacher = MetricEvidence(
        name="t", metric="auroc_macro", value=value, constant=0.5, perfect=1.0, domain_warnings=()
    )
    problems = metric_problems(teacher)
    assert not problems if passes else "knows nothing" in problems[0].what


def test_the_error_of_a_number_is_held_against_the_variance():
    teacher = {"name": "t", "metric": "mean_squared_error", "constant": 4.0, "perfect": 0.0}
    assert metric_problems(MetricEvidence(**teacher, value=1.0, domain_warnings=())) == []
    (problem,) = metric_problems(MetricEvidence(**teacher, value=3.9, domain_warnings=()))
    assert "mean_squared_error 3.900, where a constant answer has 4.000" in problem.what
    (problem,) = metric_problems(
        MetricEvidence(**teacher, value=9.0, domain_warnings=("half of the words are unknown",))
    )
    assert "half of the words" in problem.what


@pytest.fixture(scope="module")
def digits_teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "r"
    run(image_spec(folder, epochs=12, max_train_examples=400, augment="none", width=8))
    return folder


def distilled(tmp_path, teacher, name="r", **changes):
    settings = DistillSpec(audit=changes.pop("audit", "error"), store="off")
    given = {
        "teacher": TeacherSpec(name=str(teacher)),
        "distill": settings,
        "epochs": 1,
        "max_eval_examples": 200,
    }
    given |= changes
    return image_spec(tmp_path / name, **given)


def test_a_teacher_whose_labels_were_shuffled_is_refused_and_can_be_let_through(digits_teacher, tmp_path):
    assert run(distilled(tmp_path, digits_teacher, "good"))["status"] == "done"
    shuffled = tmp_path / "shuffled"
    (shuffled / "model").mkdir(parents=True)
    (shuffled / "model" / "model.json").write_bytes((digits_teacher / "model" / "model.json").read_bytes())
    state = load_file(digits_teacher / "model" / "model.safetensors")
    order = [1, 0, *range(2, 10)]
    state |= {name: state[name][order].contiguous() for name in ("linear.weight", "linear.bias")}
    save_file(state, shuffled / "model" / "model.safetensors")
    with pytest.raises(ModelError, match=r"what it calls 0 is mostly 1, 1 is mostly 0") as caught:
        run(distilled(tmp_path, shuffled, "refused"))
    assert caught.value.exit_code == 3
    reporter = Saying()
    run(distilled(tmp_path, shuffled, "warned", audit="warn"), reporter=reporter)
    assert any(line.startswith("warning: ") and "another order" in line for line in reporter.lines)


def test_another_image_size_is_refused(digits_teacher, tmp_path):
    with pytest.raises(ModelError, match="made for images of 16x16, here it sees 32x32"):
        spec = distilled(tmp_path, digits_teacher)
        run(replace(spec, teacher=replace(spec.teacher, image_size=32)))


def test_texts_in_another_alphabet_are_refused(tiny_bert, reviews, tmp_path):
    run(text_spec(tiny_bert, reviews, tmp_path / "teacher", epochs=1))
    results = json.loads((tmp_path / "teacher" / "results.json").read_text())
    assert results["status"] == "done"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("train.csv", "eval.csv"):
        text = (reviews / name).read_text()
        for word in ("good", "great", "lovely", "superb", "the", "was", "really"):
            text = text.replace(word, "слово")
        (foreign / name).write_text(text, encoding="utf-8")
    spec = text_spec(
        tiny_bert, foreign, tmp_path / "r", teacher=TeacherSpec(name=str(tmp_path / "teacher")), epochs=1
    )
    with pytest.raises(ModelError, match="are unknown to its vocabulary"):
        run(spec)
