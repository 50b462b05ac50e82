"""Configs through load_config, parse_config, dump_config: what is accepted, and how the rest is refused."""

import dataclasses
import json
import os
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptm.config.evaluation import best_mode
from ptm.config.load import check_files, dump_config, json_schema, load_config, parse_config
from ptm.config.spec import BestSpec, DistillSpec, RunSpec
from ptm.errors import ConfigError

ROOT = Path(__file__).parents[2]
BASE, CWD = Path("/base"), Path("/cwd")

TEXT = """\
version: 1
task: text-classification
model: {name: bert-base-uncased}
data:
  source: csv:reviews
  train: train.csv
  eval: dev.csv
  labels: [negative, positive]
train:
  epochs: 3
  learning_rate: 2e-5
best: {metric: accuracy}
output: runs/a
expect: {accuracy: ">= 0.9"}
"""

IMAGE = """\
version: 1
task: image-classification
teacher: {name: ../runs/big}
model: {name: resnet18}
distill: {temperature: 4, kd_weight: 0.7}
data: {source: imagefolder:flowers, eval: 20%, image_size: 64, mean: [0.5, 0.5, 0.5]}
train: {steps: 1_000, optimizer: sgd, learning_rate: 0.1, warmup: .5, max_grad_norm: null}
output: ~/runs/b
"""


def parse(text: str, *overrides: str, base: Path = BASE, cwd: Path = CWD) -> RunSpec:
    return parse_config(text, "run.yaml", overrides, base=base, cwd=cwd)


def refused(text: str, *overrides: str) -> list:
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def only(text: str, *overrides: str):
    problems = refused(text, *overrides)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def changed(line: str, new: str, text: str = TEXT) -> str:
    """``text`` with a line, found by its beginning, replaced."""
    lines = text.splitlines()
    assert any(old.strip().startswith(line) for old in lines)
    return "".join(f"{new if old.strip().startswith(line) else old}\n" for old in lines)


# --- what a valid file means


def test_a_text_config():
    spec = parse(TEXT)
    assert (spec.task, spec.model.name, spec.model.weights) == (
        "text-classification",
        "bert-base-uncased",
        "default",
    )
    assert spec.data.labels == ("negative", "positive")
    assert (spec.train.epochs, spec.train.learning_rate, spec.train.seed) == (3, 2e-5, 42)
    assert spec.best == BestSpec(metric="accuracy", mode="max")
    assert spec.expect == {"accuracy": ">= 0.9"}
    assert spec.teacher is None and spec.distill is None


def test_an_image_config():
    spec = parse(IMAGE)
    assert spec.train.steps == 1000 and spec.train.warmup == 0.5 and spec.train.max_grad_norm is None
    assert spec.distill == DistillSpec(temperature=4.0, kd_weight=0.7)
    assert spec.data.eval == "20%" and spec.data.mean == (0.5, 0.5, 0.5)


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse(TEXT).output = "x"


def test_a_teacher_without_distill_gets_its_defaults_written_out():
    assert parse(changed("distill:", "", IMAGE)).distill == DistillSpec()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("2e-05", 2e-5),
        ("1", 1.0),
        ("1_000", 1000.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1.5E+3", 1500.0),
    ],
)
def test_numbers(written, value):
    assert parse(changed("learning_rate", f"  learning_rate: {written}")).train.learning_rate == value


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "True",
        "FALSE",
        "0x1F",
        "0o17",
        "017",
        "1:30",
        "2001-01-01",
        "1_",
        "nan",
        ".inf",
        "-",
        "a#b",
    ],
)
def test_texts_that_other_readers_take_for_something_else(text):
    assert parse(changed("labels", f"  labels: [{text}, other]")).data.labels == (text, "other")


@pytest.mark.parametrize(
    "text",
    ["true", "null", "3", "1e-5", "~", "# x", "a: b", " a ", "", "*a", "&a", "!a", "%", "<<", "é", "😀"],
)
def test_quoted_texts(text):
    for quoted in (json.dumps(text), json.dumps(text, ensure_ascii=False), f"'{text}'"):
        assert parse(changed("labels", f"  labels: [{quoted}, other]")).data.labels == (text, "other")


