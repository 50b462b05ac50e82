"""Sources to examples: which files a split is, what is held out, which rows a limit takes, class numbers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.config.spec import DataSpec
from ptm.data.arrow_lists import Lists
from ptm.data.sharing import hold_out
from ptm.data.tabular import load_dataset
from ptm.errors import ConfigError, DataError
from tiny.samples import sentences, write_csv, write_parquet

TEXT = {"text": "text"}


def load(source, columns=TEXT, own=None, only_eval=False, **keys):
    """What ``keys`` of ``data:`` name; ``own`` are the labels of a trained model."""
    data = DataSpec(source=source, **{"train": "train", "eval": "eval", **keys})
    return load_dataset(data, columns, labels=own, train=not only_eval)


def texts(examples):
    return list(examples.columns["text"])


@pytest.fixture
def folder(tmp_path):
    """Two CSV files of eight rows, names a, b, c in turn."""
    for name in ("train", "eval"):
        write_csv(tmp_path / f"{name}.csv", [(f"{name} {i}", "abc"[i % 3]) for i in range(8)])
    return tmp_path


def test_columns_targets_places_and_digests(folder):
    data = load(f"csv:{folder}")
    assert texts(data.train) == [f"train {i}" for i in range(8)]
    assert data.labels == ("a", "b", "c")
    assert data.train.targets.dtype == np.int64
    assert data.train.targets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert data.eval.where(3) == f"{folder / 'eval.csv'}:5"
    assert set(data.digests) == {"train", "eval"}
    assert len(data.train) == len(data.eval) == 8
    only = load(f"csv:{folder}", only_eval=True)
    assert only.train is None
    assert set(only.digests) == {"eval"}
    assert only.digests["eval"] == data.digests["eval"]


def test_columns_can_have_other_names_and_serve_twice(tmp_path):
    (tmp_path / "train.csv").write_text("sentence,other,gold\na,b,0\nc,d,1\n")
    columns = {"text": "sentence", "text_pair": "other"}
    data = load(f"csv:{tmp_path}", columns, eval="train", label="gold")
    assert data.train.columns == {"text": ["a", "c"], "text_pair": ["b", "d"]}
    data = load(f"csv:{tmp_path}", {"text": "sentence", "text_pair": "sentence"}, eval="train", label="gold")
    assert data.train.columns == {"text": ["a", "c"], "text_pair": ["a", "c"]}
    with pytest.raises(DataError, match=r"did you mean 'gold'.* --set data.label=gold"):
        load(f"csv:{tmp_path}", {"text": "sentence"}, label="goald")
    with pytest.raises(DataError, match=r"name the right column in data\.text_pair\n"):
        load(f"csv:{tmp_path}", {"text": "sentence", "text_pair": "zz"}, label="gold")


def test_no_eval_split_says_how_to_hold_one_out(folder):
    with pytest.raises(ConfigError) as caught:
        load(f"csv:{folder}", eval=None)
    assert "eval: 20%" in str(caught.value)
    assert "eval.csv, train.csv" in str(caught.value)


# Held-out shares and limits


@pytest.fixture
def skewed(tmp_path):
    """Of 200 rows, 150 are a, 45 are b, 5 are c."""
    rows = [(f"text {i}", label) for i, label in enumerate("a" * 150 + "b" * 45 + "c" * 5)]
    return write_csv(tmp_path / "all.csv", rows)


def test_a_share_is_held_out_of_every_class(skewed):
    data = load(f"csv:{skewed}", train=None, eval="20%")
    assert np.bincount(data.eval.targets).tolist() == [30, 9, 1]
    assert np.bincount(data.train.targets).tolist() == [120, 36, 4]
    assert sorted(texts(data.train) + texts(data.eval)) == sorted(f"text {i}" for i in range(200))
    assert set(texts(data.train)).isdisjoint(texts(data.eval))
    for part in (data.train, data.eval):
        for i, text in enumerate(texts(part)):
            assert part.where(i).endswith(f":{int(text.split()[1]) + 2}")
    again = load(f"csv:{skewed}", train=None, eval="20%")
    assert texts(again.eval) == texts(data.eval)
    rows = [int(text.split()[1]) for text in texts(data.eval)]
    assert rows != list(range(30)) and rows == sorted(rows)
    only = load(f"csv:{skewed}", train=None, eval="20%", only_eval=True)
    assert only.train is None
    assert texts(only.eval) == texts(data.eval)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=300), st.floats(0.01, 0.99))
def test_what_is_held_out_and_what_is_kept_are_all(labels, share):
    targets = np.array(labels)
    kept, held = hold_out(targets, share)
    assert sorted([*kept, *held]) == list(range(len(targets)))
    for label in np.unique(targets):
        rows = int((targets == label).sum())
        assert (targets[held] == label).sum() == max(1, round(share * rows))


@pytest.mark.parametrize("share", ["0%", "100%", "120%", "-5%", "x%", "%", "nan%", "inf%"])
def test_shares_that_are_none(skewed, share):
    with pytest.raises(ConfigError, match="a percentage between 0% and 100%"):
        load(f"csv:{skewed}", train=None, eval=share)


def test_a_share_that_leaves_a_class_without_examples_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("1", "a"), ("2", "a"), ("3", "b")])
    with pytest.raises(DataError, match="the only example with the label 'b'") as caught:
        load(f"csv:{path}", train=None, eval="40%")
    (problem,) = caught.value.problems
    assert problem.where == f"{path}:4" and "typo" in problem.cure


def test_limits_take_the_same_rows_always(skewed):
    limits = {"max_train_examples": 100, "max_eval_examples": 20}
    data = load(f"csv:{skewed}", train=None, eval="20%", **limits)
    again = load(f"csv:{skewed}", train=None, eval="20%", **limits)
    whole = load(f"csv:{skewed}", train=None, eval="20%")
    assert (len(data.train), len(data.eval)) == (100, 20)
    for part, same, all_ in ((data.train, again.train, whole.train), (data.eval, again.eval, whole.eval)):
        assert texts(part) == texts(same)
        place = {text: i for i, text in enumerate(texts(all_))}
        rows = [place[text] for text in texts(part)]
        assert rows == sorted(set(rows))
        assert rows != list(range(len(rows)))
        assert [part.where(i) for i in range(len(part))] == [all_.where(row) for row in rows]
    more = load(f"csv:{skewed}", train=None, eval="20%", max_train_examples=10_000)
    assert len(more.train) == 160


# Labels


def test_one_class_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("x", "same")] * 4)
    with pytest.raises(DataError, match="every example has the label 'same'"):
        load(f"csv:{path}", train=None, eval="25%")


def test_10_38_a_class_without_examples_is_a_warning(folder):
    data = load(f"csv:{folder}", labels=("a", "b", "c", "d", "e"))
    (warning,) = data.warnings
    assert "no training example has the labels d, e" in warning.what
    with pytest.raises(DataError, match="every training example has the label 'b'"):
        load(f"csv:{folder}", labels=("a", "b", "c"), max_train_examples=1)


def test_given_labels_set_the_order(folder):
    data = load(f"csv:{folder}", labels=("c", "b", "a"))
    assert data.train.targets.tolist() == [2, 1, 0, 2, 1, 0, 2, 1]


def test_rows_with_other_labels_are_named(folder):
    write_csv(folder / "eval.csv", [("x", "a"), ("y", "d"), ("z", ""), ("w", "7")])
    with pytest.raises(DataError) as caught:
        load(f"csv:{folder}")
    assert [p.where for p in caught.value.problems] == [f"{folder / 'eval.csv'}:{line}" for line in (3, 4, 5)]


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_label_is_a_mistake_and_no_class(tmp_path, blank):
    path = write_csv(tmp_path / "a.csv", [("x", "a"), ("y", "b"), ("z", blank)])
    with pytest.raises(DataError, match=rf"a\.csv:4: label '{blank}' is not one of the 2 labels"):
        load(f"csv:{path}", train=None, eval="50%")


def test_a_column_of_no_labels_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a", "label": 0.5}) + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: label 0\.5"):
        load(f"json:{tmp_path / 'a.jsonl'}", train=None, eval="50%")


def test_stars_keep_their_numbers_when_a_split_lacks_some(tmp_path):
    write_csv(tmp_path / "train.csv", [(f"t{i}", str(i)) for i in (5, 1, 2, 3, 4)])
    write_csv(tmp_path / "eval.csv", [("a", "2"), ("b", "5")])
    data = load(f"csv:{tmp_path}")
    assert data.labels == ("1", "2", "3", "4", "5")
    assert data.eval.targets.tolist() == [1, 4]
    write_csv(tmp_path / "eval.csv", [("a", "2"), ("b", "0")])
    with pytest.raises(DataError, match=r"eval\.csv:3: label '0' is not one of the 5 labels"):
        load(f"csv:{tmp_path}")


def test_the_labels_of_a_trained_model_come_before_those_found_in_the_rows(tmp_path):
    write_csv(tmp_path / "eval.csv", [("a", "2"), ("b", "0"), ("c", "2")])
    data = load(f"csv:{tmp_path}", own=("0", "1", "2"), only_eval=True)
    assert data.eval.targets.tolist() == [2, 0, 2]  # class 1 does not occur
    write_csv(tmp_path / "eval.csv", [("a", "bad"), ("b", "good")])
    data = load(f"csv:{tmp_path}", own=("0", "1"), only_eval=True, labels=("bad", "good"))
    assert data.labels == ("bad", "good")  # the model knows but numbers
    data = load(f"csv:{tmp_path}", own=("good", "bad"), only_eval=True)
    assert data.labels == ("good", "bad") and data.eval.targets.tolist() == [1, 0]
    data = load(f"csv:{tmp_path}", own=("good", "bad"), only_eval=True, labels=("bad", "good"))
    assert data.labels == ("bad", "good")  # as data.labels states


def test_class_names_in_parquet_are_matched_by_name(tmp_path):
    names = ["spam", "ham"]
    write_parquet(tmp_path / "train.parquet", names, text=["a", "b", "c"], label=[0, 1, 0])
    write_parquet(tmp_path / "eval.parquet", names[::-1], text=["d", "e"], label=[0, 1])
    data = load(f"parquet:{tmp_path}")
    assert data.labels == ("spam", "ham")
    assert data.train.targets.tolist() == [0, 1, 0]
    assert data.eval.targets.tolist() == [1, 0]  # there 0 is ham
    data = load(f"parquet:{tmp_path}", labels=("ham", "spam"))
    assert (data.train.targets.tolist(), data.eval.targets.tolist()) == ([1, 0, 1], [0, 1])
    with pytest.raises(DataError, match=r"train\.parquet, row 0: label 0 is not one of the 2 labels"):
        load(f"parquet:{tmp_path}", labels=("ham", "x"))


def test_the_generated_reviews_have_both_classes(reviews):
    data = load(f"csv:{reviews}")
    assert data.labels == ("negative", "positive")
    assert np.bincount(data.train.targets).tolist() == [32, 32]
    assert texts(data.eval) == [text for text, _ in sentences(32, 2)]


# Images


def test_digits():
    data = load("builtin:digits", {"image": "image"}, eval="test")
    assert (len(data.train), len(data.eval)) == (1437, 360)
    assert data.labels == tuple("0123456789")
    images = data.train.columns["image"]
    assert (images[0].shape, images[0].dtype) == ((8, 8), np.uint8)
    assert max(int(image.max()) for image in images) == 255
    assert data.eval.where(1) == "builtin:digits, image 5"
    assert data.train.where(0) == "builtin:digits, image 1"
    data = load("builtin:digits", {"image": "image"}, train=None, eval="10%")
    assert (np.bincount(data.eval.targets) == np.round(np.bincount(data.train.targets) / 9)).all()
    with pytest.raises(ConfigError, match="train or test"):
        load("builtin:digits", {"image": "image"}, eval="valid")
    with pytest.raises(ConfigError, match="builtin:digits"):
        load("builtin:digit", {"image": "image"})


def test_a_folder_a_class(image_folder):
    data = load(f"imagefolder:{image_folder}", {"image": "image"}, eval="val")
    assert data.labels == ("disc", "frame", "stripes")
    assert np.bincount(data.train.targets).tolist() == [12, 12, 12]
    assert np.bincount(data.eval.targets).tolist() == [6, 6, 6]
    assert data.eval.where(7) == str(image_folder / "val" / "frame" / "01.png")
    assert data.eval.columns["image"][7] == image_folder / "val" / "frame" / "01.png"


@pytest.fixture
def images(tmp_path):
    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(path.encode())
        return f"imagefolder:{tmp_path}"

    return make


def test_nested_images_count_and_hidden_ones_do_not(images, tmp_path):
    hidden = [".git/x.png", "a/.thumbs/2.png", "a/._1.png", "a/notes.txt"]
    source = images("a/1.png", "a/deep/er/3.JPG", "b/1.jpeg", "b/2.png", "readme.md", *hidden)
    spec = DataSpec(source=source, eval="50%")
    data = load_dataset(spec, {"image": "image"})
    found = [*data.train.columns["image"], *data.eval.columns["image"]]
    names = sorted(path.relative_to(tmp_path).as_posix() for path in found)
    assert names == ["a/1.png", "a/deep/er/3.JPG", "b/1.jpeg", "b/2.png"]
    assert data.labels == ("a", "b")
    before = data.digests["eval"]
    (tmp_path / "a" / "1.png").write_bytes(b"other")
    assert load_dataset(spec, {"image": "image"}).digests["eval"] != before


def test_folders_without_images_are_refused(images, tmp_path):
    source = images("a/1.png", "b/notes.txt")
    with pytest.raises(DataError, match="no image in it") as caught:
        load_dataset(DataSpec(source=source, eval="50%"), {"image": "image"})
    assert caught.value.problems[0].where == str(tmp_path / "b")
    with pytest.raises(DataError, match="no folder in it"):
        load_dataset(DataSpec(source=f"imagefolder:{tmp_path / 'a'}", eval="50%"), {"image": "image"})
    with pytest.raises(DataError, match="there is no such folder"):
        load_dataset(DataSpec(source=source, train="x", eval="a"), {"image": "image"})
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"did you mean 'photos'\? correct data\.source") as caught:
        load_dataset(DataSpec(source=f"imagefolder:{tmp_path / 'photo'}", eval="val"), {"image": "image"})
    assert caught.value.problems[0].where == str(tmp_path / "photo")


def test_folders_that_are_numbers_keep_their_names_when_a_split_lacks_some(images):
    source = images("val/0/1.png", "val/2/1.png")
    data = load(source, {"image": "image"}, own=("0", "1", "2"), only_eval=True, eval="val")
    assert (data.labels, data.eval.targets.tolist()) == (("0", "1", "2"), [0, 2])


def test_13_06_no_list_of_words_or_tags_is_made_where_they_are_as_they_should_be(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    words = [f"a word of many letters {number}" for number in range(200)]
    for name, rows in (("train", 10_000), ("eval", 9_000)):
        places = random.integers(0, 200, (rows, 10)).tolist()
        records = [
            {"words": [words[n] for n in some], "label": ["BbOO"[n % 4] for n in some]} for some in places
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    def read(**keys):
        data = DataSpec(source=f"json:{tmp_path}", train="train", eval="eval", **keys)
        return load_dataset(data, {"words": "words"}, tags=True)

    made, item = [], Lists.__getitem__
    monkeypatch.setattr(Lists, "__getitem__", lambda column, row: made.append(row) or item(column, row))
    for keys in ({}, {"label_map": {"b": "B"}}, {"labels": ("O", "B", "b")}):
        first = read(**keys)
        made.clear()
        second = read(**keys)
        assert not made
        assert first.labels == second.labels and first.warnings == second.warnings
        assert first.train.columns["words"] == second.train.columns["words"]
        pairs = zip(first.train.targets, second.train.targets, strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
