"""What of splits, groups, strata and slices is refused in the config, with its line, before anything is read."""

import pytest

from ptm.config.load import check_files
from ptm.config.slices import bin_names

BASE = """\
version: 1
task: {task}
model: {{name: {model}}}
data: {{source: "{source}", train: train, eval: 10%, {data}}}
train: {{epochs: 1, learning_rate: 1e-3}}
output: out
{more}
"""
MODELS = {"image-classification": "resnet18", "object-detection": "fasterrcnn_resnet50_fpn"}


def problems(tmp_path, data, *, task="text-classification", source="csv:.", more=""):
    path = tmp_path / "run.yaml"
    path.write_text(
        BASE.format(task=task, model=MODELS.get(task, "bert"), source=source, data=data, more=more)
    )
    return [(p.where.partition(":")[2], p.what, p.cure) for p in check_files([path], [])]


def test_12_01_a_third_split_with_groups_strata_and_slices_is_fine(tmp_path):
    data = "test: 10%, split_by: user, stratify: source, slices: [source, length]"
    more = (
        'expect: {accuracy: ">= 0.5", "accuracy[source=mobile]": ">= 0.5", "f1_macro[length=0-31]": ">= 0.5"}'
    )
    assert problems(tmp_path, data, more=more) == []
    assert problems(tmp_path, "test: test.csv, stratify: true") == []
    assert problems(tmp_path, "test: 5%, stratify: false") == []
    folder = {"task": "image-classification", "source": "imagefolder:."}
    assert problems(tmp_path, "test: 10%, split_by: 'patient_([0-9]+)', slices: [size]", **folder) == []


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        ("test: 95%", {}, "nothing is left to train on: eval: 10% and test: 95%"),
        ("test: 0%", {}, "data.test is '0%'"),
        ("test: 0.1", {}, "data.test is 0.1"),
        ("test: 10%, stratify: true", {"task": "masked-lm"}, "an example of masked-lm has no label"),
        ("test: 10%, split_by: user", {"task": "causal-lm", "source": "text:."}, "text: has no columns"),
        ("split_by: a", {"task": "image-classification", "source": "builtin:digits"}, "builtin: has no columns"),
        ("split_by: '('", {"task": "object-detection", "source": "coco:."}, "'(' is no regular expression"),
        ("slices: [source]", {"task": "image-classification", "source": "imagefolder:."}, "no 'source'"),
        ("slices: [size]", {}, "size is for images"),
        ("slices: [length]", {"task": "image-classification", "source": "csv:."}, "length is for texts"),
        ("slices: [a, a]", {}, "slices repeat: a"),
        ("slices: ['a=b']", {}, "'a=b' is no name"),
        ("slices: [length]", {"task": "masked-lm"}, "blocks of packed texts"),
        ("slices: [a]", {"more": "best: {metric: 'accuracy[a=x]'}"}, "is of a slice: too few examples"),
        ("slices: [a]", {"more": 'expect: {"accuracy[b=x]": "> 0"}'}, "there is no metric 'accuracy[b=x]'"),
        ("slices: [a]", {"more": 'expect: {"loss[a=x]": "> 0"}'}, "there is no metric 'loss[a=x]'"),
        ("slices: [a]", {"more": 'expect: {"acuracy[a=x]": "> 0"}'}, "there is no metric 'acuracy[a=x]'"),
        ("slices: [length]", {"more": 'expect: {"accuracy[length=9]": "> 0"}'}, "is one of 0-31"),
    ],
)  # fmt: skip
def test_12_01_12_06_what_cannot_be_is_refused_with_its_line(tmp_path, data, options, told):
    found = problems(tmp_path, data, **options)
    assert len(found) == 1 and told in found[0][1], found
    assert found[0][0][0].isdigit(), found
    assert found[0][2] or "%" in found[0][1]


def test_12_01_what_is_chosen_on_a_split_is_not_judged_on_it(tmp_path):
    path = tmp_path / "run.yaml"
    text = BASE.format(
        task="text-classification", model="bert", source="csv:.", data="test: dev.csv", more=""
    )
    path.write_text(text.replace("10%", "dev.csv"))
    (problem,) = check_files([path], [])
    assert "test and eval are both 'dev.csv'" in problem.what and ":4:" in problem.where


def test_12_06_the_bins_are_named_in_the_message(tmp_path):
    (found,) = problems(tmp_path, "slices: [length]", more='expect: {"accuracy[length=0-30]": "> 0"}')
    assert "0-31" in found[2] and bin_names("length")[-1] in found[1]


@pytest.mark.parametrize("metric", ["loss", "perplexity", "mean_squared_error"])
def test_12_02_the_metric_decides_which_value_is_the_best(tmp_path, metric):
    options = {
        "loss": {},
        "perplexity": {"task": "masked-lm"},
        "mean_squared_error": {"data": "label_type: number, test: 10%"},
    }[metric]
    data = options.pop("data", "test: 10%")
    assert problems(tmp_path, data, more=f"best: {{metric: {metric}}}", **options) == []
    (found,) = problems(tmp_path, data, more=f"best: {{metric: {metric}, mode: max}}", **options)
    assert "the highest" in found[1] and "lower is better" in found[1]