def test_a_byte_order_mark_and_foreign_line_ends_are_accepted(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_config(tmp_path / "a.yaml").train.epochs == 3


# --- paths


def test_paths_in_a_file_are_relative_to_it_and_output_to_the_working_directory():
    spec = parse(IMAGE, base=Path("/base/configs"))
    assert spec.data.source == "imagefolder:/base/configs/flowers"
    assert spec.teacher.name == "/base/runs/big"
    assert spec.output == str(Path("~/runs/b").expanduser())
    assert parse(TEXT).output == "/cwd/runs/a"


def test_paths_in_overrides_are_relative_to_the_working_directory():
    spec = parse(IMAGE, "data.source=csv:x", "teacher.name=./t", "model.weights=w/x", "output=o")
    assert spec.data.source == "csv:/cwd/x"
    assert (spec.teacher.name, spec.model.weights, spec.output) == ("/cwd/t", "/cwd/w/x", "/cwd/o")
    assert parse(IMAGE, "teacher={name: ../t}").teacher.name == "/t"


@pytest.mark.parametrize("source", ["hub:nyu-mll/glue/sst2", "builtin:digits"])
def test_sources_without_a_path_stay(source):
    text = changed("data:", f"data: {{source: {source}, train: train, eval: test}}", IMAGE)
    assert parse(text).data.source == source


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "parquet", "imagefolder"])
def test_sources_with_a_path(kind):
    assert parse(changed("data:", f"data: {{source: {kind}:a/../b}}", IMAGE)).data.source == f"{kind}:/base/b"
    assert parse(changed("data:", f"data: {{source: {kind}:/a}}", IMAGE)).data.source == f"{kind}:/a"
    assert parse(changed("data:", f'data: {{source: "{kind}: a"}}', IMAGE)).data.source == f"{kind}:/base/a"


def test_a_model_name_is_a_path_when_it_looks_like_one_or_exists(tmp_path):
    (tmp_path / "org" / "model").mkdir(parents=True)
    (tmp_path / "plain").mkdir()

    def name(written: str) -> str:
        return parse(changed("model:", f"model: {{name: {written}}}"), base=tmp_path).model.name

    for untouched in ("bert-base-uncased", "other/model", "plain", "package:org/model", "timm:org/model"):
        assert name(untouched) == untouched
    assert name("org/model") == str(tmp_path / "org" / "model")
    assert name("./x") == str(tmp_path / "x")
    assert name("../x") == str(tmp_path.parent / "x")
    assert name('"~/x"') == str(Path("~/x").expanduser())
    assert name("/x") == "/x"
    assert name("'~nobody-of-that-name/x'") == str(tmp_path / "~nobody-of-that-name/x")
    assert name("a/" + "x" * 5000) == "a/" + "x" * 5000


@pytest.mark.parametrize("written", ["w.safetensors", "w.pth", "w.th", "w.PT", "w.bin", "a/w"])
def test_weights_that_are_files(written):
    assert (
        parse(changed("model:", f"model: {{name: resnet18, weights: {written}}}")).model.weights
        == f"/base/{written}"
    )


@pytest.mark.parametrize("written", ["default", "none", "IMAGENET1K_V2"])
def test_weights_that_are_names(written):
    assert parse(changed("model:", f"model: {{name: resnet18, weights: {written}}}")).model.weights == written


