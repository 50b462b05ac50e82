"""Cross-validation: folds share all rows out, and what their models say is one result."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as sk
from typer.testing import CliRunner

from helpers import text_spec
from ptm.cli.app import app
from ptm.config.folds import fold_name
from ptm.config.spec import DataSpec
from ptm.data.tabular import load_dataset
from ptm.errors import ConfigError, ModelError, RunDirectoryError
from ptm.experiment.folds import DOUBTS, PREDICTIONS, RESULT, fold_changes, pool, require_place, told
from ptm.report.folds import PAGE_MARK
from ptm.run.manifest import write_manifest
from ptm.run.results import parse_results
from records import RECORD
from tiny.samples import sentences, write_csv


def loaded(folder, fold, **keys):
    data = DataSpec(
        source=f"csv:{folder}", train="train.csv", eval=fold, labels=("negative", "positive"), **keys
    )
    return load_dataset(data, {"text": "text"})


@pytest.fixture
def table(tmp_path):
    rows = [(f"{text} {i}", label, f"user{i // 3}") for i, (text, label) in enumerate(sentences(45, 1))]
    rows[40] = (rows[2][0], *rows[40][1:])  # equal texts stay on one side
    write_csv(tmp_path / "train.csv", rows, ("text", "label", "user"))
    return tmp_path


@pytest.mark.parametrize("keys", [{}, {"split_by": "user"}])
def test_11_05_folds_share_all_rows_out_by_label_and_by_group(table, keys):
    seen, sizes = [], []
    for number in range(1, 5):
        dataset = loaded(table, fold_name(number, 4), **keys)
        held, rest = (
            [examples.where(i) for i in range(len(examples))] for examples in (dataset.eval, dataset.train)
        )
        assert set(held).isdisjoint(rest) and len(held) + len(rest) == 45
        assert set(dataset.eval.columns["text"]).isdisjoint(dataset.train.columns["text"])
        if keys:
            assert set(dataset.eval.attributes["user"]).isdisjoint(dataset.train.attributes["user"])
        else:
            assert abs(dataset.eval.targets.mean() - 0.5) < 0.12
        seen += held
        sizes.append(len(held))
    assert len(seen) == len(set(seen)) == 45
    assert min(sizes) >= 7


def test_11_05_numbers_of_folds_that_make_no_sense(tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r")
    assert fold_changes(spec, 3) == ([], "data.eval=fold-1-of-3,fold-2-of-3,fold-3-of-3")
    tested = replace(spec, data=replace(spec.data, test="test.csv"))
    assert fold_changes(tested, 2)[0] == ["data.test=null"]
    with pytest.raises(ConfigError, match="1 folds"):
        fold_changes(spec, 1)
    with pytest.raises(ConfigError, match="held out of train"):
        fold_changes(replace(spec, data=replace(spec.data, test="20%")), 3)


@pytest.mark.processes
def test_11_05_a_cross_validation_from_the_command_line(run_cli, tiny_bert, tmp_path):
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(sentences(64, 1))]
    wrong = {9: "negative", 30: "positive"}
    write_csv(tmp_path / "train.csv", [(t, wrong.get(i, label)) for i, (t, label) in enumerate(rows)])
    config = tmp_path / "c.yaml"
    config.write_text(
        f"""
