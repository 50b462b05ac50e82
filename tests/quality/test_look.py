"""What is planted into data is found, with both sides; what is not there is not invented."""

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptm.config.spec import DataSpec
from ptm.data.examples import Examples
from ptm.data.masks import load_masks
from ptm.quality.look import look_at

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "configs" / "samples"


def reviews(name):
    with (SAMPLES / name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], int(row["label"] == "positive")) for row in csv.DictReader(file)]


def split(name, texts, targets, role="text", **more):
    return Examples({role: texts, **more}, targets, lambda row: f"{name}.csv:{row + 2}")


def found(look, rule):
    """(line, other lines) of all findings of a rule, each with the file's first letter."""
    short = lambda where: where.replace(".csv:", "")  # noqa: E731
    return [(short(f.problem.where), *map(short, f.related)) for f in look.findings if f.rule == rule]


def test_12_05_nothing_is_invented_in_the_shipped_samples():
    train, evaluation = reviews("reviews_train.csv"), reviews("reviews_test.csv")
    splits = {
        name: split(name, [text for text, _ in rows], np.array([label for _, label in rows]))
        for name, rows in (("train", train), ("eval", evaluation))
    }
    look = look_at(splits, ("negative", "positive"), 1)
    assert look.findings == ()
    assert look.figures["train"].labels == {"negative": len(train) // 2, "positive": len(train) // 2}
    tags = {
        name: [json.loads(line) for line in (SAMPLES / f"tags_{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    }
    names = tuple(sorted({tag for rows in tags.values() for row in rows for tag in row["tags"]}))
    splits = {}
    for name, rows in tags.items():
        targets = np.empty(len(rows), dtype=object)
        targets[:] = [np.array([names.index(tag) for tag in row["tags"]]) for row in rows]
        splits[name] = split(name, [row["words"] for row in rows], targets, role="words")
    assert [f for f in look_at(splits, names, 1).findings if f.level == "warning"] == []


def test_12_05_planted_in_texts_all_is_found_in_three_splits():
    rows, later = reviews("reviews_train.csv"), reviews("reviews_test.csv")
    train, evaluation, test = rows[:200], later[:60], later[60:120]
    long = max(train, key=lambda row: len(row[0]))
    place = train.index(long) + 2
    evaluation.append(
        ("  " + train[10][0].upper() + " ", train[10][1])
    )  # eval62: exact but for case and blanks
    test.append((later[5][0], later[5][1]))  # test62: of eval
    test.append((train[20][0] + "!!", train[20][1]))  # test63: punctuation
    word = max(long[0].split(), key=len)
    evaluation.append((long[0].replace(word, word[:-1]), long[1]))  # eval63: a letter is missing
    train.append((train[30][0], 1 - train[30][1]))  # train202: contradicts train32
    train.append((train[40][0], train[40][1]))  # train203: stands twice
    train.append(("word " * 400, 0))  # train204
    splits = {
        name: split(name, [text for text, _ in part], np.array([label for _, label in part]))
        for name, part in (("train", train), ("eval", evaluation), ("test", test))
    }
    look = look_at(splits, ("negative", "positive"), 1)
    assert found(look, "overlap") == [("eval62", "train12"), ("test62", "eval7")]
    assert found(look, "near-overlap") == [("eval63", f"train{place}"), ("test63", "train22")]
    assert found(look, "contradiction") == [("train32", "train202")]
    assert found(look, "duplicate") == [("train42", "train203")]
    assert found(look, "extreme-length") == [("train204",)]
    assert len(look.findings) == 7
    assert "'positive' (1 row)" in next(f for f in look.findings if f.rule == "contradiction").problem.what


TEXTS = [text for text, _ in reviews("reviews_train.csv")[:30]]


@pytest.mark.parametrize("kind", ["classes", "number", "tags", "pairs", "translation", "lm"])
def test_12_05_contradictions_of_every_kind_of_label(kind):
    texts = [*TEXTS, TEXTS[3].title()]
    n, columns, role, labels = len(texts), {}, "text", ("a", "b")
    if kind == "classes":
        targets = np.zeros((n, 2), dtype=np.float32)
        targets[:, 0], targets[-1] = 1, [1, 1]
    elif kind == "number":
        targets, labels = np.linspace(0, 1, n), ()
    elif kind == "tags":
        role, texts = "words", [text.split() for text in [*TEXTS, TEXTS[3]]]
        targets = np.empty(n, dtype=object)
        targets[:] = [np.zeros(len(words), dtype=np.int64) for words in texts]
        targets[-1] = np.ones(len(texts[-1]), dtype=np.int64)
    elif kind == "pairs":
        targets = np.array([0] * (n - 1) + [1])
        columns["text_pair"] = [f"pair {i}" for i in range(n - 1)] + ["pair 3"]
    else:
        targets, labels = None, ()
        if kind == "translation":
            columns["target_text"] = [f"target {i}" for i in range(n)]
    look = look_at({"train": split("train", texts, targets, role, **columns)}, labels, 1)
    contradictions = [("train5", "train32")] if targets is not None else []
    assert found(look, "contradiction") == contradictions
    assert found(look, "duplicate") == ([] if contradictions else [("train5", "train32")])


def test_12_05_words_that_differ_in_case_may_have_other_tags():
    targets = np.empty(2, dtype=object)
    targets[:] = [np.array([0, 1]), np.array([0, 0])]
    look = look_at(
        {"train": split("train", [["in", "Reading"], ["in", "reading"]], targets, "words")}, ("O", "B-X"), 1
    )
    assert found(look, "contradiction") == [] and found(look, "duplicate") == [("train2", "train3")]


def test_12_05_imbalance_labels_never_measured_and_numbers_far_off():
    texts = [f"{text} {i}" for i in range(8) for text in TEXTS]
    targets = np.array([0] * 225 + [1] * 10 + [2] * 5)
    splits = {
        "train": split("train", texts, targets),
        "eval": split("eval", ["another", "more"], np.array([0, 1])),
    }
    what = {
        f.rule: f.problem.what for f in look_at(splits, ("a", "b", "c"), 1).findings if f.level == "warning"
    }
    assert "225 examples of 'a', and far fewer of 'c' (5), 'b' (10)" in what["imbalance"]
    assert what["unmeasured-label"] == "eval has no example of 'c', which train has"
    numbers = np.append(np.tile(np.linspace(0, 5, 24), 10)[:239], 500.0)
    look = look_at({"train": split("train", texts, numbers)}, (), 1)
    assert found(look, "extreme-number") == [("train241",)]
    assert look.figures["train"].numbers["most"] == 500


def photograph(seed):
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize((64, 48), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return {"bytes": stream.getvalue(), "path": None}


def test_12_05_images_equal_in_pixels_re_encoded_resized_blank_and_of_other_modes():
    train = [encoded(photograph(i)) for i in range(30)]
    evaluation = [encoded(photograph(100 + i)) for i in range(25)]
    train.append(encoded(photograph(4), "BMP"))  # train32: other bytes, equal pixels as train6
    evaluation.append(encoded(photograph(7), "JPEG", quality=60))  # eval27: train9
    evaluation.append(encoded(photograph(8).resize((48, 36))))  # eval28: train10
    evaluation.append(encoded(photograph(9), compress_level=0))  # eval29: train11
    train.append(encoded(Image.new("RGB", (64, 48), "red")))  # train33
    train.append(encoded(photograph(50).convert("RGBA")))  # train34
    train.append(encoded(photograph(51).resize((1280, 20))))  # train35
    targets = np.array([i % 2 for i in range(len(train))])
    targets[30] = 1
    splits = {
        "train": split("train", train, targets, "image"),
        "eval": split("eval", evaluation, np.array([7 % 2] * len(evaluation)), "image"),
    }
    look = look_at(splits, ("a", "b"), 2)
    assert found(look, "contradiction") == [("train6", "train32")]
    assert found(look, "overlap") == [("eval29", "train11")]
    assert found(look, "near-overlap") == [("eval27", "train9"), ("eval28", "train10")]
    assert found(look, "blank-image") == [("train33",)]
    assert found(look, "unusual-mode") == [("train34",)]
    assert found(look, "extreme-size") == [("train35",)]
    assert look.figures["train"].modes == {"RGB": 33, "RGBA": 1}
    assert look.figures["eval"].sizes["width"]["least"] == 48


def test_12_05_boxes_and_masks_that_contradict_each_other(tmp_path):
    images = [encoded(photograph(i)) for i in (0, 1, 2, 0, 1)]
    box = lambda x: np.array([[x, 0, x + 10, 10]], dtype=np.float32)  # noqa: E731
    columns = {
        "image": images,
        "boxes": [box(0), box(1), box(2), box(0), box(20)],
        "classes": [np.array([0])] * 5,
    }
    look = look_at({"train": Examples(columns, None, lambda row: f"train.csv:{row + 2}")}, ("cell",), 1)
    assert found(look, "contradiction") == [("train3", "train6")]
    assert found(look, "duplicate") == [("train2", "train5")]
    assert look.figures["train"].labels == {"cell": 5}
    for folder in ("image", "label"):
        (tmp_path / folder).mkdir()
    for i, (seed, value) in enumerate([(0, 0), (1, 0), (0, 1)]):
        photograph(seed).save(tmp_path / "image" / f"{i}.png")
        mask = np.zeros((48, 64), dtype=np.uint8)
        mask[:5] = 1
        mask[10] = value
        Image.fromarray(mask).save(tmp_path / "label" / f"{i}.png")
    (tmp_path / "other" / "image").mkdir(parents=True)
    data = load_masks(DataSpec(source=f"masks:{tmp_path}", eval="34%"))
    both = {"eval": data.eval} if data.train is None else {"train": data.train, "eval": data.eval}
    rules = [(f.rule, {Path(f.problem.where).name, *(Path(w).name for w in f.related)}) for f in
             look_at(both, data.labels, 1).findings if f.rule == "contradiction"]  # fmt: skip
    assert rules == [("contradiction", {"0.png", "2.png"})]


def test_12_05_time_grows_with_the_rows_and_not_with_their_square():
    draw = random.Random(0)
    words = [f"{draw.getrandbits(20):x}" for _ in range(5000)]
    texts = [" ".join(draw.choices(words, k=8)) for _ in range(4000)]
    import time

    seconds = []
    for count in (1000, 4000):
        begun = time.process_time()
        look = look_at({"train": split("train", texts[:count], np.arange(count) % 2)}, ("a", "b"), 1)
        seconds.append(time.process_time() - begun)
        assert look.findings == ()
    assert seconds[1] < 9 * seconds[0]


def test_15_15_a_limit_on_what_was_compared_is_said(monkeypatch):
    monkeypatch.setattr("ptm.quality.minhash.MOST_PAIRS", 10)
    texts = [f"class number {number} of the kind" for number in range(60)]
    (finding,) = [
        f for f in look_at({"train": split("a", texts, None)}, (), 1).findings if f.rule == "near-limit"
    ]
    assert finding.level == "note" and "10 pairs of texts" in str(finding.problem)


def test_15_17_pairs_that_belong_together_contradict_nothing():
    """`ptm check --data` ended in a traceback where a pair of texts stood twice."""
    texts = ["who wrote this book?", "when was it written?", "who wrote this book?"]
    more = {"text_pair": ["a lady called Ada", "in a cold summer", "a lady called Ada"]}
    splits = {
        "train": split("a", texts, np.array([1, 0, 1]), **more),
        "eval": split("b", texts, np.array([0, 1, 0]), **more),  # numbers of a split of its own
    }
    look = look_at(splits, (), 1)
    assert {finding.rule for finding in look.findings} and not found(look, "contradiction")