def test_dots_behind_a_symbolic_link_lead_where_the_system_says(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    (tmp_path / "link" / "c.yaml").write_text(IMAGE)
    spec = load_config("link/c.yaml", cwd=tmp_path)
    assert spec.teacher.name == str((tmp_path / "real").resolve() / "runs" / "big")
    assert spec.data.source == f"imagefolder:{tmp_path}/link/flowers"


# --- overrides


def test_overrides_apply_in_order_and_have_yaml_types():
    spec = parse(
        TEXT,
        "train.epochs=1",
        "train.epochs=2",
        "best=null",
        "data.labels=[a,b]",
        "model.freeze=['a.*', b]",
        "data.text=5 stars",
        "expect.accuracy=>= 0.5",
        "expect.loss=< 1",
        "train.learning_rate=1e-3",
        'data.label="5"',
        "runtime={device: cpu, threads: 2}",
        " runtime.workers = 3 ",
        "data.eval=csv: a",
    )
    assert spec.train.epochs == 2 and spec.best is None and spec.data.labels == ("a", "b")
    assert spec.model.freeze == ("a.*", "b") and spec.data.text == "5 stars" and spec.data.label == "5"
    assert spec.expect == {"accuracy": ">= 0.5", "loss": "< 1"}
    assert spec.train.learning_rate == 1e-3
    assert (spec.runtime.device, spec.runtime.threads, spec.runtime.workers) == ("cpu", 2, 3)
    assert spec.data.eval == "csv: a"


def test_an_override_may_create_and_remove_sections():
    assert parse(TEXT, "best=null", "best.metric=loss", "best.mode=min").best == BestSpec(
        metric="loss", mode="min"
    )
    assert parse(IMAGE, "teacher=null", "distill=null").teacher is None
    assert parse(TEXT, "expect={}").expect == {}


def test_an_override_mends_a_file():
    assert parse(changed("epochs", "  epochs: many"), "train.epochs=3").train.epochs == 3
    assert parse(changed("output", ""), "output=x").output == "/cwd/x"


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("train.lr=1", "unknown key 'lr' in train"),
        ("train.epochs=3.5", "train.epochs is 3.5"),
        ("train.epochs", "not a change of a key"),
        ("=3", "not a change of a key"),
        ("train..epochs=3", "not a change of a key"),
        (".".join("a" * 5000) + "=1", "not a change of a key"),
        ("train.epochs.x=3", "epochs has no keys: it is a value"),
        ("data.labels.0=3", "labels has no keys: it is a value"),
        ("data.labels=[a", "a list without its end"),
        ("data.labels=[*a, b]", "an alias, `*a`"),
        ("data.labels=[!!str a, b]", "a tag, `!!str`"),
        ("best={metric: a, metric: b}", "the key 'metric' stands here again"),
        ("data.label='a", "a quote that is never closed"),
        ("data.text=a\0b", "an invisible character, U+0000"),
        ("data.text=\udcff", "an invisible character, U+DCFF"),
        ("data.text='\\0'", None),
        ('data.text="\\0"', "a control character, U+0000"),
        ("train.seed=" + "9" * 40, "the number"),
        ("data.labels=" + "[" * 5000, "nested deeper than 20 levels"),
        ("output=", "output is empty"),
        ("teacher.width=4", "teacher.name is missing"),
    ],
)
def test_a_bad_override_is_named(override, what):
    if what is None:
        assert parse(TEXT, override).data.text == "\\0"
        return
    problem = refused(TEXT, override)[0]
    assert problem.what.startswith(what)
    assert problem.where.startswith("--set ")
    assert problem.where == f"--set {override}" or len(override) > 100 or not override.isprintable()


# --- many problems at once, in the order of the file


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["  labels: [" + "1, " * 90_000 + "]", "\n".join(f"  key{i}: *x" for i in range(20_000))]
)
def test_thousands_of_problems_take_no_time_and_the_first_are_said(line):
    started = time.perf_counter()
    problems = refused(changed("labels", line))
    assert 200 <= len(problems) <= 201 and time.perf_counter() - started < 30


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


# --- keys


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


