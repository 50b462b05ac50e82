"""What must hold between the keys of a config."""

import pytest

from config_texts import IMAGE, TEXT, changed, only, parse
from ptm.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "overrides", "where", "what"),
    [
        (TEXT, ["data.augment=crop"], "--set data.augment=crop", "data.augment is for image tasks"),
        (changed("eval", "  mean: [1, 1, 1]"), [], "run.yaml:7:9", "data.mean is for image tasks"),
        (
            changed("model", "model: {name: resnet18, revision: main}", IMAGE),
            [],
            "run.yaml:4:35",
            "model.revision is for text",
        ),
        (TEXT, ["train.steps=5"], "--set train.steps=5", "train has both epochs and steps"),
        (
            TEXT,
            ["train.micro_batch_size=33"],
            "--set train.micro_batch_size=33",
            "micro_batch_size 33 is larger",
        ),
        (
            TEXT,
            ["train.early_stopping=3", "best=null"],
            "--set train.early_stopping=3",
            "early_stopping needs",
        ),
        (changed("teacher", "", IMAGE), [], "run.yaml:5:10", "distill: without a teacher:"),
        (IMAGE, ["distill.kd_weight=0"], "--set distill.kd_weight=0", "with kd_weight 0"),
        (IMAGE, ["data.mean=[1]"], "--set data.mean=[1]", "data.mean has 1 numbers"),
        (IMAGE, ["data.std=[0, 1, 1]"], "--set data.std=[0, 1, 1]", "a standard deviation must be above 0"),
        (TEXT, ["data.labels=[a]"], "--set data.labels=[a]", "fewer than two labels"),
        (
            TEXT,
            ["runtime={device: cpu, precision: fp16}"],
            "--set runtime={device: cpu, precision: fp16}",
            "fp16 needs CUDA",
        ),
    ],
)
def test_what_must_hold_between_keys(text, overrides, where, what):
    problem = only(text, *overrides)
    assert problem.where == where
    assert problem.what.startswith(what)
    assert problem.cure


@pytest.mark.parametrize(
    ("override", "where", "cure"),
    [
        ('expect={acuracy: ">= 0.9"}', "expect", "did you mean accuracy?"),
        ('expect={bleu: ">= 30"}', "expect", "name one of them"),
        ("best.metric=f1_macr", "best.metric", "did you mean f1_macro?"),
        ("best.metric=iou/cell", "best.metric", "name one of them"),
    ],
)
def test_metrics_that_the_task_never_measures_are_refused_in_the_config(override, where, cure):
    problem = only(TEXT, override)
    assert "there is no metric" in problem.what and "one of loss, accuracy, f1_macro" in problem.what
    assert where in problem.where and problem.cure == cure


def test_metrics_of_labels_and_of_two_classes_are_taken_while_the_labels_are_unknown():
    assert parse(TEXT, "data.labels=null", "best.metric=auroc").best.metric == "auroc"
    assert (
        only(TEXT, "data.labels=[a, b, c]", "best.metric=auroc").cure == "auroc is measured with two labels"
    )


@pytest.mark.parametrize(("metric", "mode"), [("loss", "max"), ("accuracy", "min")])
def test_a_mode_that_contradicts_its_metric_is_refused(metric, mode):
    with pytest.raises(ConfigError, match="is better") as caught:
        parse(TEXT, f"best={{metric: {metric}, mode: {mode}}}")
    assert "remove mode: the metric decides" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ("[a]", "labels_from names fewer than two columns"),
        ("[]", "labels_from names fewer than two columns"),
        ("[a, b, a]", "columns of labels_from repeat: a"),
        ("[a, b, a, b, c]", "columns of labels_from repeat: a, b"),
    ],
)
def test_columns_of_labels_are_several_and_each_once(columns, what):
    assert only(TEXT, "data.labels=null", f"data.labels_from={columns}").what == what


@pytest.mark.parametrize("task", ["masked-lm", "translation", "question-answering", "object-detection"])
def test_11_04_a_column_of_labels_is_for_tasks_that_have_one(task, tmp_path):
    from ptm.config.load import parse_config
    from ptm.errors import ConfigError

    source = "voc:a" if task == "object-detection" else "csv:a"
    text = (
        f"version: 1\ntask: {task}\nmodel: {{name: m}}\ndata: {{source: '{source}', eval: 20%, label: y}}\n"
    )
    with pytest.raises(ConfigError, match=r"data\.label is for text-classification"):
        parse_config(
            text + "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n", "c", base=tmp_path, cwd=tmp_path
        )
