"""Every method through real runs of both tasks; what a task or a model cannot serve is refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file

from helpers import StopAt, history, image_spec, run, text_spec, weights
from ptm.config.load import parse_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import ConfigError, Interrupted

pytestmark = pytest.mark.slow  # each trains


@pytest.fixture(scope="module")
def teachers(tiny_bert, tiny_gpt2, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    run(text_spec(tiny_bert, reviews, folder / "text", epochs=1))
    run(text_spec(tiny_gpt2, reviews, folder / "gpt2", epochs=1, max_train_examples=16))
    run(image_spec(folder / "image", epochs=1, width=8))
    return folder


@pytest.fixture
def make(teachers, tiny_bert, reviews, tmp_path):
    def make(kind, name="r", *, teacher=None, changes=None, **distill):
        distill = {"audit": "off", "relation_heads": 4, "store": str(tmp_path / "cache"), **distill}
        rest = {
            "teacher": TeacherSpec(name=str(teachers / (teacher or kind))),
            "distill": DistillSpec(**distill),
            "epochs": 1,
            **(changes or {}),
        }
        if kind == "text":
            return text_spec(tiny_bert, reviews, tmp_path / name, max_train_examples=32, **rest)
        return image_spec(tmp_path / name, **rest)

    return make


@pytest.mark.parametrize("method", ["dkd", "dist"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_methods_of_outputs_train(kind, method, make, tmp_path):
    run(make(kind, method=method))
    line = history(tmp_path / "r")[0]
    assert line["parts"]["kd"] > 0
    assert line["loss"] == pytest.approx(0.5 * line["parts"]["ce"] + 0.5 * line["parts"]["kd"], rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "features"),
    [
        *(("text", name) for name in ("hidden", "minilm", "tinybert", "cosine", "relational")),
        *(("image", name) for name in ("hidden", "attention", "relational")),
    ],
)
def test_methods_of_the_inside_train_on_stored_outputs(kind, features, make, tmp_path):
    """The store gives what the teacher would: the first logged losses agree with those of live outputs."""
    results = run(make(kind, features=features, kd_weight=0.25, feature_weight=2.0))
    run(make(kind, "live", features=features, kd_weight=0.25, feature_weight=2.0, store="off"))
    assert results["distill"]["store"]["used"]
    for name, line in (("stored", history(tmp_path / "r")[0]), ("live", history(tmp_path / "live")[0])):
        parts = line["parts"]
        assert parts["features"] > 0, name
        expected = 0.5 * parts["ce"] + 0.25 * parts["kd"] + 2.0 * parts["features"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    stored, live = history(tmp_path / "r")[0]["parts"], history(tmp_path / "live")[0]["parts"]
    assert stored["features"] == pytest.approx(live["features"], rel=2e-2)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_projections_learn_and_resume_with_the_student(kind, make, tmp_path):
    run(make(kind, "whole", features="hidden"))
    with pytest.raises(Interrupted):
        run(make(kind, "parts", features="hidden"), reporter=StopAt(2))
    stopped = max((tmp_path / "parts" / "checkpoints").iterdir())
    early = load_file(stopped / "objective.safetensors")
    run(make(kind, "parts", features="hidden"), "resume")
    late = load_file(max((tmp_path / "parts" / "checkpoints").iterdir()) / "objective.safetensors")
    assert all(not torch.equal(early[name], late[name]) for name in early)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_a_student_may_keep_some_layers_of_its_teacher(make, teachers, tmp_path):
    spec = make(
        "text",
        changes={"name": str(teachers / "text"), "layers": "every_other"},
        features="tinybert",
        kd_weight=1.0,
    )
    results = run(spec)
    config = json.loads((tmp_path / "r" / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert results["model"]["parameters"] < results["teacher"]["parameters"]
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["weights"]["new"] == []
    with pytest.raises(ConfigError, match=r"layers \[1, 0\] cannot be kept of 2"):
        run(make("text", "bad", changes={"name": str(teachers / "text"), "layers": (1, 0)}))


def test_what_a_model_cannot_give_is_refused_by_name(make):
    with pytest.raises(ConfigError, match=r"minilm[\s\S]*teacher does not give query\.2"):
        run(make("text", teacher="gpt2", features="minilm"))
    with pytest.raises(ConfigError, match="different tokens"):
        run(make("text", teacher="gpt2", features="hidden"))
    with pytest.raises(ConfigError, match="cannot be cut into 5 heads"):
        run(make("text", features="minilm", relation_heads=5))


BASE = """
version: 1
task: {task}
teacher: {{name: t}}
model: {{name: m}}
data: {{source: "csv:x", train: a, eval: b}}
train: {{epochs: 1, learning_rate: 0.1}}
output: r
distill: {distill}
"""


@pytest.mark.parametrize(
    ("task", "distill", "message"),
    [
        ("text-classification", "{features: attention}", "attention cannot serve text-classification"),
        ("image-classification", "{features: minilm}", "minilm cannot serve image-classification"),
        ("text-classification", "{layers: [[1, 2]]}", "layers mean nothing to features: none"),
        ("text-classification", "{views: 3}", "one view only"),
        ("text-classification", "{kd_weight: 0}", "teaches nothing"),
        ("text-classification", "{method: kdd}", "kd"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(task, distill, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        parse_config(BASE.format(task=task, distill=distill), "run.yaml", base=tmp_path, cwd=tmp_path)


def test_shares_are_one_a_teacher(tmp_path):
    text = BASE.format(task="text-classification", distill="{}").replace(
        "{name: t}", "{name: ./t, others: [./u], shares: [1.0]}"
    )
    with pytest.raises(ConfigError, match="1 shares for 2 teachers"):
        parse_config(text, "run.yaml", base=tmp_path, cwd=tmp_path)
    spec = parse_config(text.replace("[1.0]", "[1.0, 2.0]"), "run.yaml", base=tmp_path, cwd=tmp_path)
    assert spec.teacher.others == (str(tmp_path / "u"),)
