"""What is wrong with single keys and values, in words: what, where, what was expected, what to do."""

import re

import pytest

from config_texts import IMAGE, TEXT, changed, only, parse, refused
from ptm.errors import ConfigError


def test_everything_wrong_is_said_at_once_and_in_order():
    text = """\
version: 2
task: text-clasification
model: {name: '', freeze: [a, 1], lr: 3, width: 0}
teacher: ../runs/x
distill: {T: 3}
data:
  source: reviews.csv
  labels: [a, a]
  max_length: 1
  max_length: 64
train:
  epochs: "3"
  per_device_train_batch_size: 8
  micro_batch_size: 64
  milestones: [0.9, 0.1]
  group_by_length: yes
best: &b {metric: accuracy}
runtime: {device: gpu}
expect: {accuracy: 0.9}
"""
    problems = refused(text, "train.seed=x", "train.warmup=2")
    assert [(p.where, p.what) for p in problems] == [
        ("run.yaml:1:1", "output is missing"),
        ("run.yaml:1:10", "version is 2"),
        ("run.yaml:2:7", "task is the text 'text-clasification'"),
        ("run.yaml:3:15", "model.name is an empty text"),
        ("run.yaml:3:31", "model.freeze[1] is 1"),
        ("run.yaml:3:35", "unknown key 'lr' in model"),
        ("run.yaml:3:49", "model.width is 0"),
        ("run.yaml:4:10", "teacher is the text '../runs/x'"),
        ("run.yaml:5:11", "unknown key 'T' in distill"),
        ("run.yaml:7:11", "the source 'reviews.csv' does not say what it is"),
        ("run.yaml:8:11", "label names repeat: a"),
        ("run.yaml:9:15", "data.max_length is 1"),
        ("run.yaml:10:3", "the key 'max_length' stands here again, after run.yaml:9:3"),
        ("run.yaml:12:11", "train.epochs is the text '3'"),
        ("run.yaml:13:3", "unknown key 'per_device_train_batch_size' in train"),
        ("run.yaml:15:15", "milestones are rising fractions of the run between 0 and 1"),
        ("run.yaml:16:20", "train.group_by_length is the text 'yes'"),
        ("run.yaml:17:7", "an anchor, `&b`"),
        ("run.yaml:18:19", "runtime.device is the text 'gpu'"),
        ("run.yaml:19:20", "expect.accuracy is 0.9"),
        ("--set train.seed=x", "train.seed is the text 'x'"),
        ("--set train.warmup=2", "train.warmup is 2"),
    ]  # train.learning_rate is not said to be missing: `lr` in model stands for it


def test_one_mistake_is_one_problem():
    assert "epochs" in only(changed("epochs", "  num_train_epochs: 3")).cure
    assert only(changed("learning_rate", "  lr: 2e-5")).cure == "it is train.learning_rate here"
    assert only(changed("output", "output_dir: x")).cure == "it is output here"
    assert only(changed("epochs", "  epochs: [3]")).what == "train.epochs is a list"
    assert only(changed("best", "best: loss"), "train.early_stopping=3").where == "run.yaml:12:7"
    assert only(changed("teacher", "teacher: big", IMAGE)).cure == "write {name: big}"
    assert only(changed("model", "model: *m")).what == "an alias, `*m`"
    assert only(changed("best", "best: {<<: *b}")).what == "a merge key, `<<`"
    assert only(changed("task", "task: image")).cure == "did you mean image-classification?"


@pytest.mark.parametrize(
    ("line", "new", "where", "cure"),
    [
        ("epochs", "  epoch: 3", "10:3", "it is train.epochs here"),
        ("learning_rate", "  learning-rate: 1", "11:3", "did you mean train.learning_rate?"),
        ("learning_rate", "  learningRate: 1", "11:3", "did you mean train.learning_rate?"),
        ("learning_rate", "  LEARNING_RATE: 1", "11:3", "did you mean train.learning_rate?"),
        ("learning_rate", "  learning_rat: 1", "11:3", "did you mean train.learning_rate?"),
        ("model", "model_name_or_path: x", "3:1", "it is model.name here, in the section model:"),
        ("output", "output_dir: x", "13:1", "it is output here"),
    ],
)
def test_a_misspelt_key_in_place_of_the_right_one(line, new, where, cure):
    problem = only(changed(line, new))
    assert (problem.where, problem.cure) == (f"run.yaml:{where}", cure)


def test_a_key_unlike_all_others_is_told_what_there_is():
    problem = only(TEXT, "best.xyzzy=1")
    assert (problem.expected, problem.cure) == ("one of metric, mode", "")
    assert only(TEXT + "train.epochs: 3\n").cure == "did you mean train.epochs?"
    assert only(TEXT + '"a\\e[31m": 3\n').what.isprintable()