@pytest.mark.parametrize(
    ("section", "key", "cure"),
    [
        ("train", "num_train_epochs", "it is train.epochs here"),
        ("train", "lr", "it is train.learning_rate here"),
        ("train", "wd", "it is train.weight_decay here"),
        ("train", "lr_scheduler_type", "it is train.scheduler here"),
        ("train", "per_device_train_batch_size", "it is train.batch_size here"),
        (
            "train",
            "gradient_accumulation_steps",
            "batch_size is the whole batch here; train.micro_batch_size says",
        ),
        ("train", "warmup_steps", "give train.warmup, the fraction of all steps"),
        ("train", "warmup_ratio", "it is train.warmup here"),
        ("train", "output_dir", "it is output here, at the top level"),
        ("train", "max_seq_length", "it is data.max_length here, in the section data:"),
        ("train", "fp16", "it is runtime.precision here, in the section runtime:"),
        ("train", "bf16", "it is runtime.precision here, in the section runtime:"),
        ("train", "metric_for_best_model", "it is best.metric here, in the section best:"),
        ("train", "greater_is_better", "it is best.mode here: max for true, min for false"),
        ("train", "device", "did you mean runtime.device?"),
        ("train", "devise", "did you mean runtime.device?"),
        ("train", "weight_decy", "did you mean train.weight_decay?"),
        ("train", "resume_from_checkpoint", "remove it and run with --resume"),
        ("train", "report_to", "remove it; ptm sends nothing anywhere"),
        ("data", "batch_size", "did you mean train.batch_size?"),
        ("data", "max_len", "it is data.max_length here"),
        ("data", "name", "it is data.source here"),
        ("data", "dataset", "it is data.source here"),
        ("model", "model_name_or_path", "it is model.name here"),
        ("model", "labels", "did you mean teacher.labels or data.labels?"),
        ("model", "pretrained", "it is model.weights here"),
        ("runtime", "num_workers", "it is runtime.workers here"),
        ("best", "name", "it is best.metric here"),
    ],
)
def test_names_of_other_tools_and_sections(section, key, cure):
    problem = only(TEXT, f"{section}.{key}=1")
    assert problem.what == f"unknown key {key!r} in {section}"
    assert problem.cure.startswith(cure)


@pytest.mark.parametrize(
    ("section", "key", "cure"),
    [
        ("distill", "alpha", "give distill.kd_weight (the teacher's term) and distill.ce_weight"),
        ("distill", "T", "it is distill.temperature here"),
        ("teacher", "model_name_or_path", "it is teacher.name here"),
        ("teacher", "pretrained", "it is teacher.weights here"),
    ],
)
def test_names_of_other_distillation_tools(section, key, cure):
    assert only(IMAGE, f"{section}.{key}=1").cure.startswith(cure)


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


# --- values


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
        ("train.epochs='1e-5'", "train.epochs is the text '1e-5'", COUNT, "remove the quotes: 1e-5"),
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
            "one of adamw, sgd",
            "did you mean adamw?",
        ),
        ("train.optimizer={name: sgd}", "train.optimizer is a section with keys", "one of adamw, sgd", ""),
        ("train.seed=-1", "train.seed is -1", "a whole number of at least 0 and below 4294967296", ""),
        ("data.eval=0.2", "data.eval is 0.2", "a text, or null", "write 20%"),
        ("data.eval=0.125", "data.eval is 0.125", "a text, or null", "write 12.5%"),
        ("data.eval=120%", "data.eval is '120%'", "a percentage between 0% and 100%, such as 20%", ""),
        ("data.eval=x%", "data.eval is 'x%'", "a percentage between 0% and 100%, such as 20%", ""),
        ("data.label=5", "data.label is 5", FILLED, 'put it in quotes: "5"'),
        ("data.label=true", "data.label is true", FILLED, 'put it in quotes: "true"'),
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


