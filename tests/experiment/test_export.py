"""``ptm export``: held against the model, written whole or not at all, evaluated and asked as a run is."""

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers import copy_of, evaluation, export_of
from ptm.api import predict
from ptm.base.files import seal
from ptm.cli.app import app
from ptm.config.load import load_config
from ptm.errors import ConfigError, ExpectationMissed, ModelError, RunDirectoryError
from ptm.experiment.export import require_exportable
from ptm.export import quantize
from ptm.export.directory import is_export, require_export, require_place
from ptm.export.record import read_record

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.slow
def test_14_01_an_export_answers_as_its_model(reviews_run, exported_reviews):
    record = read_record(exported_reviews)
    assert record.comparison.largest_difference < 1e-4
    assert record.comparison.equal_answers == 1
    of_run, of_export = evaluation(reviews_run), evaluation(exported_reviews)
    assert of_export["metrics"] == pytest.approx(of_run["metrics"], abs=1e-5)
    assert of_export["model"]["bytes"] == (exported_reviews / "model.onnx").stat().st_size
    assert of_export["model"]["parameters"] == of_run["model"]["parameters"]
    texts = ["the film was good", "the soup was really really awful", "x"]
    for one, other in zip(
        predict(reviews_run, texts=texts), predict(exported_reviews, texts=texts), strict=True
    ):
        assert one["prediction"] == other["prediction"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


@pytest.mark.slow
def test_14_02_int8_of_images_is_calibrated_on_training_examples(finished_run, exported_digits):
    record = read_record(exported_digits)
    assert (record.calibration, record.calibration_examples) == ("static", 96)
    assert record.after.metrics == pytest.approx(evaluation(exported_digits)["metrics"], abs=1e-6)
    assert record.before.metrics == pytest.approx(evaluation(finished_run)["metrics"], abs=1e-6)
    import onnx

    stored = {tensor.data_type for tensor in onnx.load(exported_digits / "model.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in stored


@pytest.mark.slow
def test_14_02_what_differs_too_much_is_refused_and_leaves_nothing(reviews_run, tmp_path, monkeypatch):
    run = copy_of(reviews_run, tmp_path / "r")

    def spoiled(content):
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(content)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == "float32" and values.ndim == 2 and 2 in values.shape and 32 in values.shape:
                tensor.CopyFrom(numpy_helper.from_array(-values, tensor.name))
        return model.SerializeToString()

    monkeypatch.setattr(quantize, "stored_in_bf16", spoiled)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ExpectationMissed, match=r"at most 0\.01 worse"):
        export_of(run, tmp_path / "e", quantize="bf16")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_14_02_bounds_hold_for_the_export_and_both_stand_in_the_report(reviews_run, tmp_path):
    run = copy_of(reviews_run, tmp_path / "r")
    first = export_of(run, tmp_path / "first", quantize="bf16")
    export_of(run, tmp_path / "second", quantize="bf16")
    assert (first / "model.onnx").read_bytes() == (tmp_path / "second" / "model.onnx").read_bytes()
    assert str(tmp_path).encode() not in (first / "model.onnx").read_bytes()
    assert set(json.loads((run / "results.json").read_text())["exports"]) == {"first", "second"}
    for page in ("report.html", "README.md"):
        text = (run / page).read_text()
        assert "Exports" in text and "first" in text and "second" in text
    with pytest.raises(RunDirectoryError, match="holds an export already"):
        export_of(run, first)
    (first / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"notes\.txt"):
        export_of(run, first)
    missed = CliRunner().invoke(app, ["eval", str(tmp_path / "second"), "--expect", "accuracy>=2"])
    assert type(missed.exception) is ExpectationMissed


def with_graph(export, target, change):
    """A copy of an export whose graph ends otherwise, sealed again."""
    import onnx

    copy = Path(shutil.copytree(export, target))
    model = onnx.load(copy / "model.onnx")
    (output,) = model.graph.output
    last = next(node for node in model.graph.node if output.name in node.output)
    last.output[0] = "before"
    output.type.tensor_type.ClearField("shape")
    change(model, output)
    onnx.save(model, copy / "model.onnx")
    (copy / "manifest.json").unlink()
    seal(copy)
    return copy


@pytest.mark.slow
def test_15_08_a_graph_whose_answers_have_another_shape_is_refused(
    exported_reviews, exported_digits, tmp_path
):
    from onnx import TensorProto, helper

    def ends(*nodes, kind=TensorProto.FLOAT):
        def change(model, output):
            model.graph.node.extend(nodes)
            output.type.tensor_type.elem_type = kind

        return change

    wide = helper.make_node("Concat", ["before", "before"], ["logits"], axis=1)
    for number, (change, what) in enumerate(
        (
            (ends(wide), r"gives logits of shape \[\d+, 4\].*expected: shape \[\d+, 2\]"),
            (
                ends(helper.make_node("ReduceSum", ["before"], ["logits"], keepdims=0)),
                r"gives logits of shape \[\]",
            ),
            (
                ends(
                    helper.make_node("Cast", ["before"], ["logits"], to=TensorProto.STRING),
                    kind=TensorProto.STRING,
                ),
                "has tensor.string. as its outputs",
            ),
        )
    ):
        copy = with_graph(exported_reviews, tmp_path / str(number), change)
        for act in (evaluation, lambda export: list(predict(export, texts=["good"]))):
            with pytest.raises(ModelError, match=f"(?s){what}"):
                act(copy)
    digits = with_graph(exported_digits, tmp_path / "digits", ends(wide))
    with pytest.raises(ModelError, match="gives logits of shape"):
        evaluation(digits)


@pytest.mark.slow
def test_15_17_inputs_that_no_pipeline_gives_are_refused(exported_reviews, tmp_path):
    def change(model, output):
        from onnx import helper

        model.graph.node.append(helper.make_node("Identity", ["before"], [output.name]))
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = "evil" if name == "attention_mask" else name
        model.graph.input[1].name = "evil"

    copy = with_graph(exported_reviews, tmp_path / "e", change)
    content = json.loads((copy / "export.json").read_text()) | {"inputs": ["input_ids", "evil"]}
    (copy / "export.json").write_text(json.dumps(content))
    (copy / "manifest.json").unlink()
    seal(copy)
    with pytest.raises(ModelError, match="reads input_ids, evil"):
        evaluation(copy)


@pytest.mark.slow
def test_15_16_the_name_of_the_folder_is_plain_text_in_the_card(exported_reviews):
    assert exported_reviews.name == "e\n<b> [x](y) \x1b[2J"
    lines = (exported_reviews / "README.md").read_text().splitlines()
    assert lines[:2] == [r"# e &lt;b&gt; \[x\](y) \\x1b\[2J", ""]


@pytest.mark.parametrize("name", ["multi30k_en_de", "bccd_fcos_scratch"])
def test_14_01_tasks_without_a_graph_are_refused_by_name_and_reason(name):
    spec = load_config(CONFIGS / f"{name}.yaml")
    with pytest.raises(ConfigError, match=f"models for {spec.task} are not exported: .*graph|depend"):
        require_exportable(spec, "a run")


@pytest.mark.slow
def test_options_that_make_no_sense_are_refused(reviews_run, tmp_path):
    for options, match in (
        ({"format": "torch", "quantize": "int8"}, "ONNX Runtime"),
        ({"opset": 9}, "opset 9"),
        ({"calibrate": 5}, "only int8"),
    ):
        with pytest.raises(ConfigError, match=match):
            export_of(reviews_run, tmp_path / "e", **options)
    with pytest.raises(RunDirectoryError, match="in the way"):
        export_of(reviews_run, reviews_run / "e")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(RunDirectoryError, match="not an export"):
        export_of(reviews_run, tmp_path / "mine")


@pytest.mark.slow
def test_a_changed_byte_and_a_link_are_seen(exported_reviews, tmp_path):
    copy = Path(shutil.copytree(exported_reviews, tmp_path / "e"))
    assert is_export(copy)
    (copy / "settings.json").write_text("{}")
    with pytest.raises(ModelError, match="settings"):
        evaluation(copy)
    (copy / "settings.json").unlink()
    (copy / "settings.json").symlink_to(exported_reviews / "settings.json")
    with pytest.raises(ModelError, match="symbolic link"):
        evaluation(copy)


@pytest.mark.slow
@pytest.mark.processes
def test_14_02_times_and_memory_stand_in_the_record(reviews_run, tmp_path):
    run = copy_of(reviews_run, tmp_path / "r")
    done = CliRunner().invoke(app, ["export", str(run), "--quantize", "int8", "--json"])
    record = json.loads(done.stdout)
    assert record["output"] == str(tmp_path / "r-onnx-int8")
    assert record["calibration"] == "dynamic"
    for side in ("before", "after"):
        assert record[side]["latency_ms"]["1"]["median"] > 0
        assert set(record[side]["peak_bytes"]) == {"1", "32"}
    assert record["after"]["bytes"] < record["before"]["bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("made", ["reviews_run", "finished_run"])
def test_14_01_a_program_of_torch_answers_as_its_model_and_is_not_read_back(
    made, request, tmp_path, monkeypatch
):
    import torch

    run = copy_of(request.getfixturevalue(made), tmp_path / "r")
    done = CliRunner().invoke(app, ["export", str(run), "--format", "torch", "--no-measure", "--json"])
    assert done.exit_code == 0, done.exception
    record = json.loads(done.stdout)
    assert record["comparison"]["largest_difference"] < 1e-4
    assert record["comparison"]["equal_answers"] == 1
    assert record["after"]["metrics"] == pytest.approx(record["before"]["metrics"], abs=1e-5)
    export = tmp_path / "r-torch"
    assert {"model.pt2", "settings.json", "export.json"} <= {path.name for path in export.iterdir()}
    assert not (export / "predict.py").exists()
    program = torch.export.load(export / "model.pt2").module()
    size = 16 if made == "reviews_run" else 32
    side = json.loads((export / "settings.json").read_text()).get("image_size", size)
    texts = (torch.ones(3, 9, dtype=torch.int64), torch.ones(3, 9, dtype=torch.int64))
    answer = program(*(texts if made == "reviews_run" else (torch.rand(3, 3, side, side),)))
    assert answer.shape == (3, len(record["labels"]))
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("a program was loaded"))
    for words in (["eval", str(export)], ["predict", str(export), "--text", "x"]):
        refused = CliRunner().invoke(app, words)
        assert type(refused.exception) is ConfigError
        assert "writes and does not read" in str(refused.exception)
        assert "--format onnx" in str(refused.exception)
    with pytest.raises(ConfigError, match="does not read"):
        predict(export, texts=["x"])


def _sealed_export(folder, record=None):
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps(record or {}))
    (folder / "model.onnx").write_bytes(b"")
    seal(folder)
    return folder


@pytest.mark.slow
def test_15_01_an_export_names_no_graph_outside_of_itself(exported_reviews, tmp_path):
    export = copy_of(exported_reviews, tmp_path / "e")
    for graph in ("../secret", "/etc/passwd", "model/tokenizer.json"):
        record = json.loads((export / "export.json").read_text()) | {"graph": graph}
        (export / "export.json").write_text(json.dumps(record))
        seal(export)
        with pytest.raises(ModelError, match="as its graph"):
            require_export(export)


def test_15_04_what_stands_beside_an_export_is_not_deleted_with_it(tmp_path):
    (tmp_path / "mine").mkdir()
    links = [lambda p: p.symlink_to(tmp_path / "mine"), lambda p: p.symlink_to("gone")]
    for number, make in enumerate([*links, os.mkfifo, Path.mkdir]):
        folder = _sealed_export(tmp_path / f"e{number}")
        make(folder / "stray")
        with pytest.raises(RunDirectoryError, match="would delete what ptm did not write: stray"):
            require_place(folder, overwrite=True, inputs=[])
    require_place(_sealed_export(tmp_path / "e"), overwrite=True, inputs=[])


def test_15_04_what_was_put_there_while_it_was_exported_stays(tmp_path, monkeypatch):
    """Files stood in the place of a new export, or in that of an earlier one, and went with it."""
    from types import SimpleNamespace as Some

    from ptm.experiment import export_files

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("task: x")
    (tmp_path / "graph").write_bytes(b"graph")
    monkeypatch.setattr(export_files, "_settings", lambda *_: {})
    monkeypatch.setattr(export_files, "stored_conformal", lambda _: None)
    monkeypatch.setattr(
        export_files, "write_record", lambda folder, _: (folder / "export.json").write_text("{}")
    )
    for name in ("new", "earlier"):
        place = tmp_path / name
        if name == "earlier":
            _sealed_export(place)

        def card(*_, place=place):
            place.mkdir(exist_ok=True)
            (place / "mine.txt").write_text("years of work")
            return "card"

        monkeypatch.setattr(export_files, "export_card", card)
        with pytest.raises(RunDirectoryError, match=r"did not write|not an export"):
            export_files.write_export(
                Some(spec=None),
                Some(target=tmp_path / "run", model=Some(name="m")),
                Some(save_model=lambda _: None, decisions=None),
                Some(graph="model.pt2", format="torch"),
                tmp_path / "graph",
                place,
                measure=False,
                overwrite=True,
            )
        assert (place / "mine.txt").read_text() == "years of work"
        assert not list(tmp_path.glob(".*-*"))


def test_15_06_no_export_is_written_into_a_run(finished, tmp_path):
    for place in ("model/x", "checkpoints", "e"):
        with pytest.raises(RunDirectoryError, match="would lie in another run"):
            require_place(finished / place, overwrite=True, inputs=[])