@pytest.mark.parametrize(
    ("line", "new", "where", "what"),
    [
        ("source", "", "6:3", "data.source is missing"),
        ("learning_rate", "", "10:3", "train.learning_rate is missing"),
        ("model", "model: {}", "3:8", "model.name is missing"),
        ("best", "best: {mode: max}", "12:7", "best.metric is missing"),
        ("version", "", "2:1", "version is missing"),
        ("task", "", "1:1", "task is missing"),
        ("epochs", "", "11:3", "train says neither epochs nor steps"),
    ],
)
def test_a_missing_key_stands_where_its_section_does(line, new, where, what):
    problem = only(changed(line, new))
    assert (problem.where, problem.what) == (f"run.yaml:{where}", what)


COUNT = "a whole number of at least 1, or null"


ABOVE_0 = "a number above 0"


BOOLEAN = "true or false"


FREEZE = "one of none, backbone, embeddings, or a list of texts"


BOUND = 'a text such as ">= 0.9" or "< 0.5"'


FILLED = "a text that is not empty"


@pytest.mark.parametrize(
    ("override", "what", "expected", "cure"),
    [
        ('train.epochs="3"', "train.epochs is the text '3'", COUNT, "remove the quotes: 3"),
        ("train.epochs='1e-5'", "train.epochs is the text '1e-5'", COUNT, ""),
        ("train.epochs='1e3'", "train.epochs is the text '1e3'", COUNT, "write 1000"),
        ("train.epochs='0'", "train.epochs is the text '0'", COUNT, ""),
        ("train.epochs=1,5", "train.epochs is the text '1,5'", COUNT, ""),
        ("train.epochs=10%", "train.epochs is the text '10%'", COUNT, ""),
        ("train.epochs=0.0", "train.epochs is 0.0", COUNT, ""),
        ("train.warmup='2'", "train.warmup is the text '2'", "a number from 0 to 1", ""),
        ("train.warmup=150%", "train.warmup is the text '150%'", "a number from 0 to 1", ""),
        ("train.learning_rate='1e400'", "train.learning_rate is the text '1e400'", ABOVE_0, ""),
        (
            "expect=high",
            "expect is the text 'high'",
            'names, each with a text such as ">= 0.9" or "< 0.5"',
            "",
        ),
        ("data.label_map=x", "data.label_map is the text 'x'", "names, each with a text, or null", ""),
        ("train.epochs=true", "train.epochs is true", COUNT, ""),
        ("train.epochs=2.5", "train.epochs is 2.5", COUNT, ""),
        ("train.epochs=1e3", "train.epochs is 1e3", COUNT, "write 1000"),
        ("train.epochs=017", "train.epochs is the text '017'", COUNT, "write it without the leading 0: 17"),
        (
            "train.batch_size=null",
            "train.batch_size is null",
            "a whole number of at least 1",
            "give a value, or leave it out",
        ),
        ("train.learning_rate=", "train.learning_rate is empty", ABOVE_0, "give a value"),
        (
            "train.learning_rate=.nan",
            "train.learning_rate is the text '.nan'",
            ABOVE_0,
            "give a finite number",
        ),
        (
            "train.learning_rate=-.inf",
            "train.learning_rate is the text '-.inf'",
            ABOVE_0,
            "give a finite number",
        ),
        ("train.learning_rate=0", "train.learning_rate is 0", ABOVE_0, ""),
        (
            "train.learning_rate=0,1",
            "train.learning_rate is the text '0,1'",
            ABOVE_0,
            "write a point for the comma: 0.1",
        ),
        (
            "train.warmup=10%",
            "train.warmup is the text '10%'",
            "a number from 0 to 1",
            "write the fraction: 0.1",
        ),
        (
            "train.group_by_length=yes",
            "train.group_by_length is the text 'yes'",
            BOOLEAN,
            "write true, without quotes",
        ),
        (
            'train.group_by_length="false"',
            "train.group_by_length is the text 'false'",
            BOOLEAN,
            "write false, without quotes",
        ),
        ("train.group_by_length=1", "train.group_by_length is 1", BOOLEAN, ""),
        (
            "train.optimizer=adam",
            "train.optimizer is the text 'adam'",
            "one of adamw, sgd, adafactor, adamw8bit",
            "did you mean adamw?",
        ),
        (
            "train.optimizer={name: sgd}",
            "train.optimizer is a section with keys",
            "one of adamw, sgd, adafactor, adamw8bit",
            "",
        ),
        ("train.seed=-1", "train.seed is -1", "a whole number of at least 0 and below 4294967296", ""),
        ("data.eval=0.2", "data.eval is 0.2", "a text, a list of texts, or null", "write 20%"),
        ("data.eval=0.125", "data.eval is 0.125", "a text, a list of texts, or null", "write 12.5%"),
        ("data.eval=120%", "data.eval is '120%'", "a percentage between 0% and 100%, such as 20%", ""),
        ("data.eval=x%", "data.eval is 'x%'", "a percentage between 0% and 100%, such as 20%", ""),
        ("data.label=5", "data.label is 5", f"{FILLED}, or null", 'put it in quotes: "5"'),
        ("data.label=true", "data.label is true", f"{FILLED}, or null", 'put it in quotes: "true"'),
        ("data.labels=[a, 1]", "data.labels[1] is 1", "a text", 'put it in quotes: "1"'),
        ("data.labels=[a, [b]]", "data.labels[1] is a list", "a text", ""),
        ("data.labels=a", "data.labels is the text 'a'", "a list of texts, or null", "write a list: [a]"),
        ("model.freeze=backbon", "model.freeze is the text 'backbon'", FREEZE, "did you mean backbone?"),
        ("model.freeze=false", "model.freeze is false", FREEZE, "write none"),
        (
            "model=bert",
            "model is the text 'bert'",
            "a section with the keys name, shape, tokenizer, vocabulary, decoder, backbone, adapter, weights, "
            "revision, freeze, store_features, width, layers",
            "write {name: bert}",
        ),
        (
            "best=accuracy",
            "best is the text 'accuracy'",
            "a section with the keys metric, mode, or null",
            "write {metric: accuracy}",
        ),
        ("runtime=null", "runtime is null", None, "give a value, or leave it out"),
        ("expect=", "expect is empty", None, "give a value, or leave it out"),
        (
            "runtime.device=cuda:x",
            "runtime.device is the text 'cuda:x'",
            "a text such as auto or cpu or cuda or cuda:0",
            "",
        ),
        ("expect=0.9", "expect is 0.9", 'names, each with a text such as ">= 0.9" or "< 0.5"', ""),
        ("expect.accuracy=0.9", "expect.accuracy is 0.9", BOUND, 'write ">= 0.9"'),
        ("expect.accuracy=high", "expect.accuracy is the text 'high'", BOUND, ""),
        ("version=true", "version is true", "1", ""),
        ('version="1"', "version is the text '1'", "1", "remove the quotes: 1"),
        ("output=[x]", "output is a list", FILLED, ""),
    ],
)
def test_a_wrong_value(override, what, expected, cure):
    problem = only(TEXT, override)
    assert problem.what == what
    assert expected is None or problem.expected == expected
    assert problem.cure == cure


