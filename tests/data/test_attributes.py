"""Groups, strata and slices, from columns and from paths; over all splits that a source can have."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.attributes import MOST_VALUES, slice_values
from ptm.data.tabular import load_columns, load_dataset
from ptm.errors import DataError, PtmError


def write(folder, rows, name="all.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"json:{folder / name}"


def rows(n=120):
    return [
        {
            "text": f"text number {i}",
            "label": "ab"[i // 3 % 2],
            "user": i // 4,
            "source": ["web", None][i % 2],
        }
        for i in range(n)
    ]


def load(source, **keys):
    data = DataSpec(source=source, **keys)
    return load_dataset(data, {"text": data.text or "text"})


def texts(loaded):
    return [
        [] if split is None else list(split.columns["text"])
        for split in (loaded.train, loaded.eval, loaded.test)
    ]


def test_12_01_shares_of_a_table_do_not_overlap_and_hold_groups_together(tmp_path):
    source = write(tmp_path, rows())
    loaded = load(source, eval="10%", test="20%", split_by="user", slices=("source", "length"))
    sides = texts(loaded)
    assert sorted(text for side in sides for text in side) == sorted(row["text"] for row in rows())
    assert [len(side) for side in sides] == pytest.approx([84, 12, 24], abs=4)
    users = [{int(text.split()[-1]) // 4 for text in side} for side in sides]
    assert not (users[0] & users[1] or users[0] & users[2] or users[1] & users[2])
    assert slice_values(DataSpec(source=source, slices=("source", "length")), loaded.test) == {
        "source": ("(empty)", "web"),
        "length": ("0-31",),
    }
    assert texts(load(source, eval="10%"))[1] == texts(load(source, eval="10%", test="20%"))[1]


def test_12_01_a_share_beside_a_split_that_is_named(tmp_path):
    write(tmp_path, rows(90), "train.jsonl")
    write(tmp_path, rows(30)[:8] + [{**row, "text": row["text"] + "!"} for row in rows(20)], "dev.jsonl")
    loaded = load(f"json:{tmp_path}", train="train", eval="dev", test="20%", split_by="user")
    assert [len(side) for side in texts(loaded)] == pytest.approx([72, 28, 18], abs=3)
    told = [problem.what for problem in loaded.warnings]
    assert any("evaluation examples also stand in train" in line for line in told)
    assert any("are of a 'user' that also stands in train" in line for line in told)
    assert set(loaded.digests) == {"train", "eval", "test"}
    assert loaded.digests["test"] == loaded.digests["train"] != loaded.digests["eval"]
    other = load(f"json:{tmp_path}", train="train", eval="20%", test="dev", max_test_examples=5)
    assert [len(side) for side in texts(other)] == [72, 18, 5]


def test_12_01_what_stands_in_eval_and_in_test_is_told(tmp_path):
    for name, part in (("train", rows(30)), ("dev", rows(60)[30:]), ("test", rows(60)[50:])):
        write(tmp_path, part, f"{name}.jsonl")
    loaded = load(f"json:{tmp_path}", train="train", eval="dev", test="test")
    assert [problem.what for problem in loaded.warnings] == ["10 of 10 test examples also stand in eval"]


def test_12_01_a_column_says_what_is_held_out_alike(tmp_path):
    source = write(tmp_path, [{**row, "place": "xxxxy"[i % 5]} for i, row in enumerate(rows())])
    loaded = load(source, eval="25%", test="25%", stratify="place")
    for split in (loaded.eval, loaded.test):
        assert split.attributes["place"].count("y") == 6 and len(split) == 30
    free = load(source, eval="25%", stratify=False)
    assert len(free.eval) == 30
    few = write(tmp_path, rows()[:6], "few.jsonl")
    with pytest.raises(DataError, match="user is '1' in 2 of the examples"):
        load(few, eval="10%", test="10%", stratify="user")


def test_12_01_texts_without_labels_and_lists_of_words_are_shared_out_too(tmp_path):
    source = write(tmp_path, rows())
    data = DataSpec(source=source, eval="10%", test="10%", split_by="user")
    loaded = load_columns(data, {"text": "text"})
    assert [len(side) for side in texts(loaded)] == pytest.approx([96, 12, 12], abs=4)
    tags = [{"words": f"a b {i}".split(), "tags": ["O", "O", "B-X"], "doc": i // 5} for i in range(60)]
    data = DataSpec(
        source=write(tmp_path, tags, "tags.jsonl"), eval="20%", test="20%", split_by="doc", label="tags"
    )
    loaded = load_dataset(data, {"words": "words"}, tags=True)
    docs = [set(split.attributes["doc"]) for split in (loaded.train, loaded.eval, loaded.test)]
    assert not (docs[0] & docs[1] or docs[1] & docs[2]) and len(docs[1]) == 2


@pytest.mark.parametrize(
    ("change", "keys", "told"),
    [
        ({"user": None}, {"split_by": "user"}, "user is empty"),
        ({"user": [1]}, {"split_by": "user"}, "user holds no single value"),
        ({"source": ["a"]}, {"slices": ("source",)}, "source holds no single value"),
        (
            {"source": "(empty)", "also": None},
            {"slices": ("source",)},
            "as the slice of empty cells is called",
        ),
        ({}, {"split_by": "person"}, "no column 'person'"),
        ({}, {"slices": ("sorce",)}, "no column 'sorce'"),
        ({}, {"split_by": "one"}, "120 examples in 1 group by 'one' cannot be shared out"),
        ({}, {"slices": ("text",), "eval": "60%"}, f"at most {MOST_VALUES}"),
    ],
)
def test_12_01_12_06_what_cannot_be_grouped_is_refused(tmp_path, change, keys, told):
    made = [{**row, "one": 1} for row in rows()]
    made[7] |= change
    if "also" in change:
        made[8] |= {"source": None}
    with pytest.raises(PtmError) as refused:
        load(write(tmp_path, made), **{"eval": "10%", "test": "10%", **keys})
    problem = refused.value.problems[0]
    assert told in f"{problem.what} {problem.expected}"
    assert not change or ":8" in problem.where
    assert "sorce" not in problem.what or "data.slices" in problem.cure


def test_12_01_a_class_needs_an_example_a_side(tmp_path):
    made = [{**row, "label": "rare" if i < 2 else row["label"]} for i, row in enumerate(rows())]
    assert len(load(write(tmp_path, made), eval="10%").eval) == 13  # one of the rare class more
    with pytest.raises(DataError, match="there are 2 examples with the label 'rare', too few") as refused:
        load(write(tmp_path, made), eval="10%", test="10%")
    assert refused.value.problems[0].where.endswith(":1")
    assert len(load(write(tmp_path, made), eval="10%", test="10%", stratify=False).test) == 12


def test_12_01_folders_of_images_are_grouped_by_their_paths(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for patient in range(10):
            for view in range(3):
                pixels = np.full(
                    (8 + 40 * (view == 2), 8, 3), 20 * patient + 3 * view + (label == "b"), dtype=np.uint8
                )
                Image.fromarray(pixels).save(tmp_path / label / f"{label}{patient}_{view}.png")
    data = DataSpec(
        source=f"imagefolder:{tmp_path}", eval="20%", test="20%", split_by="/([ab][0-9]+)_", slices=("size",)
    )
    loaded = load_dataset(data, {"image": "image"})
    patients = [
        {Path(path).stem.split("_")[0] for path in split.columns["image"]}
        for split in (loaded.train, loaded.eval, loaded.test)
    ]
    assert [len(side) for side in patients] == [12, 4, 4] and len(set().union(*patients)) == 20
    assert slice_values(data, loaded.test) == {"size": ("0-31", "32-63")}
    assert loaded.eval.targets.sum() == 6
    with pytest.raises(DataError, match="finds nothing in"):
        load_dataset(
            DataSpec(source=f"imagefolder:{tmp_path}", eval="20%", split_by="case_[0-9]+"), {"image": "image"}
        )
