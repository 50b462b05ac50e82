"""What stands in the config of a run where the one that was given says nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

import segmentation_samples
import tiny
from helpers import StopAt, evaluation, run, text_spec, weights
from ptm.config.load import load_config
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import DataError, Interrupted, RunDirectoryError
from ptm.experiment.effective import effective_spec
from ptm.pipeline import task_module
from tiny.mask_samples import write_masks
from tiny.samples import save_base, save_bert_tokenizer, write_parquet

# Keys whose default the model or the task decides, by modality; of a language model ``text:`` has no columns.
OPEN = {
    "text": ("max_length", "text", "target_text", "mask_share", "whole_words", "pack"),
    "image": ("image_size", "longest_side", "mean", "std", "mask_values"),
}


def build(spec):
    module = task_module(spec.task)
    return module.build(spec, module.load_data(spec), model=spec.model.ref(), complete=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny.NAMES)
def test_10_22_the_saved_config_has_every_value_and_builds_the_same(name, tmp_path):
    from ptm.config.schema import is_for

    spec = load_config(tiny.prepare(name, tmp_path), [f"output={json.dumps(str(tmp_path / 'r'))}"])
    pipeline = build(spec)
    filled = effective_spec(spec, pipeline)
    assert filled.train.micro_batch_size == spec.train.batch_size
    for key in OPEN[spec.descriptor.modality]:
        if not is_for(("data", key), spec.task) or (key == "text" and spec.data.source.startswith("text:")):
            continue
        assert getattr(filled.data, key) is not None, key
    assert filled.data.labels == (pipeline.labels or None)
    in_column = spec.data.source.startswith(("csv:", "json:", "parquet:")) and spec.data.labels_from is None
    if spec.task == "token-classification":
        assert filled.data.label == "tags"
    elif spec.descriptor.label_types and in_column:
        assert filled.data.label == (spec.data.label or "label")
    if spec.task == "image-classification":
        tables = not spec.data.source.startswith("imagefolder:")
        assert filled.data.image == ("image" if tables else None)
    if spec.task == "translation":
        assert filled.generate.beams > 0
    again, (data, saved_data) = build(filled), (task_module(spec.task).load_data(s) for s in (spec, filled))
    assert all(
        json.dumps(np.asarray(getattr(saved_data, split).targets).tolist(), default=np.ndarray.tolist)
        == json.dumps(np.asarray(getattr(data, split).targets).tolist(), default=np.ndarray.tolist)
        for split in ("train", "eval")
    )
    assert again.input_fingerprint == pipeline.input_fingerprint
    assert again.output_fingerprint == pipeline.output_fingerprint
    assert again.effective_data == pipeline.effective_data
    assert effective_spec(filled, again) == filled


def stopped(spec):
    with pytest.raises(Interrupted):
        run(spec, reporter=StopAt(3))


@pytest.mark.slow
def test_10_22_a_run_is_resumed_by_the_config_that_leaves_its_values_open(tiny_bert, reviews, tmp_path):
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    saved = load_config(tmp_path / "r" / "config.yaml")
    assert (saved.data.max_length, saved.data.text, saved.train.micro_batch_size) == (64, "text", 8)
    results = run(text_spec(tiny_bert, reviews, tmp_path / "r"), "resume")
    assert list(results["drift"]) == []


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "same"), [(("tags",), True), (("tags", "label"), False)])
def test_10_22_the_column_of_the_tags_may_be_left_open_where_it_is_the_same(
    tiny_bert, tmp_path, columns, same
):
    """Trained on the column ``tags``; a config that names none reads ``label``, where there is one."""
    rows = [{"words": ["a", "film"], **{key: ["O", "B-X"] for key in columns}} for _ in range(24)]
    for row in rows[::2]:
        row.update({key: ["B-X", "O"] for key in columns})
    for split in ("train", "eval"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"source": f"json:{tmp_path}", "train": "train.jsonl", "eval": "eval.jsonl"}
    spec = replace(
        text_spec(tiny_bert, tmp_path, tmp_path / "r", labels=None, **files), task="token-classification"
    )
    stopped(replace(spec, data=replace(spec.data, label="tags")))
    if same:
        assert list(run(spec, "resume")["drift"]) == []
    else:
        with pytest.raises(RunDirectoryError, match=r"data\.label: tags → label"):
            run(spec, "resume")


def test_10_22_a_value_that_comes_to_something_else_is_drift(tiny_bert, reviews, tmp_path):
    """``max_length: 20`` was taken out of the config since: it now means 64."""
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r", max_length=20))
    with pytest.raises(RunDirectoryError, match=r"data\.max_length: 20 → 64"):
        run(text_spec(tiny_bert, reviews, tmp_path / "r"), "resume")


@pytest.mark.slow
def test_10_22_a_run_of_an_earlier_version_is_resumed(tiny_bert, reviews, tmp_path):
    """Its config has null where this one has values."""
    stopped(text_spec(tiny_bert, reviews, tmp_path / "r"))
    config = tmp_path / "r" / "config.yaml"
    text = config.read_text()
    for line in ("max_length: 64", "text: text", "micro_batch_size: 8"):
        assert f"  {line}\n" in text
        text = text.replace(f"  {line}\n", f"  {line.split(':')[0]}: null\n")
    config.write_text(text)
    results = run(text_spec(tiny_bert, reviews, tmp_path / "r"), "resume")
    assert list(results["drift"]) == []


@pytest.mark.slow
def test_10_22_a_teacher_reads_the_same_by_the_saved_config(tiny_bert, reviews, tmp_path):
    """The student takes 64 tokens, its teacher 128 of 256: the saved config says both."""
    wide = save_base(
        tmp_path / "wide",
        "Bert",
        vocab_size=save_bert_tokenizer(tmp_path / "wide"),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    run(text_spec(wide, reviews, tmp_path / "teacher", epochs=1, max_length=100))
    teacher = TeacherSpec(name=str(tmp_path / "teacher"))
    how = {"teacher": teacher, "distill": DistillSpec(audit="off", store="off"), "epochs": 1}
    run(text_spec(tiny_bert, reviews, tmp_path / "r", **how))
    saved = load_config(tmp_path / "r" / "config.yaml", [f"output={json.dumps(str(tmp_path / 'again'))}"])
    assert (saved.data.max_length, saved.teacher.max_length) == (64, 100)
    run(saved)
    assert weights(tmp_path / "again") == weights(tmp_path / "r")


@pytest.mark.slow
def test_10_22_labels_of_other_data_are_matched_by_what_these_call_them(tiny_bert, tmp_path):
    """The saved config names labels that the first config left open; new data of other names are refused as before."""
    texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(12)]
    for name, names in (("own", ["cat", "dog"]), ("other", ["ham", "spam"])):
        (tmp_path / name).mkdir()
        for split in ("train", "eval"):
            write_parquet(
                tmp_path / name / f"{split}.parquet", names, text=texts, label=[i % 2 for i in range(12)]
            )
    spec = text_spec(tiny_bert, tmp_path, tmp_path / "r", source=f"parquet:{tmp_path / 'own'}", train="train",
                     eval="eval", labels=None, epochs=1)  # fmt: skip
    run(spec)
    assert load_config(tmp_path / "r" / "config.yaml").data.labels == ("cat", "dog")
    assert evaluation(tmp_path / "r")["labels"] == ["cat", "dog"]
    other = [f"data.source=parquet:{tmp_path / 'other'}"]
    with pytest.raises(DataError, match="the labels of the data are ham, spam"):
        evaluation(tmp_path / "r", overrides=other)
    stated = evaluation(tmp_path / "r", overrides=[*other, "data.label_map={ham: cat, spam: dog}"])
    assert stated["labels"] == ["cat", "dog"]


@pytest.mark.slow
def test_10_22_masks_named_by_their_values_keep_them(tmp_path):
    """No labels and no values in the config: both stand in that of the run, and say the same."""
    spec = segmentation_samples.spec(
        write_masks(tmp_path / "pairs"), output=tmp_path / "r", data={"labels": None, "mask_values": None}
    )
    results = run(spec)
    saved = load_config(tmp_path / "r" / "config.yaml").data
    assert (saved.labels, saved.mask_values) == (("0", "100", "200"), (0, 100, 200))
    assert evaluation(tmp_path / "r")["metrics"] == pytest.approx(results["metrics"])
    again = evaluation(tmp_path / "r", overrides=[f"data.source=masks:{tmp_path / 'pairs'}/../pairs"])
    assert again["metrics"] == pytest.approx(results["metrics"])