def test_in_a_file_there_is_a_line_to_remove():
    assert only(TEXT + "runtime:\n").cure == "give a value, or remove the line"


def test_the_place_of_a_wrong_value_is_the_value():
    assert only(changed("epochs", "  epochs:    x")).where == "run.yaml:10:14"
    assert only(changed("labels", "  labels: [negative, 1]")).where == "run.yaml:8:22"


PAIRS = "a list of lists of 2 whole numbers, or null"


@pytest.mark.parametrize(
    ("layers", "what", "expected"),
    [
        ("[[1, a]]", "distill.layers[0][1] is the text 'a'", "a whole number"),
        ("[[1, 2], [2, 3, 4]]", "distill.layers[1] is a list", "a list of 2 whole numbers"),
        ("[[1, 2], [2]]", "distill.layers[1] is a list", "a list of 2 whole numbers"),
        ("[1]", "distill.layers[0] is 1", "a list of 2 whole numbers"),
        ("{a: 1}", "distill.layers is a section with keys", PAIRS),
        ("last", "distill.layers is the text 'last'", PAIRS),
    ],
)
def test_pairs_of_layers_that_are_none(layers, what, expected):
    problem = only(IMAGE, "distill.features=hidden", f"distill.layers={layers}")
    assert (problem.what, problem.expected, problem.cure) == (what, expected, "")


def test_a_cure_that_gives_a_value_can_be_written():
    """Whatever is told to be written for a number is a value that the key takes."""
    for key in ("train.epochs", "train.warmup", "data.eval"):
        for text in ("'1'", "0,5", "007", "50%", "1e2", "'2.0'", "-3", "0.5"):
            try:
                parse(TEXT, f"{key}={text}")
            except ConfigError as error:
                (problem,) = error.problems
                written = re.fullmatch(r"(?:write|remove the quotes:)(?: .*:)? (\S+)", problem.cure)
                if written:
                    parse(TEXT, f"{key}={written[1]}")
                else:
                    assert problem.cure.startswith("put it in quotes: ") or not problem.cure
