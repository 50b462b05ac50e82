"""Configs through load_config, parse_config, dump_config: what is accepted, and how the rest is refused."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config_texts import IMAGE, TEXT, changed, parse, refused
from ptm.config.evaluation import best_mode
from ptm.config.load import check_files, dump_config, load_config, parse_config
from ptm.config.spec import BestSpec, DistillSpec, RunSpec
from ptm.errors import ConfigError

ROOT = Path(__file__).parents[2]


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


def test_a_byte_order_mark_and_foreign_line_ends_are_accepted(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_config(tmp_path / "a.yaml").train.epochs == 3


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["  labels: [" + "1, " * 90_000 + "]", "\n".join(f"  key{i}: *x" for i in range(20_000))]
)
def test_of_thousands_of_problems_the_first_are_said(line):
    assert 200 <= len(refused(changed("labels", line))) <= 201


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
        "optimizer": st.sampled_from(["adamw", "sgd", "adafactor"]),
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
                    "weights": st.sampled_from(["default", "a.bin", "a/b"]),
                    "revision": maybe | st.sampled_from(["main", "refs/pr/1", "v1.0"]),
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


def test_15_17_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match="is a named pipe"):
        load_config(tmp_path / "run.yaml")