@pytest.mark.parametrize(
    ("source", "what", "cure"),
    [
        ("reviews.csv", "the source 'reviews.csv' does not say what it is", "write csv:reviews.csv"),
        ("a/b.JSONL", "the source 'a/b.JSONL' does not say what it is", "write json:a/b.JSONL"),
        ("data", "the source 'data' does not say what it is", "begin it with one of hub:, csv:, tsv:, json:"),
        ("cvs:a", "unknown kind of source 'cvs:'", "did you mean csv:a"),
        ("s3://x", "unknown kind of source 's3:'", "begin it with one of hub:, csv:"),
        ("csv:", "csv: names nothing", "write csv:NAME"),
        ("builtin:digits", "builtin: holds images, this is text-classification", "use hub:, csv:"),
    ],
)
def test_a_source_that_is_none(source, what, cure):
    problem = only(changed("source", f"  source: '{source}'"))
    assert (problem.where, problem.what) == ("run.yaml:5:11", what)
    assert problem.cure.startswith(cure)


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


# --- YAML that is not read


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: &x 1\n", "1:4", "an anchor, `&x`"),
        ("a: *x\n", "1:4", "an alias, `*x`"),
        ("<<: {a: 1}\n", "1:1", "a merge key, `<<`"),
        ("a: !x 1\n", "1:4", "a tag, `!x`"),
        ("a: !!python/object/apply:os.system [ls]\n", "1:4", "a tag, `!!python/object/apply:os.system`"),
        ("a: !u!x 1\n", "1:4", "a tag"),
        ("a: 1\na: 2\n", "2:1", "the key 'a' stands here again, after run.yaml:1:1"),
        ("a: {b: 1, 'b': 2}\n", "1:11", "the key 'b' stands here again, after run.yaml:1:5"),
        ("version: 1\n---\na: 2\n", "2:1", "a second document begins here"),
        ("? [a]\n: 1\n", "1:3", "a list or a mapping as a key"),
        ("a:\n\tb: 1\n", "2:1", "a tab"),
        ("a:\tb\n", "1:3", "a tab"),
        ("a:3\nb: 4\n", "1:2", "no space after the colon"),
        ("a: 1\nb:3\n", "2:1", "not `key: value`"),
        ("source: csv: x\n", "1:12", "a `: ` where none can be"),
        ("a: >= 0.9\n", "1:4", "`>` and `|` begin a folded text"),
        ("a: {b: >= 0.9}\n", "1:8", "`>` begins a folded text"),
        ("a: %x\n", "1:4", "a value cannot begin with this character"),
        ("a:\n  b: 2\n c: 3\n", "3:2", "indented differently"),
        ("a: 'x\n", "1:4", "a quote that is never closed"),
        ("a: [1, 2\n", "2:1", "a list without its end"),
        ("a: {b: 1\n", "2:1", "a mapping without its end"),
        ("a: 'x' y\n", "1:8", "something follows a complete value"),
        ("a: - b\n", "1:4", "a list item where none can be"),
        ('a: "\\d"\n', "1:6", "an unknown escape in double quotes"),
        ('a: "\\UFFFFFFFF"\n', "1:7", "this number is not one of a character"),
        ('a: "\\ud800"\n', "1:4", "a control character, U+D800, in a text"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", "1:9", "this number is not one of a character"),
        ("a: " + "9" * 31 + "\n", "1:4", "the number 9999999999999999999… is too large"),
        ("a: " + "9" * 10_000 + "\n", "1:4", "the number 9999999999999999999… is too large"),
        ("a: 1e999\n", "1:4", "the number 1e999 is too large"),
        ("a: b\0\n", "1:5", "an invisible character, U+0000"),
        ("a: 1\nb: \x1b[31m\n", "2:4", "an invisible character, U+001B"),
        ("a: b\u2028\n", "1:5", "an invisible character, U+2028"),
        ("a: 1\r\nb: \ufeff2\ufeff\n", "2:4", "an invisible character, U+FEFF, and 1 more of the kind"),
        ("- a\n", "1:1", "the file holds a list"),
        ("just words\n", "1:1", "the file holds a single value"),
        ("[" * 5000, "1:21", "nested deeper than 20 levels"),
        ("a: " + "{a: " * 5000, "1:77", "nested deeper than 20 levels"),
        ("- " * 5000, "1:41", "nested deeper than 20 levels"),
        ("\n".join(" " * i + "a:" for i in range(400)), "20:20", "nested deeper than 20 levels"),
        ("a: [" + "1, " * 200_000 + "]\n", "1:299996", "more than 100,000 values"),
    ],
)
def test_yaml_that_is_refused(text, where, what):
    started = time.perf_counter()
    problems = refused(text)
    assert (f"run.yaml:{where}", what) in [(p.where, p.what) for p in problems]
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file(text):
    problem = only(text)
    assert (problem.where, problem.what) == ("run.yaml", "the file is empty")


