"""What a config may say of label types, before anything is loaded."""

import pytest

from ptm.config.load import load_config
from ptm.errors import ConfigError

TEXT = """
version: 1
task: TASK
model: {name: bert-base-uncased}
teacher: {name: bert-base-uncased}
distill: {METHOD}
data: {source: "SOURCE:d", train: a, eval: b, label_type: KIND, MORE}
train: {epochs: 1, learning_rate: 1e-3, TRAIN}
output: r
"""


def check(
    tmp_path, kind, *, task="text-classification", method="method: kd", more="", train="", source="json"
):
    text = TEXT.replace("TASK", task).replace("KIND", kind).replace("METHOD", method)
    text = text.replace("SOURCE", source).replace(", MORE", more).replace(", TRAIN", train)
    (tmp_path / "run.yaml").write_text(text)
    return load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize("kind", ["class", "classes", "number"])
def test_each_label_type_can_be_distilled_by_kd(tmp_path, kind):
    assert check(tmp_path, kind).data.label_type == kind


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("number", {"more": ", labels: [a, b]"}, "label_type: number has no labels"),
        ("number", {"train": ", label_smoothing: 0.1"}, "label_type: number has no classes to smooth over"),
        ("classes", {"method": "method: dkd"}, "method: dkd compares classes of which one applies"),
        ("classes", {"method": "method: dist"}, "method: dist compares classes of which one applies"),
        ("classes", {"method": "top_k: 4"}, "top_k leaves out classes"),
        (
            "classes",
            {"task": "token-classification"},
            "data.label_type is for text-classification and text-sim",
        ),
        ("class", {"task": "translation"}, "translation cannot be distilled"),
        ("class", {"task": "object-detection", "source": "voc"}, "object-detection cannot be distilled"),
    ],
)
def test_what_means_nothing_is_refused_by_name(tmp_path, kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        check(tmp_path, kind, **changes)