version: 1
task: text-classification
model: {{name: {tiny_bert}}}
data: {{source: "csv:{tmp_path}", train: train.csv, eval: 20%, test: train.csv, labels: [negative, positive]}}
train: {{epochs: 28, batch_size: 8, learning_rate: 3e-3, eval_every_steps: 1000}}
runtime: {{device: cpu, threads: 1}}
output: {tmp_path / "r"}
"""
    )
    done = run_cli("finetune", config, "--folds", "2", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)["folds"]
    place = tmp_path / "r"
    assert json.loads((place / "folds.json").read_text()) == content
    lines = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    assert len({row["where"] for row in lines}) == len(lines) == content["examples"] == 64
    assert {row["fold"] for row in lines} == {1, 2}
    accuracy = sk.accuracy_score([r["label"] for r in lines], [r["prediction"] for r in lines])
    assert content["metrics"]["accuracy"] == pytest.approx(accuracy)
    low, high = content["interval"]["accuracy"]
    assert low < accuracy < high
    of_folds = [json.loads((place / f"eval=fold-{n}-of-2" / "results.json").read_text()) for n in (1, 2)]
    assert all(each.get("test") is None for each in of_folds)
    mean = np.mean([each["metrics"]["accuracy"] for each in of_folds])
    assert content["over_folds"]["accuracy"]["mean"] == pytest.approx(mean)
    doubtful = [json.loads(line) for line in (place / "doubtful_labels.jsonl").read_text().splitlines()]
    assert content["doubtful_labels"] == len(doubtful) >= 2
    assert {row["where"].rpartition(":")[2] for row in doubtful[:2]} == {
        "11",
        "32",
    }  # line 1 names the columns
    assert doubtful[0]["label"] != doubtful[0]["likely"]
    assert "out of fold: 64 predictions of 2 models" in told(content, place)[0]
    page = (place / "report.html").read_text()
    assert page.encode().startswith(PAGE_MARK) and f"{accuracy:.4f}" in page
    for row in doubtful:
        assert row["where"] in page and row["input"] in page
    # Again: nothing is trained, and the same is told.
    again = pool(
        [place / f"eval=fold-{n}-of-2" for n in (1, 2)], text_spec(tiny_bert, tmp_path, place), place
    )
    assert again == content


def test_15_06_a_page_of_somebody_elses_is_not_replaced_by_that_of_folds(tmp_path, tiny_bert):
    (tmp_path / "c.yaml").write_text("x")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.html").write_text("<p>mine</p>")
    with pytest.raises(ConfigError, match="did not write there"):
        require_place(tmp_path / "r", tmp_path / "c.yaml", text_spec(tiny_bert, tmp_path, tmp_path / "r"))


@pytest.mark.parametrize("name", [RESULT, PREDICTIONS, DOUBTS])
def test_15_06_what_is_written_of_all_folds_replaces_nothing_else(tmp_path, name):
    spec = text_spec("new:bert", tmp_path / "data", tmp_path)
    for content in ('{"text": "years of work"}\n', "years of work\n", "[1]\n", "1\n"):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match="--folds would replace a file"):
            require_place(tmp_path, tmp_path / "c.yaml", spec)
    row = {"id": 0, "where": "a.csv:2", "label": "a"}
    own = {RESULT: {"over_folds": {}}, PREDICTIONS: row | {"prediction": "a"}}
    doubt = row | {"likely": "b", "scores": {"a": 0.1, "b": 0.9}}
    (tmp_path / name).write_text(json.dumps(own.get(name, doubt)) + "\n")
    require_place(tmp_path, tmp_path / "c.yaml", spec)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--folds would replace a file"):
        require_place(tmp_path, tmp_path / "c.yaml", spec)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1][:9]],
        lambda lines: [*lines[:-1], "5"],
        lambda lines: [*lines[:-1], '{"id": 3, "where": "a:5"}'],
        lambda lines: [*lines[:-1], lines[-1].replace('"positive", "pred', '"other", "pred')],
        lambda lines: [*lines[:-1], lines[-1].replace("0.75", '"x"')],
    ],
    ids=["a line is gone", "torn", "a number", "without a label", "another label", "no number"],
)
def test_15_08_predictions_of_a_fold_that_are_damaged_are_no_result(tmp_path, monkeypatch, spoil):
    """One that was gone made a result of fewer examples; the others ended in tracebacks."""
    scores = {"negative": 0.25, "positive": 0.75}
    rows = [
        {"id": i, "where": f"a:{i + 2}", "label": label, "prediction": label, "scores": scores}
        for i, label in enumerate(["negative", "positive"] * 2)
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "fold").mkdir()
    (tmp_path / "all").mkdir()
    labels = ("negative", "positive")
    results = SimpleNamespace(
        labels=labels, metrics={}, metrics_of=lambda split: {}, eval=SimpleNamespace(examples=4)
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    write_manifest(tmp_path / "fold" / "manifest.json", RECORD)
    spec = text_spec("new:bert", tmp_path, tmp_path)
    file = tmp_path / "fold" / PREDICTIONS
    file.write_text("\n".join(lines) + "\n")
    assert pool([tmp_path / "fold"], spec, tmp_path / "all")["examples"] == 4
    for path in (tmp_path / "all").iterdir():
        path.unlink()
    file.write_text("\n".join(spoil(lines)) + "\n")
    with pytest.raises(ModelError, match="not as the run wrote them"):
        pool([tmp_path / "fold"], spec, tmp_path / "all")
    assert not list((tmp_path / "all").iterdir())


def test_15_08_a_fold_whose_metric_its_predictions_do_not_come_to_is_no_result(tmp_path, monkeypatch):
    """The mean over the folds was of what its results.json says."""
    row = {"id": 0, "where": "a:2", "label": "a", "prediction": "a", "scores": {"a": 1.0}}
    (tmp_path / PREDICTIONS).write_text(json.dumps(row) + "\n")
    write_manifest(tmp_path / "manifest.json", RECORD)
    results = parse_results(
        {"task": "text-classification", "status": "done", "metrics": {"accuracy": 0.25}, "labels": ["a"]}
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    with pytest.raises(RunDirectoryError, match=r"their accuracy is 1, and results\.json has 0\.25"):
        pool([tmp_path], text_spec("new:bert", tmp_path, tmp_path), tmp_path / "all")


def test_15_08_numbers_that_are_all_alike_have_a_correlation_of_0(tmp_path, monkeypatch):
    """It was no number, which no JSON holds: a traceback, when all folds were trained."""
    rows = [{"id": i, "where": f"a:{i}", "label": float(i), "prediction": 2.0} for i in range(4)]
    (tmp_path / PREDICTIONS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = SimpleNamespace(
        labels=(), metrics={}, metrics_of=lambda split: {}, eval=SimpleNamespace(examples=4)
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    write_manifest(tmp_path / "manifest.json", RECORD)
    spec = text_spec("new:bert", tmp_path, tmp_path)
    spec = replace(spec, data=replace(spec.data, label_type="number"))
    content = pool([tmp_path], spec, tmp_path)
    assert content["metrics"] == {"pearson": 0.0, "mean_squared_error": 1.5}


def test_15_08_pooled_label_sets_leave_out_what_is_neither_there_nor_predicted(tmp_path, monkeypatch):
    """As the runs' own metrics do: it counted as 0."""
    said = [(["a"], ["a"]), (["b"], ["a", "b"]), ([], [])]
    rows = [
        {"id": i, "where": f"a:{i}", "label": truth, "prediction": answer}
        for i, (truth, answer) in enumerate(said)
    ]
    (tmp_path / PREDICTIONS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = SimpleNamespace(
        labels=("a", "b", "c"), metrics={}, metrics_of=lambda split: {}, eval=SimpleNamespace(examples=3)
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    write_manifest(tmp_path / "manifest.json", RECORD)
    spec = text_spec("new:bert", tmp_path, tmp_path)
    spec = replace(spec, data=replace(spec.data, label_type="classes"))
    metrics = pool([tmp_path], spec, tmp_path)["metrics"]
    assert metrics == pytest.approx(
        {"f1_micro": 4 / 5, "f1_macro": (2 / 3 + 1) / 2, "subset_accuracy": 2 / 3}
    )


def test_11_05_that_labels_are_not_doubted_is_said(tmp_path, monkeypatch):
    """Of more than twenty labels predictions have the five most probable: no list was written, and nothing was said."""
    labels = tuple(f"l{number}" for number in range(21))
    row = {"where": "a:2", "label": "l0", "prediction": "l1", "scores": dict.fromkeys(labels[:5], 0.2)}
    (tmp_path / PREDICTIONS).write_text(json.dumps({"id": 0, **row}) + "\n")
    results = SimpleNamespace(
        labels=labels, metrics={}, metrics_of=lambda split: {}, eval=SimpleNamespace(examples=1)
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    write_manifest(tmp_path / "manifest.json", RECORD)
    content = pool([tmp_path], text_spec("new:bert", tmp_path, tmp_path), tmp_path)
    assert content["doubtful_labels"] is None and not (tmp_path / DOUBTS).exists()
    assert "no label is doubted" in told(content, tmp_path)[-1]


@pytest.mark.parametrize("name", [PREDICTIONS, DOUBTS])
@pytest.mark.parametrize("split", ["train", "test"])
def test_15_06_what_is_written_of_all_folds_replaces_no_input(tmp_path, name, split, tiny_bert):
    """Somebody corrects the doubtful labels of a cross-validation, and trains on them in the same place."""
    row = {"id": 0, "where": "a.csv:2", "input": "fine", "label": "positive", "prediction": "positive"}
    (tmp_path / name).write_text(json.dumps(row) + "\n")
    keys = {"train": "train.jsonl", "eval": "20%", "text": "input"} | {split: name}
    (tmp_path / "c.yaml").write_text(
        f"""
version: 1
task: text-classification
model: {{name: {tiny_bert}}}
data: {json.dumps({"source": f"json:{tmp_path}", **keys})}
train: {{epochs: 1, batch_size: 8, learning_rate: 1e-3}}
output: {tmp_path}
"""
    )
    before = (tmp_path / name).read_bytes()
    done = CliRunner().invoke(app, ["finetune", str(tmp_path / "c.yaml"), "--folds", "2"])
    assert isinstance(done.exception, ConfigError)
    assert "--folds would overwrite an input" in str(done.exception)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("what", ["data", "weights", "record"])
def test_15_08_folds_of_different_data_are_no_result(what, tmp_path, monkeypatch):
    """Stopped between two folds, and rows were removed: some stood in no fold, others in two. Or the model that they
    begin with was changed."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        row = {"id": 0, "where": "a:2", "label": "negative", "prediction": "negative", "scores": {}}
        (tmp_path / name / PREDICTIONS).write_text(json.dumps(row) + "\n")
    results = SimpleNamespace(
        labels=("negative",), metrics={}, metrics_of=lambda split: {}, eval=SimpleNamespace(examples=1)
    )
    monkeypatch.setattr("ptm.experiment.folds.read_finished", lambda run: results)
    for name, record in (("first", RECORD), ("second", other_inputs(what))):
        if record is not None:
            write_manifest(tmp_path / name / "manifest.json", record)
    spec = text_spec("new:bert", tmp_path, tmp_path)
    message = (
        "is missing or damaged" if what == "record" else f"second was not trained on the {what} of first"
    )
    with pytest.raises(RunDirectoryError, match=message):
        pool([tmp_path / "first", tmp_path / "second"], spec, tmp_path)


def other_inputs(what):
    if what == "record":
        return None
    if what == "weights":
        return replace(RECORD, loaded={"model": "9" * 64})
    return replace(RECORD, digests=replace(RECORD.digests, data={"train": "9" * 64}))


def test_15_08_folds_in_the_place_of_a_run_are_a_message(finished, tmp_path):
    """It ended in a traceback, after the message."""
    words = [
        "finetune",
        str(finished / "config.yaml"),
        "--folds",
        "2",
        "--output",
        str(finished),
        "--overwrite",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert not isinstance(done.exception, KeyError)