# --- files


def refused_file(path, **options) -> list:
    with pytest.raises(ConfigError) as caught:
        load_config(path, **options)
    return list(caught.value.problems)


def test_places_name_the_file_as_it_was_given(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(changed("epochs", "  epochs: 0"))
    assert refused_file("sub/a.yaml", cwd=tmp_path)[0].where == "sub/a.yaml:10:11"
    assert refused_file(tmp_path / "sub" / "a.yaml")[0].where == f"{tmp_path}/sub/a.yaml:10:11"


@pytest.mark.parametrize(
    ("raw", "where", "what"),
    [
        (b"a: caf\xe9\n", ":1:7", "byte 0xe9 is not UTF-8"),
        ("a: é\nb: é".encode() + b"\xff", ":2:5", "byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbfa: \xff", ":1:4", "byte 0xff is not UTF-8"),
        (TEXT.encode("utf-16"), "", "the file is UTF-16"),
        (TEXT.encode("utf-16-le"), ":1:2", "an invisible character, U+0000"),
        (b"#" * (2**20 + 1), "", "the file is larger than 1 MiB"),
        (b"", "", "the file is empty"),
    ],
)
def test_bytes_that_are_no_text(tmp_path, raw, where, what):
    (tmp_path / "a.yaml").write_bytes(raw)
    problem = refused_file("a.yaml", cwd=tmp_path)[0]
    assert problem.where == f"a.yaml{where}"
    assert problem.what.startswith(what)
    assert problem.cure


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "resnet.yaml").write_text(TEXT)
    problem = refused_file(tmp_path / "resent.yaml")[0]
    assert problem.what == "there is no such file"
    assert problem.cure == f"did you mean {tmp_path}/resnet.yaml?"
    assert refused_file(tmp_path / "resnet")[0].cure == f"did you mean {tmp_path}/resnet.yaml?"
    assert refused_file("nowhere/x.yaml", cwd=tmp_path)[0].cure == ""


def test_a_directory(tmp_path):
    (tmp_path / "b.yaml").write_text(TEXT)
    assert refused_file(tmp_path)[0].cure == "choose one of: b.yaml"
    (tmp_path / "config.yaml").write_text(TEXT)
    problem = refused_file(tmp_path)[0]
    assert (problem.what, problem.cure) == (
        "this is a run directory",
        f"its config is {tmp_path}/config.yaml",
    )


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "\udcff/\udcff.yaml", "~nobody-of-that-name/a.yaml"])
def test_paths_that_cannot_be(path, tmp_path):
    assert refused_file(path, cwd=tmp_path)[0].where.isprintable()


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.yaml").touch()
    assert refused_file(tmp_path / "a.yaml" / "b.yaml")[0].what == "cannot be read: Not a directory"


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "a.yaml").write_text(TEXT)
    assert refused_file(folder / "a.yaml")[0].what == "a folder on the way has a name that is not UTF-8"


def test_files_are_checked_together(tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "b.yaml").write_text("a: 1\n")
    assert check_files(["a.yaml"], cwd=tmp_path) == []
    where = [p.where for p in check_files(["a.yaml", "b.yaml", "c.yaml"], cwd=tmp_path)]
    assert where[0] == "b.yaml:1:1" and where[-1] == "c.yaml"


# --- what is shipped


def shipped() -> list[tuple[str, str, Path]]:
    found = [
        (str(p.relative_to(ROOT)), p.read_text(), p.parent)
        for p in sorted((ROOT / "configs").rglob("*.yaml"))
    ]
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        found += [
            (f"{page.name}#{n}", b, ROOT)
            for n, b in enumerate(blocks)
            if re.search(r"^version:", b, re.MULTILINE)
        ]
    return found


