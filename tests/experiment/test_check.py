"""``ptm check --data`` and ``ptm finetune`` refuse the same, in the same words, all at once."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny
from helpers import Saying, run, text_spec
from ptm.config.load import load_config
from ptm.config.spec import DataSpec, DistillSpec, TeacherSpec
from ptm.errors import PtmError
from ptm.experiment.check import check_inputs
from ptm.experiment.prepare import WARNING

SPOILT = ["", " ", "\u200b", "\u200b\u2060 ", "\u00a0", None, 3, 0.5, True, ["x"], [], {}, "fine", "nan"]
LABELS = ["a", "b", "A", "", None, 3, 1.0, True, ["a"], [1, 0], "['a', 'b']", "a|b", " a"]


def refusal(spec):
    """What a run says of its inputs, and what it warns of, without a step of training where it refuses."""
    heard = Saying()
    try:
        run(replace(spec, train=replace(spec.train, epochs=1)), "overwrite", heard)
    except PtmError as error:
        problems = list(dict.fromkeys(map(str, error.problems)))
    else:
        problems = []
    return problems, [line for line in heard.lines if line.startswith(WARNING)]


def inspected(spec):
    found = check_inputs(spec)
    return [str(problem) for problem in found.problems], list(found.warnings)


def write(folder, name, rows):
    (folder / name).write_text("\n".join(map(json.dumps, rows)) + "\n")


rows = st.lists(
    st.fixed_dictionaries({"text": st.sampled_from(SPOILT)}, optional={"label": st.sampled_from(LABELS)}),
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    train=rows,
    evaluation=rows,
    label_type=st.sampled_from(["class", "classes", "number"]),
    labels=st.booleans(),
)
def test_10_20_check_and_finetune_refuse_the_same(
    tmp_path_factory, tiny_bert, train, evaluation, label_type, labels
):
    folder = tmp_path_factory.mktemp("spoilt")
    good = [{"text": f"a good text {i}", "label": [1, 2, 1.5][i % 3] if label_type == "number" else "ab"[i % 2]}
            for i in range(6)]  # fmt: skip
    write(folder, "train.jsonl", [*good, *train])
    write(folder, "eval.jsonl", [*good, *evaluation])
    named = ("a", "b") if labels and label_type != "number" else None
    spec = text_spec(tiny_bert, folder, folder / "r", source=f"json:{folder}", train="train", eval="eval",
                     labels=named, label_type=label_type, best=None)  # fmt: skip
    assert inspected(spec) == refusal(spec)


BAD = ["", None, 3, ["x"], "\u200b"]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize(
    "task", ["text-classification", "token-classification", "masked-lm", "causal-lm", "translation"]
)
def test_10_20_a_text_that_is_none_is_refused_in_every_task(tmp_path, tiny_bert, task, bad):
    good = {
        "text": "good film",
        "label": "a",
        "words": ["good", "film"],
        "tags": ["O", "B-X"],
        "target_text": "gut",
    }
    other = good | {"label": "b"}
    spoilt = good | {"text": bad, "words": bad if not isinstance(bad, list) else [3], "target_text": bad}
    write(tmp_path, "train.jsonl", [good, other, spoilt, other])
    write(tmp_path, "eval.jsonl", [other, good, spoilt])
    spec = replace(text_spec(tiny_bert, tmp_path, tmp_path / "r", best=None), task=task)
    spec = replace(spec, data=DataSpec(source=f"json:{tmp_path}", train="train", eval="eval"))
    problems = check_inputs(spec).problems
    places = {problem.where for problem in problems}
    assert {f"{tmp_path / 'train.jsonl'}:3", f"{tmp_path / 'eval.jsonl'}:3"} <= places, problems


def test_10_21_all_problems_of_the_data_at_once(tmp_path, tiny_bert):
    (tmp_path / "train.csv").write_text("sentence,gold\nx,a\n")
    (tmp_path / "eval.csv").write_text("sentence,gold\nx,a\n")
    spec = text_spec(tiny_bert, tmp_path, tmp_path / "r", text="phrase", text_pair="other")
    said = [(problem.what, problem.where.rpartition("/")[2]) for problem in check_inputs(spec).problems]
    names = ("phrase", "other", "label")
    assert said == [
        (f"no column {name!r}", f"{split}.csv:1") for split in ("train", "eval") for name in names
    ]
    (tmp_path / "train.csv").write_text("text,label\n,negative\nx,\ny,positive\nz\nz\n")
    (tmp_path / "eval.csv").write_text("text,label\nx,bad\n ,positive\n")
    said = [
        problem.where.rpartition("/")[2]
        for problem in check_inputs(text_spec(tiny_bert, tmp_path, "r")).problems
    ]
    assert said == ["train.csv:5", "train.csv:6", "train.csv:2", "train.csv:3", "eval.csv:3", "eval.csv:2"]
    (tmp_path / "train.csv").write_text("text,label\n,negative\nx,\ny,positive\n")
    said = [
        problem.where.rpartition("/")[2]
        for problem in check_inputs(text_spec(tiny_bert, tmp_path, "r")).problems
    ]
    assert said == ["train.csv:2", "train.csv:3", "eval.csv:3", "eval.csv:2"]
    (tmp_path / "train.jsonl").write_text(
        '{"text": "x", "label": "a"}\nno\n{"text": "x"}\n[]\n{"label": 1}\n'
    )
    spec = text_spec(
        tiny_bert, tmp_path, "r", source=f"json:{tmp_path}", train="train", eval="train", labels=None
    )
    said = [problem.where.rpartition(":")[2] for problem in check_inputs(spec).problems]
    assert said == ["2", "3", "4", "5"]


def _conll(*sentences: str) -> str:
    return "\n".join("\n".join(sentence.split(";")) + "\n" for sentence in sentences)


SPOILT = {  # kind of source → a file, the lines that cannot be read, the lines that can and hold something wrong
    "csv": ("text,label\ngood,a\nx\n,b\ny,\n", ["3"], ["4", "5"]),
    "tsv": ("text\tlabel\ngood\ta\nx\n\tb\ny\t\n", ["3"], ["4", "5"]),
    "csv quote": ('text,label\n,a\nx,\ny,b\n"z,b\n', ["5"], ["2", "3"]),
    "json": (
        '{"text": "good", "label": "a"}\nno\n{"text": "", "label": "b"}\n{"text": "x", "label": null}\n'
        '{"label": "b"}\n{"text": "\\ud800", "label": "b"}\n{"text": "y", "label": "a", "label": "b"}\n',
        ["2", "5", "6", "7"],
        ["3", "4"],
    ),
    "fasttext": ("__label__a good\nx\n__label__b\n__label__ y\n__label__b z\n", ["4", "2"], ["3"]),
    "conll": ("good A\none B\n\nx A\ny\n\nz B\n B\n\nw A\n", ["5", "8"], []),
    "doccano": (
        '{"text": "good", "label": ["a"]}\n[]\n{"text": " ", "label": ["b"]}\n{"text": "x", "label": ["b"]}\n',
        ["2"],
        ["3"],
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_10_21_rows_that_cannot_be_read_hide_nothing_of_the_others(tmp_path, tiny_bert, name):
    kind, (content, unread, wrong) = name.split()[0], SPOILT[name]
    suffix = {"fasttext": "txt", "doccano": "jsonl"}.get(kind, kind)
    files = [tmp_path / f"{split}.{suffix}" for split in ("train", "eval")]
    for path in files:
        path.write_text(content)
    source = f"{kind}:{tmp_path}"
    spec = text_spec(tiny_bert, tmp_path, "r", source=source, train="train", eval="eval", labels=None)
    if kind == "conll":
        spec = replace(spec, task="token-classification")
    said = [problem.where.removeprefix(f"{tmp_path}/") for problem in check_inputs(spec).problems]
    assert said == [f"{path.name}:{line}" for lines in (unread, wrong) for path in files for line in lines]


def test_10_21_files_that_cannot_be_read_hide_nothing_of_the_others(tmp_path, tiny_bert):
    """Texts in files, pictures that are missing, several files of a split, texts without labels, a sheet."""
    for split in ("train", "eval"):
        for label in ("a", "b"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            (folder / "0.txt").write_text(f"good {split} {label}")
    (tmp_path / "train" / "a" / "1.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "train" / "b" / "1.txt").write_text(" ")
    (tmp_path / "eval" / "b" / "1.txt").write_text("")
    spec = text_spec(
        tiny_bert, tmp_path, "r", source=f"textfolder:{tmp_path}", train="train", eval="eval", labels=None
    )
    said = [problem.where.removeprefix(f"{tmp_path}/") for problem in check_inputs(spec).problems]
    assert said == ["train/a/1.txt", "train/b/1.txt", "eval/b/1.txt"]

    (tmp_path / "part-1.csv").write_text("text,label\ngood,a\nx\n")
    (tmp_path / "part-2.csv").write_text("text,label\ngood,b\n,a\nx,y,z\n")
    (tmp_path / "more.csv").write_text("text,label\n,\nq\n")
    source = f"csv:{tmp_path}"
    spec = text_spec(tiny_bert, tmp_path, "r", source=source, train="part-*.csv", eval="20%", labels=None)
    spec = replace(spec, data=replace(spec.data, unlabelled="more.csv"))
    said = [problem.where.removeprefix(f"{tmp_path}/") for problem in check_inputs(spec).problems]
    assert said == ["part-1.csv:3", "part-2.csv:4", "part-2.csv:3", "more.csv:3", "more.csv:2"]


def test_10_21_annotations_that_cannot_be_read_hide_no_wrong_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_config(tiny.prepare("object-detection", tmp_path))
    folder = tmp_path / "data" / "object-detection" / "Annotations"
    (folder / "000.xml").write_text("<no")
    names = sorted(re.findall("<name>(.+?)</name>", "".join(p.read_text() for p in folder.iterdir())))
    for name in ("001.xml", "013.xml"):
        path = folder / name
        path.write_text(path.read_text().replace("<name>", "<name>un"))
    spec = replace(spec, data=replace(spec.data, labels=tuple(dict.fromkeys(names))))
    places = {
        problem.where.partition(",")[0].partition(".xml")[0][-3:] for problem in check_inputs(spec).problems
    }
    assert places == {"000", "001", "013"}


def test_10_21_a_missing_mask_hides_no_wrong_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_config(tiny.prepare("semantic-segmentation", tmp_path))
    folder = tmp_path / "data" / "semantic-segmentation"
    (folder / "train" / "label" / "00.png").unlink()
    for path in (folder / "train" / "label" / "01.png", folder / "val" / "label" / "00.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size, 77).save(path)
    stored = [Image.open(path).tobytes() for path in folder.glob("*/label/*.png")]
    values = tuple(sorted({value for pixels in stored for value in pixels} - {77, spec.data.ignore_value}))
    spec = replace(spec, data=replace(spec.data, mask_values=values, labels=tuple(map(str, values))))
    places = {problem.where.removeprefix(f"{folder}/") for problem in check_inputs(spec).problems}
    assert places == {"train/image/00.png", "train/label/01.png", "val/label/00.png"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["object-detection", "semantic-segmentation", "image-classification"])
def test_10_21_what_is_wrong_with_files_hides_no_images(tmp_path, monkeypatch, name):
    """An annotation, a mask that is missing, images of train and of the evaluation: one round for all."""
    monkeypatch.chdir(tmp_path)
    spec = load_config(tiny.prepare(name, tmp_path))
    data = tmp_path / "data" / name
    if name == "object-detection":
        spoilt, where = data / "Annotations" / "000.xml", "JPEGImages/001.png"
        spoilt.write_text("<no")
        broken = [data / where, data / "JPEGImages" / "013.png"]
    elif name == "semantic-segmentation":
        spoilt = data / "train" / "image" / "00.png"
        (data / "train" / "label" / "00.png").unlink()
        broken = [data / "train" / "image" / "02.png", data / "train" / "label" / "01.png"]
        broken += [data / "val" / "label" / "00.png"]
    else:
        spoilt = data / "train" / "disc" / "00.png"
        spoilt.write_bytes(b"no")
        broken = [data / "train" / "disc" / "01.png", data / "val" / "frame" / "02.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-30])
    places = {problem.where for problem in check_inputs(spec).problems}
    assert places == {str(path) for path in (spoilt, *broken)}


@pytest.mark.slow
def test_15_07_a_store_that_a_config_names_is_not_written_to(reviews_run, tiny_bert, reviews, tmp_path):
    spec = text_spec(tiny_bert, reviews, tmp_path / "r", teacher=TeacherSpec(name=str(reviews_run)))
    spec = replace(spec, distill=DistillSpec(store=str(tmp_path / "elsewhere")))
    assert check_inputs(spec).problems == ()
    assert not any(tmp_path.iterdir())
