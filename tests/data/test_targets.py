"""Label sets, numbers and tags from columns: what they become, what is refused, what is held out."""

import numpy as np
import pytest

from ptm.config.spec import DataSpec
from ptm.data.arrow_lists import Lists, RowBuilder
from ptm.data.sharing import hold_out
from ptm.data.tabular import load_dataset
from ptm.data.targets import KINDS, encode_label_sets, encode_numbers, encode_tags, rarest_label
from ptm.errors import DataError
from tiny.samples import write_csv, write_jsonl, write_parquet

LABELS = ("bad", "good", "thing")


def where(row):
    return f"row {row}"


def test_sets_of_labels_come_as_lists_and_as_texts():
    values = [["good"], "thing|good", " bad | thing ", "", [], ("thing",), np.array(["bad"])]
    targets = encode_label_sets(values, LABELS, None, where)
    assert targets.dtype == np.float32
    assert targets.tolist() == [
        [0, 1, 0],
        [0, 1, 1],
        [1, 0, 1],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 1],
        [1, 0, 0],
    ]
    assert KINDS["classes"].discover(values) == LABELS
    assert encode_label_sets([[2, 0]], LABELS, None, where).tolist() == [[1, 0, 1]]


def test_what_is_no_set_of_labels_is_named_with_its_row():
    with pytest.raises(DataError, match=r"row 1: None is no list of labels"):
        encode_label_sets([["good"], None, 3], LABELS, None, where)
    with pytest.raises(DataError, match=r"row 1: label 'awful' is not one of the 3 labels"):
        encode_label_sets(["good", "bad|awful"], LABELS, None, where)
    with pytest.raises(DataError, match=r"row 0: label ''"):
        encode_label_sets(["good||bad"], LABELS, None, where)


def test_numbers_are_taken_from_numbers_and_texts():
    values = [1, 2.5, "-3e2", " 4 ", np.float32(0.5)]
    targets = encode_numbers(values, (), None, where)
    assert targets.dtype == np.float64
    assert targets.tolist() == [1, 2.5, -300, 4, 0.5]


@pytest.mark.parametrize("value", [None, "", "many", float("nan"), "inf", 1e39, 10**400, True, [1]])
def test_what_is_no_finite_number_is_named_with_its_row(value):
    with pytest.raises(DataError, match=r"row 1: .* is no finite number"):
        encode_numbers([1, value], (), None, where)


def test_tags_keep_their_rows_and_are_named_with_their_place():
    tags = ("B-X", "I-X", "O")
    targets = encode_tags([["O", "B-X", "I-X"], [], ["O"]], tags, None, where)
    assert [row.tolist() for row in targets] == [[2, 0, 1], [], [2]]
    assert targets[np.array([2, 0])][0].tolist() == [2]
    assert KINDS["tags"].discover([["O", "I-X"], ["B-X"]]) == tags
    with pytest.raises(DataError, match=r"row 1, tag 2: label 'B-Y' is not one of the 3 labels"):
        encode_tags([["O"], ["O", "B-Y"]], tags, None, where)
    with pytest.raises(DataError, match=r"row 0: the tags are 'O O'"):
        encode_tags(["O O"], tags, None, where)


def test_the_rarest_label_of_a_row_by_hand():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]], dtype=np.float32)
    assert rarest_label(targets).tolist() == [1, 0, -1, 2, 1]


def test_a_held_out_share_has_its_part_of_rare_classes_and_of_every_tenth():
    draw = np.random.default_rng(0)
    targets = (draw.random((500, 3)) < [0.5, 0.2, 0.02]).astype(np.float32)
    _, held = hold_out(KINDS["classes"].strata(targets), 0.2)
    assert targets[held].sum(0) == pytest.approx(0.2 * targets.sum(0), abs=8)
    assert targets[held][:, 2].sum() >= 1
    numbers = draw.normal(size=200).astype(np.float32)
    _, held = hold_out(KINDS["number"].strata(numbers), 0.1)
    low, high = np.quantile(numbers, [0.1, 0.9])
    assert (numbers[held] <= low).sum() == (numbers[held] >= high).sum() == 2
    _, few = hold_out(KINDS["number"].strata(numbers[:3]), 0.34)
    assert len(few) == 1


def load(tmp_path, source, **keys):
    return load_dataset(
        DataSpec(source=f"{source}:{tmp_path}", train="train", eval="train", **keys), {"text": "text"}
    )


def test_a_table_of_label_sets(tmp_path):
    write_csv(tmp_path / "train.csv", [("a", "x|y"), ("b", ""), ("c", "y")])
    data = load(tmp_path, "csv", label_type="classes")
    assert data.labels == ("x", "y")
    assert data.train.targets.tolist() == [[1, 1], [0, 0], [0, 1]]
    data = load(tmp_path, "csv", label_type="classes", labels=("x", "y", "z"))
    assert "no training example has the label z" in data.warnings[0].what


def test_a_parquet_file_of_lists_keeps_the_names_of_its_classes(tmp_path):
    import json

    import pyarrow.parquet

    write_parquet(tmp_path / "train.parquet", text=["a", "b"], label=[[1], [0, 1]])
    table = pyarrow.parquet.read_table(tmp_path / "train.parquet")
    features = {"label": {"feature": {"names": ["no", "yes"], "_type": "ClassLabel"}, "_type": "List"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    data = load(tmp_path, "parquet", label_type="classes")
    assert data.labels == ("no", "yes")
    assert data.train.targets.tolist() == [[0, 1], [1, 1]]


def test_a_table_of_numbers(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": "2.5"}])
    data = load(tmp_path, "json", label_type="number")
    assert data.labels == ()
    assert data.eval.targets.tolist() == [1, 2.5]
    write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 1}])
    with pytest.raises(DataError, match="every training example has the number 1"):
        load(tmp_path, "json", label_type="number")


def test_11_01_a_decimal_comma_is_told_as_such():
    with pytest.raises(DataError) as caught:
        encode_numbers(["3,5", "x"], (), None, str)
    assert caught.value.problems[0].cure == "write decimals with a point in the whole column: 3.5, not 3,5"


@pytest.mark.parametrize(
    "tags", [["O", "B-X", "I-X"], [0, 1, 2, True], ["1", "01", 1, "x"], ["a", "A", "None", 3.0]]
)
def test_13_06_tags_of_a_column_are_what_they_are_list_by_list(tags):
    random = np.random.default_rng(0)
    rows = [[tags[n] for n in random.integers(0, len(tags), size)] for size in random.integers(0, 5, 60)]
    builder = RowBuilder()
    builder.extend(rows)
    kind, column = KINDS["tags"], builder.column()
    labels = kind.discover(rows)
    assert isinstance(column, Lists) and kind.discover(column) == labels
    ours, theirs = (kind.encode(values, labels, None, where) for values in (column, rows))
    assert [one.tolist() for one in ours] == [one.tolist() for one in theirs]
    assert kind.strata(ours).tolist() == kind.strata(theirs).tolist()
    told = []
    for values in (column, rows):
        with pytest.raises(DataError) as caught:
            kind.encode(values, (labels[0], "other"), None, where)
        told.append(caught.value.problems)
    assert told[0] == told[1] and ", tag " in told[0][0].where
