"""Evaluating, predicting and distilling with data as people have them."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import tiny
from helpers import Saying, image_spec, text_spec, weights
from helpers import run as train
from ptm.cli.app import app
from ptm.config.load import dump_config, load_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import DataError
from ptm.experiment.evaluate import run_evaluation
from ptm.experiment.predict import run_prediction
from tiny.samples import write_csv, write_jsonl, write_parquet


def told(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def made(reviews, tiny_bert, tmp_path_factory):
    """A run that was evaluated on eight examples only."""
    output = tmp_path_factory.mktemp("made") / "r"
    train(text_spec(tiny_bert, reviews, output, epochs=1, max_eval_examples=8, quoting="standard"))
    return output


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_10_31_what_is_named_with_data_is_evaluated_whole(made, tmp_path):
    rows = [(f"a good film {i}", ["positive", "negative"][i % 2]) for i in range(20)]
    write_csv(tmp_path / "new.csv", rows)
    code, out = told("eval", made, "--data", f"csv:{tmp_path / 'new.csv'}", "--json")
    assert code == 0 and json.loads(out)["eval"]["examples"] == 20
    write_jsonl(tmp_path / "new.jsonl", [{"text": text, "label": label} for text, label in rows])
    code, out = told(
        "eval", made, "--data", f"json:{tmp_path / 'new.jsonl'}", "--json"
    )  # written another way
    assert code == 0 and json.loads(out)["eval"]["examples"] == 20
    limited = ["--set", "data.max_eval_examples=5"]
    assert (
        json.loads(told("eval", made, "--data", f"csv:{tmp_path / 'new.csv'}", "--json", *limited)[1])[
            "eval"
        ]["examples"]
        == 5
    )


@pytest.mark.slow
def test_10_31_predictions_keep_the_names_of_columns(made, tmp_path):
    (tmp_path / "in.csv").write_text("review,prediction\na good film,mine\nbad,yours\n")
    run_prediction(
        made,
        [tmp_path / "in.csv"],
        overrides=["data.text=review"],
        output=tmp_path / "out.csv",
        reporter=Saying(),
    )
    first, _ = rows_of(tmp_path / "out.csv")
    assert first["review"] == "a good film" and first["input.prediction"] == "mine" and "input" not in first
    (tmp_path / "odd.csv").write_text("prediction\na good film\n")
    run_prediction(
        made,
        [tmp_path / "odd.csv"],
        overrides=["data.text=prediction"],
        output=tmp_path / "o.csv",
        reporter=Saying(),
    )
    (row,) = rows_of(tmp_path / "o.csv")
    assert row["input.prediction"] == "a good film" and row["prediction"] in ("positive", "negative")
    run_prediction(made, [], texts=["good"], output=tmp_path / "typed.csv", reporter=Saying())
    assert rows_of(tmp_path / "typed.csv")[0]["input"] == "good"


def test_10_31_texts_that_are_none_are_left_out_when_asked(made, tmp_path):
    texts = ["good", "", None, "\u200b", 3, "bad"]
    write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    said, rows = Saying(), []
    run_prediction(made, [tmp_path / "in.jsonl"], receive=rows.append, skip_bad=True, reporter=said)
    assert [row["input"] for row in rows] == ["good", "bad"]
    left_out = [line for line in said.lines if line.startswith("left out: ")]
    assert [line.split(":")[2] for line in left_out] == ["2", "3", "4", "5"]


@pytest.mark.slow
def test_10_31_pairs_are_two_texts_in_predictions(tiny_bert, tmp_path):
    rows = [{"text": f"good {i}", "other": f"bad {i}", "label": "ab"[i % 2]} for i in range(8)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    spec = text_spec(tiny_bert, tmp_path, tmp_path / "r", source=f"json:{tmp_path}", train="train", eval="train",
                     text_pair="other", labels=None, epochs=1)  # fmt: skip
    train(spec)
    lines = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert lines[3]["input"] == {"text": "good 3", "text_pair": "bad 3"}
    write_csv(tmp_path / "in.csv", [("x", "y")])
    (tmp_path / "in.csv").write_text("text,other\nx,y\n")
    run_prediction(tmp_path / "r", [tmp_path / "in.csv"], output=tmp_path / "out.csv", reporter=Saying())
    (row,) = rows_of(tmp_path / "out.csv")
    assert (row["text"], row["other"]) == ("x", "y")


@pytest.mark.slow
def test_10_31_numbers_are_as_they_are_written(tiny_bert, tmp_path):
    numbers = [3.141592653589793, 0.1, 16777217.0, 2.6666666666666665]
    write_jsonl(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": n} for i, n in enumerate(numbers)])
    spec = text_spec(tiny_bert, tmp_path, tmp_path / "r", source=f"json:{tmp_path}", train="train", eval="train",
                     labels=None, label_type="number", epochs=1, best=None)  # fmt: skip
    results = train(spec)
    lines = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == numbers
    errors = [abs(line["label"] - line["prediction"]) for line in lines]
    assert results["metrics"]["mean_absolute_error"] == pytest.approx(sum(errors) / 4, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("label_type", ["class", "classes"])
def test_10_31_a_student_learns_from_texts_without_labels(tiny_bert, tmp_path, label_type):
    labelled = [{"text": f"{'good' if i % 2 else 'bad'} film {i}", "label": "ab"[i % 2]} for i in range(16)]
    write_jsonl(tmp_path / "train.jsonl", labelled)
    write_jsonl(tmp_path / "eval.jsonl", labelled[:8])
    write_jsonl(tmp_path / "texts.jsonl", [{"text": f"good film {i}"} for i in range(16)])
    changes = {
        "source": f"json:{tmp_path}",
        "eval": "eval",
        "labels": None,
        "label_type": label_type,
        "best": None,
    }
    teacher = text_spec(tiny_bert, tmp_path, tmp_path / "t", **{**changes, "train": "train"})
    train(teacher)
    student = text_spec(tiny_bert, tmp_path, tmp_path / "s", **{**changes, "train": "texts"}, epochs=1)
    student = replace(
        student, teacher=TeacherSpec(name=str(tmp_path / "t")), distill=DistillSpec(ce_weight=0, audit="off")
    )
    results = train(student)
    assert results["status"] == "done" and results["labels"] == ["a", "b"]
    code, out = told("eval", tmp_path / "s", "--json")
    assert code == 0
    assert json.loads(out)["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    labels_count = replace(
        student, distill=DistillSpec(ce_weight=0.5, audit="off"), output=str(tmp_path / "n")
    )
    with pytest.raises(DataError, match="no column 'label'"):
        train(labels_count)


def test_10_07_outputs_without_names_are_taken_by_position_and_that_is_told(
    made, reviews, tiny_bert, tmp_path
):

    shutil.copytree(made / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "model" / "manifest.json").unlink(missing_ok=True)
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(text_spec(tmp_path / "model", reviews, tmp_path / "x")))
    said = Saying()
    results = run_evaluation(path, reporter=said)
    assert any(
        "have no names: they are taken to be, in this order, negative, positive" in line
        for line in said.lines
    )
    named = Saying()
    assert run_evaluation(
        made, overrides=["data.max_eval_examples=null"], reporter=named
    ).metrics == pytest.approx(results.metrics)
    assert not any("have no names" in line for line in named.lines)


def student_of(spec, teacher, output, **distill):
    settings = {"ce_weight": 0, "audit": "off", "store": "off", **distill}
    return replace(
        spec, teacher=TeacherSpec(name=str(teacher)), distill=DistillSpec(**settings), output=str(output)
    )


def without_labels(folder, kind):
    """The training split of a tiny task, its labels gone: a column, folders of classes, masks."""
    if kind == "tags":
        rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        write_jsonl(folder / "bare.jsonl", [{"words": row["words"]} for row in rows])
    elif kind == "sets":
        images = pyarrow.parquet.read_table(folder / "train.parquet")["image"].to_pylist()
        write_parquet(folder / "bare.parquet", image=images)
    elif kind == "masks":
        shutil.copytree(folder / "train" / "image", folder / "bare" / "image")
    else:
        (folder / "bare").mkdir()
        for path in (folder / "train").rglob("*.png"):
            shutil.copy(path, folder / "bare" / f"{path.parent.name}{path.name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "task", "methods"),
    [
        ("tags", "token-classification", ("kd", "dkd")),
        ("sets", "image-classification-multilabel", ("kd",)),
        ("folders", "image-classification", ("kd", "dkd", "dist")),
        ("masks", "semantic-segmentation", ("kd", "dkd")),
    ],
)
def test_10_31_a_student_learns_from_its_teacher_alone_in_every_task(kind, task, methods, tmp_path):
    """The labels of train may be gone: with them and without them the student becomes the same."""
    config = tiny.prepare(task, tmp_path)
    spec = load_config(config, [f"output={tmp_path / 'teacher'}", "train.epochs=null", "train.steps=2"])
    train(spec)
    without_labels(tmp_path / "data" / task, kind)
    suffix = Path(spec.data.train).suffix
    for method in methods:
        made_of = {}
        for name in (spec.data.train, f"bare{suffix}"):
            output = tmp_path / f"{method}-{name}"
            # Of labels that nobody needs the names have to be known all the same: they are those of eval.
            student = student_of(replace(spec, data=replace(spec.data, train=name)), tmp_path / "teacher", output,
                                 method=method)  # fmt: skip
            results = train(student)
            assert results["status"] == "done" and results["labels"]
            made_of[name] = weights(output)
        # The target of dkd is the label where there is one; of masks, pixels that are ignored are none.
        if method != "dkd" and kind != "masks":
            assert len(set(made_of.values())) == 1
    labels_count = student_of(replace(spec, data=replace(spec.data, train=f"bare{suffix}")), tmp_path / "teacher",
                              tmp_path / "n", ce_weight=0.5)  # fmt: skip
    with pytest.raises(DataError):
        train(labels_count)


@pytest.mark.slow
def test_10_31_cells_without_labels_are_none(tiny_bert, tmp_path):
    """A column of labels that is empty from top to bottom."""
    rows = [(f"{'good' if i % 2 else 'bad'} film {i}", "ab"[i % 2]) for i in range(12)]
    write_csv(tmp_path / "train.csv", rows)
    write_csv(tmp_path / "bare.csv", [(text, "") for text, _ in rows])
    changes = {"labels": None, "epochs": 1, "best": None}
    spec = text_spec(tiny_bert, tmp_path, tmp_path / "t", **changes, eval="train.csv")
    train(spec)
    student = student_of(
        replace(spec, data=replace(spec.data, train="bare.csv")), tmp_path / "t", tmp_path / "s"
    )
    assert train(student)["labels"] == ["a", "b"]
    share = replace(student, data=replace(student.data, eval="25%"), output=str(tmp_path / "x"))
    with pytest.raises(DataError, match="label"):
        train(share)  # nothing to evaluate on


@pytest.mark.slow
def test_10_37_files_that_are_no_images_are_counted_in_predictions(image_folder, tmp_path):
    spec = image_spec(tmp_path / "r", source=f"imagefolder:{image_folder}", train="train", eval="val",
                      max_train_examples=None, max_eval_examples=None, epochs=1)  # fmt: skip
    train(spec)
    folder = tmp_path / "photos"
    shutil.copytree(image_folder / "val" / "disc", folder / "more")
    for name in ("a.jxl", "b.JXL", "more/notes.txt", ".hidden"):
        (folder / name).write_bytes(b"x")
    said, rows = Saying(), []
    run_prediction(tmp_path / "r", [folder], receive=rows.append, reporter=said)
    assert len(rows) == 6
    (line,) = [line for line in said.lines if "left out" in line]
    assert f"{folder}: 3 files are left out: 2 .jxl, 1 .txt" in line
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.jxl").write_bytes(b"x")
    with pytest.raises(DataError, match=r"there is: 1 \.jxl file"):
        run_prediction(tmp_path / "r", [tmp_path / "none"], reporter=Saying())