@pytest.mark.parametrize(("name", "text", "base"), shipped(), ids=[name for name, _, _ in shipped()])
def test_every_shipped_config_is_valid(name, text, base):
    spec = parse_config(text, name, base=base, cwd=ROOT)
    assert parse(dump_config(spec)) == spec


def test_the_control_of_a_shipped_distillation_is_a_fine_tuning():
    spec = load_config(ROOT / "configs" / "digits_distill.yaml", ["teacher=null", "distill=null"])
    assert spec.teacher is None and spec.distill is None


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


# --- the schema for editors


def test_the_json_schema_describes_every_key_and_no_other():
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    assert all(section["additionalProperties"] is False for section in sections)
    assert all(field["description"] for section in sections for field in section["properties"].values())
    assert list(schema["properties"]) == [field.name for field in dataclasses.fields(RunSpec)]
    assert schema["$defs"]["TrainSpec"]["properties"]["learning_rate"]["exclusiveMinimum"] == 0
    assert schema["required"] == ["version", "task", "model", "data", "train", "output"]


# --- round trips and broken files, by the hundred

printable = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"),
    max_size=12,
)
ODD_WORDS = """null ~ true yes NO 1 1e5 017 1_0 .5 .inf 0x1 1:30 2001-01-01 = ? | > --- ... <<
[a {a *a &a !a %a @a `a ' " \\ é 😀 e\u0301"""
ODD_TEXTS = ["- a", "a: b", "a #b", " a", "a ", "a\n b\n", "\ta", "a\xa0", "a" * 300]
tricky = st.sampled_from([*ODD_WORDS.split(), *ODD_TEXTS])
texts = (printable | tricky).filter(lambda text: text.strip() != "")
names = texts.filter(lambda text: not text.startswith(("~", ".", "/")) and "/" not in text)
maybe = st.none()
counts = st.integers(1, 10**9)
positive = st.floats(1e-300, 1e300)
labels = st.lists(texts, min_size=2, max_size=5, unique=True)


def section(required: dict, optional: dict) -> st.SearchStrategy:
    return st.fixed_dictionaries(required, optional=optional)


trains = section(
    {"learning_rate": positive},
    {
        "batch_size": st.integers(64, 999),
        "micro_batch_size": maybe | st.integers(1, 32),
        "optimizer": st.sampled_from(["adamw", "sgd"]),
        "weight_decay": st.floats(0, 1e6),
        "momentum": st.floats(0, 1, exclude_max=True),
        "warmup": st.floats(0, 1),
        "milestones": st.lists(st.floats(0.01, 0.99), max_size=4).map(sorted),
        "max_grad_norm": maybe | positive,
        "seed": st.integers(0, 2**32 - 1),
        "group_by_length": st.booleans(),
        "head_learning_rate": maybe | positive,
    },
)
metrics = st.sampled_from(["loss", "accuracy", "f1_macro", "mcc"])
runs = st.builds(
    lambda run, length: run | {"train": run["train"] | length},
    section(
        {
            "version": st.just(1),
            "task": st.just("text-classification"),
            "model": section(
                {"name": names},
                {
                    "weights": st.sampled_from(["default", "none", "a.bin", "a/b"]),
                    "revision": maybe | texts,
                    "freeze": st.sampled_from(["none", "backbone"]) | st.lists(texts, max_size=3),
                },
            ),
            "data": section(
                {"source": st.builds("{}:{}".format, st.sampled_from(["csv", "hub", "parquet"]), names)},
                dict.fromkeys(["train", "eval", "text", "text_pair"], maybe | texts)
                | {"label": texts, "labels": maybe | labels, "max_length": maybe | st.integers(2, 10**6)},
            ),
            "train": trains,
            "output": names,
        },
        {
            "teacher": maybe | section({"name": names}, {"labels": maybe | labels}),
            "best": maybe
            | st.builds(
                lambda name, explicit: {"metric": name} | ({"mode": best_mode(name)} if explicit else {}),
                metrics,
                st.booleans(),
            ),
            "runtime": section({}, {"threads": maybe | counts, "compile": st.booleans()}),
            "expect": st.dictionaries(
                metrics,
                st.builds("{} {}".format, st.sampled_from([">=", "<", "=="]), st.floats(0, 1e9)),
                max_size=3,
            ),
        },
    ),
    st.builds(lambda key, n: {key: n}, st.sampled_from(["epochs", "steps"]), counts),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs)
