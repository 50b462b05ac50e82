"""Equal examples stay on one side of a held-out share, for every task and reader; of named splits it is told."""

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data import content
from ptm.data.content import equal_groups
from ptm.data.image_listing import list_images
from ptm.data.masks import load_masks
from ptm.data.sharing import hold_out
from ptm.data.tabular import load_columns, load_dataset
from tiny.samples import write_csv, write_jsonl, write_parquet

SHARE = {"train": None, "eval": "25%"}


def keys(examples, *roles):
    return {repr([examples.columns[role][row] for role in roles]) for row in range(len(examples))}


def apart(data, *roles, share=0.25):
    """No input stands on both sides, and the share is about what was asked for."""
    assert keys(data.train, *roles).isdisjoint(keys(data.eval, *roles))
    assert len(data.eval) == pytest.approx(share * (len(data.eval) + len(data.train)), abs=4)


def test_10_09_sixty_texts_four_times_each(tmp_path):
    draw = random.Random(0)
    labels = [draw.choice("ab") for _ in range(60)]
    rows = [(f"text {i}", labels[i]) for i in range(60)] * 4
    path = write_csv(tmp_path / "a.csv", rows)
    data = load_dataset(DataSpec(source=f"csv:{path}", **SHARE), {"text": "text"})
    apart(data, "text")
    assert np.bincount(data.eval.targets) == pytest.approx(np.bincount(data.train.targets) / 3, abs=3)


def test_10_09_equal_are_texts_that_differ_in_blanks_case_and_forms():
    columns = {"text": ["Good film", "good  film ", "caf\u00e9", "cafe\u0301", "other"]}
    assert equal_groups(columns).tolist() == [0, 0, 2, 2, 4]
    assert equal_groups({"text": ["a", "a", "a b"], "text_pair": ["b c", "d", "c"]}).tolist() == [0, 1, 2]


def test_10_09_pairs_words_labels_and_numbers(tmp_path):
    rows = [{"text": f"t{i % 20}", "other": f"p{i % 40}", "words": [f"w{i % 20}", "x"], "tags": ["O", "B-X"],
             "sets": [["a"], ["b"], ["a", "b"]][i % 3], "number": i % 7} for i in range(160)]  # fmt: skip
    write_jsonl(tmp_path / "a.jsonl", rows)
    source = f"json:{tmp_path / 'a.jsonl'}"
    pairs = {"text": "text", "text_pair": "other"}
    apart(load_dataset(DataSpec(source=source, label_type="classes", label="sets", **SHARE), pairs), *pairs)
    apart(load_dataset(DataSpec(source=source, label_type="number", label="number", **SHARE), pairs), *pairs)
    words = load_dataset(DataSpec(source=source, label="tags", **SHARE), {"words": "words"}, tags=True)
    apart(words, "words", share=0.25)


def test_10_09_translations_by_their_source_and_lines(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": f"t{i % 20}", "target_text": f"t{i}"} for i in range(80)])
    columns = {"text": "text", "target_text": "target_text"}
    apart(load_columns(DataSpec(source=f"json:{tmp_path / 'a.jsonl'}", **SHARE), columns), "text")
    (tmp_path / "a.txt").write_text("".join(f"line {i % 20}\n" for i in range(80)))
    apart(load_columns(DataSpec(source=f"text:{tmp_path / 'a.txt'}", **SHARE), {"text": "text"}), "text")


def test_10_09_images_by_their_bytes(tmp_path):
    for i in range(40):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(b"image %d" % (i % 20))
    data = load_dataset(DataSpec(source=f"imagefolder:{tmp_path / 'images'}", **SHARE), {"image": "image"})
    sides = [{path.read_bytes() for path in part.columns["image"]} for part in (data.train, data.eval)]
    assert sides[0].isdisjoint(sides[1]) and len(data.eval) == 8  # 2 groups of two of each class
    images = [{"bytes": b"image %d" % (i % 20)} for i in range(40)]
    write_parquet(tmp_path / "p.parquet", image=images, label=["ab"[i % 2] for i in range(40)])
    data = load_dataset(DataSpec(source=f"parquet:{tmp_path / 'p.parquet'}", **SHARE), {"image": "image"})
    apart(data, "image", share=0.3)


def test_10_09_images_with_masks(tmp_path):
    from PIL import Image

    for i in range(16):
        for name in ("image", "label"):
            (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i % 8, np.uint8)).save(tmp_path / "image" / f"{i}.png")
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "label" / f"{i}.png")
    data = load_masks(DataSpec(source=f"masks:{tmp_path}", **SHARE))
    sides = [{path.read_bytes() for path in part.columns["image"]} for part in (data.train, data.eval)]
    assert sides[0].isdisjoint(sides[1]) and len(data.eval) == 4


def test_10_09_examples_that_are_all_equal(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("same", "a"), ("same", "b")] * 4)
    data = load_dataset(DataSpec(source=f"csv:{path}", **SHARE), {"text": "text"})
    assert len(data.eval) == 2 and "all examples are equal" in data.warnings[0].what


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=80), st.floats(0.05, 0.95)
)
def test_10_09_groups_are_never_cut_in_two(rows, share):
    first = {}
    groups = np.array([first.setdefault(group, row) for row, (_, group) in enumerate(rows)])
    strata = np.array([stratum for stratum, _ in rows])
    kept, held = hold_out(strata, share, groups)
    assert sorted([*kept, *held]) == list(range(len(rows)))
    assert set(groups[kept]).isdisjoint(groups[held])


def test_10_09_without_repeats_the_rows_are_those_they_were():
    strata = np.arange(200) % 3
    alone = hold_out(strata, 0.2)
    grouped = hold_out(strata, 0.2, np.arange(200))
    assert [part.tolist() for part in alone] == [part.tolist() for part in grouped]


def test_10_09_named_splits_that_share_examples_are_told(tmp_path):
    write_csv(tmp_path / "train.csv", [("x", "a"), ("y", "b"), ("z", "a")])
    write_csv(tmp_path / "eval.csv", [("new", "a"), ("Y ", "b"), ("z", "a")])
    spec = DataSpec(source=f"csv:{tmp_path}", train="train", eval="eval")
    (warning,) = load_dataset(spec, {"text": "text"}).warnings
    assert warning.what == "2 of 3 evaluation examples also stand in train" and warning.where.endswith(":3")
    for split, names in (("train", "123"), ("eval", "345")):
        for name in names:
            for label in "ab":
                folder = tmp_path / split / label
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{split}{name}.png").write_bytes(f"{name}{label}".encode())
    spec = DataSpec(source=f"imagefolder:{tmp_path}", train="train", eval="eval")
    (warning,) = load_dataset(spec, {"image": "image"}).warnings
    assert warning.what == "2 of 6 evaluation examples also stand in train"
    assert json.dumps(warning.cure)


def test_13_06_what_images_show_is_kept_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_LEAST_FILES", 1)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        image = Image.new("RGB", (4, 4), (number % 2, 0, 0))
        image.save(folder / f"{number}.png", compress_level=9 * (number // 2))
    read, real = [], content.pictures.picture_digest
    monkeypatch.setattr(content.pictures, "picture_digest", lambda c, page: read.append(1) or real(c, page))

    def groups(page=None):
        return equal_groups({"image": list_images(folder).hashed(folder)}, page).tolist()

    assert groups() == groups() == [0, 1, 0, 1] and len(read) == 4
    assert groups(page=0) == [0, 1, 0, 1] and len(read) == 8
    Image.new("RGB", (4, 4), "red").save(folder / "3.png")
    assert groups() == [0, 1, 0, 3] and len(read) == 12