def test_a_dumped_spec_reads_back_as_itself_from_anywhere(data):
    spec = parse(json.dumps(data))  # JSON is YAML
    dumped = dump_config(spec)
    assert parse(dumped, base=Path("/elsewhere"), cwd=Path("/nowhere")) == spec
    # And as the same values for a reader of YAML 1.1.
    assert json.dumps(yaml.safe_load(dumped)) == json.dumps(dataclasses.asdict(spec))


def result(text: str) -> RunSpec | ConfigError:
    try:
        return parse(text)
    except ConfigError as error:
        assert all(problem.what for problem in error.problems)
        assert re.fullmatch(r"run\.yaml(:\d+:\d+)?", error.problems[0].where)
        return error


@st.composite
def broken(draw) -> str:
    """A valid file with some lines deleted, doubled, moved or indented, and some characters put in."""
    lines = draw(st.sampled_from([TEXT, IMAGE])).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["delete", "double", "move", "indent", "insert", "cut"]))
        line = lines[at]
        if change == "delete" and len(lines) > 1:
            del lines[at]
        elif change == "double":
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif change == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif change == "indent":
            lines[at] = " " * draw(st.integers(0, 5)) + line.lstrip()
        elif change == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))]
        else:
            where = draw(st.integers(0, len(line)))
            piece = draw(
                st.text(st.sampled_from("[]{}:,-?!&*#|>'\"%@` \t\n\\~<0a1é\0\x85\ud800"), max_size=5)
                | st.text(max_size=3)
            )
            lines[at] = line[:where] + piece + line[where:]
    return "\n".join(lines)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken())
def test_a_broken_file_is_a_spec_or_a_config_error(text):
    result(text)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab1:- \n[]{},#&*!|>'\"%?\\\t"), max_size=60))
def test_any_text_is_a_config_error(text):
    assert isinstance(result(text), ConfigError)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=80), at=st.integers(0, len(TEXT)))
def test_bytes_put_into_a_file_are_a_spec_or_a_config_error(raw, at, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(TEXT[:at].encode() + raw + TEXT[at:].encode())
    try:
        load_config(path)
    except ConfigError as error:
        assert all(problem.where.startswith(str(path)) for problem in error.problems)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override_is_a_spec_or_a_config_error(key, value):
    for override in (f"{key}={value}", f"data.text={value}", f"expect={{{value}}}"):
        try:
            parse(TEXT, override)
        except ConfigError as error:
            assert all(problem.where.isprintable() for problem in error.problems)


@pytest.mark.parametrize(
    ("metric", "mode"), [("loss", "min"), ("accuracy", "max"), ("f1_macro", "max"), ("mcc", "max")]
)
def test_the_metric_decides_which_evaluation_is_the_best(metric, mode):
    """10.1: without a mode, a loss is minimised."""
    assert parse(TEXT, f"best={{metric: {metric}}}").best == BestSpec(metric=metric, mode=mode)


@pytest.mark.parametrize(("metric", "mode"), [("loss", "max"), ("accuracy", "min")])
def test_a_mode_that_contradicts_its_metric_is_refused(metric, mode):
    with pytest.raises(ConfigError, match="is better") as caught:
        parse(TEXT, f"best={{metric: {metric}, mode: {mode}}}")
    assert "remove mode: the metric decides" in str(caught.value)
