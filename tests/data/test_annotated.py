"""Exports of annotation tools: spans and labels of whole texts; what is left out, said and refused."""

import json

import pytest

from annotation_samples import SPANS, TEXT, chosen, doccano, entities, labelstudio, prodigy, region, task
from ptm.data.annotated import read_annotated
from ptm.data.annotation_tools import seems, tool_of
from ptm.data.text_format import TextFormat
from ptm.errors import DataError

TAGGED = [("Anna", "B-PER"), ("Berg", "I-PER"), ("moved", "O"), ("to", "O"), ("Rome", "B-LOC"), (".", "O")]


@pytest.fixture
def read(tmp_path):
    def of(kind, records, label="label", role="words", name="a", **options):
        path = tmp_path / f"{name}.json"
        as_list = kind == "labelstudio"
        path.write_text(json.dumps(records) if as_list else "\n".join(map(json.dumps, records)))
        roles = {role: role, **({"label": label} if label else {})}
        table = read_annotated(kind, path, roles, TextFormat(), **options)
        return table, path

    return of


def rows(table):
    return [
        list(zip(*row, strict=True))
        for row in zip(table.columns["words"], table.columns["label"], strict=True)
    ]


def problems(of, *arguments, **options):
    with pytest.raises(DataError) as caught:
        of(*arguments, **options)
    return caught.value.problems


MADE = {"prodigy": prodigy, "doccano": doccano, "entities": entities, "labelstudio": labelstudio}


@pytest.mark.parametrize("tool", MADE)
def test_11_02_spans_are_tags_of_words(read, tool):
    kind = "doccano" if tool == "entities" else tool
    make = MADE[tool]
    other = "She saw Bo's dog\nin (New York)"
    found = [(8, 10, "PER"), (21, 29, "LOC")]
    table, path = read(kind, [make(), make(other, list(reversed(found))), make("no name here", [])])
    assert rows(table) == [
        TAGGED,
        [
            *[
                ("She", "O"),
                ("saw", "O"),
                ("Bo", "B-PER"),
                ("'s", "O"),
                ("dog", "O"),
                ("in", "O"),
                ("(", "O"),
            ],
            *[("New", "B-LOC"), ("York", "I-LOC"), (")", "O")],
        ],
        [("no", "O"), ("name", "O"), ("here", "O")],
    ]
    place = f"{path}, record 2" if kind == "labelstudio" else f"{path}:2"
    assert (table.where(1), table.notes) == (place, ())
    texts, _ = read(kind, [make()], label="", raw=True)
    assert texts.columns == {"words": [TEXT]}
    assert seems(make()) == kind


def test_11_02_words_are_cut_as_a_prediction_cuts_them(read):
    """What the words teach a model about cutting gives the same words of the raw text."""
    from ptm.data.cutting import learn_cut

    texts = ["Anna's state-of-the-art car, $5!", "东京 is 30% (larger).", 'Bo’s "dog" ... e.g. here']
    table, _ = read("prodigy", [prodigy(text, []) for text in texts])
    words = table.columns["words"]
    for text, cut in zip(texts, words, strict=True):
        assert list(learn_cut([cut]).cut(text)) == cut


BAD_SPANS = [
    ((1, 4, "PER"), "the span 'nna' (PER) cuts the word 'Anna'"),
    ((0, 8, "PER"), "the span 'Anna Ber' (PER) cuts the word 'Berg'"),
    ((0, 99, "PER"), "the span 0 to 99 (PER) is not within the text of 24 characters"),
    ((-1, 4, "PER"), "the span -1 to 4 (PER) is not within the text of 24 characters"),
    ((4, 4, "PER"), "the span 4 to 4 (PER) is not within the text of 24 characters"),
    ((9, 4, "PER"), "the span 9 to 4 (PER) is not within the text of 24 characters"),
    ((4, 5, "PER"), "the span 4 to 5 (PER) holds nothing but blanks"),
    (("0", 4, "PER"), "the offsets of a span are '0' and 4"),
    ((0, True, "PER"), "the offsets of a span are 0 and True"),
    ((0, 4, ""), "the label of a span is ''"),
    ((0, 4, None), "the label of a span is None"),
]


@pytest.mark.parametrize(("span", "what"), BAD_SPANS)
@pytest.mark.parametrize("kind", ["prodigy", "doccano"])
def test_11_02_a_bad_span_is_refused_with_its_record(read, tmp_path, kind, span, what):
    make = MADE[kind]
    (problem,) = problems(read, kind, [make(), make(spans=[span])])
    assert (problem.what, problem.where) == (what, f"{tmp_path / 'a.json'}:2")
    assert problem.expected


def test_11_02_spans_that_overlap_are_refused_and_equal_ones_are_one(read):
    (problem,) = problems(read, "prodigy", [prodigy(spans=[(0, 9, "PER"), (5, 9, "LOC")])])
    assert problem.what == "the spans 'Anna Berg' (PER) and 'Berg' (LOC) share the word 'Berg'"
    assert rows(read("prodigy", [prodigy(spans=[*SPANS, SPANS[0]])])[0]) == [TAGGED]
    blanks = [(0, 10, "PER"), (18, 23, "LOC")]
    assert rows(read("prodigy", [prodigy(spans=blanks)])[0]) == [TAGGED]


def test_11_02_a_span_that_ends_at_a_mark_in_a_word_is_said(read):
    text = "the Paris-based firm sent 10km"
    table, path = read("doccano", [doccano(text, [(4, 9, "LOC"), (26, 28, "NUM")])])
    assert rows(table) == [
        [("the", "O"), ("Paris-based", "B-LOC"), ("firm", "O"), ("sent", "O"), ("10km", "B-NUM")]
    ]
    (note,) = table.notes
    said = "2 spans end inside a word, which has the tag as a whole, such as 'Paris' in 'Paris-based'"
    assert (note.what, note.where) == (said, f"{path}:1")


def test_11_02_offsets_are_held_against_what_label_studio_says(read, tmp_path):
    text = "😀 Anna is in Rome"
    wide = [region(text, (2, 6, "PER")), region(text, (13, 17, "LOC"))]
    for one in wide:  # as a browser counts: the emoji is two units
        one["value"]["start"] += 1
        one["value"]["end"] += 1
    table, _ = read("labelstudio", [task(*wide, text=text)])
    assert rows(table)[0][1:] == [("Anna", "B-PER"), ("is", "O"), ("in", "O"), ("Rome", "B-LOC")]
    assert (
        table.notes[0].what == "2 spans are counted in units of UTF-16, as browsers do, such as 'Anna' at 3"
    )
    moved = region(TEXT, (0, 4, "PER"))
    moved["value"] |= {"start": 5, "end": 9}
    (problem,) = problems(read, "labelstudio", [task(moved)])
    assert problem.what == "the characters 5 to 9 are 'Berg', the annotation says 'Anna'"
    assert problem.where == f"{tmp_path / 'a.json'}, record 1"


def test_11_02_records_that_say_nothing_are_left_out_and_counted(read):
    answers = [prodigy(answer=a) for a in ("accept", "reject", "ignore", "accept")]
    table, path = read("prodigy", answers)
    assert len(table) == 2
    assert table.where(1) == f"{path}:4"
    assert table.notes[0].what == "2 of 4 records are left out: 1 rejected, 1 with the answer 'ignore'"
    tasks = [labelstudio(), {"data": {"text": "x"}, "annotations": []}, task(was_cancelled=True)]
    table, _ = read("labelstudio", tasks)
    assert (len(table), table.notes[0].what) == (1, "2 of 3 records are left out: 2 without annotation")
    (problem,) = problems(read, "prodigy", answers[1:3])
    assert problem.what == "2 records, and none can be used: 1 rejected, 1 with the answer 'ignore'"


def test_11_02_label_studio_with_several_opinions(read):
    same, other = labelstudio(), labelstudio()
    same["annotations"] *= 2
    other["annotations"] += task()["annotations"]
    assert rows(read("labelstudio", [same])[0]) == [TAGGED]
    (problem,) = problems(read, "labelstudio", [other])
    assert problem.what == "2 annotations that differ"
    both = task(region(TEXT, SPANS[0], "a"), region(TEXT, SPANS[1], "b"))
    (problem,) = problems(read, "labelstudio", [both])
    assert problem.what == "labels by several parts of the interface: a, b"
    assert problem.cure.endswith("--set data.label=a")
    assert rows(read("labelstudio", [both], label="b")[0])[0][4] == ("Rome", "B-LOC")
    assert problems(read, "labelstudio", [both], label="c")[0].what == "no column 'c'"


def test_11_02_labels_of_whole_texts(read):
    def of(kind, records, **how):
        return read(kind, records, role="text", **how)[0].columns["label"]

    assert of("labelstudio", [task(chosen("good")), task(chosen("bad"))]) == ["good", "bad"]
    assert of("labelstudio", [task(chosen("good", "odd")), task()]) == [["good", "odd"], []]
    two = task(chosen("good"), chosen("film", name="topic"))
    assert of("labelstudio", [two], label="topic") == ["film"]
    assert of("doccano", [{"text": "x", "label": ["good"]}, {"text": "y", "label": ["bad"]}]) == [
        "good",
        "bad",
    ]
    assert of("prodigy", [{"text": "x", "accept": ["a"], "answer": "accept"}]) == ["a"]
    assert of("prodigy", [{"text": "x", "label": "spam", "answer": "accept"}]) == ["spam"]
    assert problems(of, "prodigy", [prodigy()])[0].cure == "task: token-classification, if it has spans"
    assert "no record has spans" in problems(read, "labelstudio", [task(chosen("good"))])[0].what


def test_11_02_what_is_annotated_otherwise_is_no_text_without_names(read):
    box = {"from_name": "b", "type": "rectanglelabels", "value": {"x": 1}}
    assert "no record has spans" in problems(read, "labelstudio", [task(box)])[0].what
    both = doccano() | {"entities": []}
    assert rows(read("doccano", [both])[0]) == [TAGGED]


def test_11_02_another_tool_is_named(read):
    (problem,) = problems(read, "prodigy", [doccano()])
    assert (problem.what, problem.cure) == (
        "this seems to be written by doccano",
        "begin data.source with doccano:",
    )
    assert "JSON-MIN" in problems(read, "labelstudio", [{"id": 1, "text": "x", "label": "A"}])[0].cure
    assert seems({"text": "x", "label": "a"}) is None
    assert problems(read, "doccano", [{"body": "x", "label": []}])[0].what == "no column 'text'"
    assert problems(read, "labelstudio", [{"data": {"a": "x", "b": "y"}, "annotations": []}])[0].cure


@pytest.mark.parametrize("kind", ["doccano", "prodigy"])
def test_11_02_a_label_of_the_whole_text_among_spans_is_no_text_without_names(read, tmp_path, kind):
    odd = {"text": TEXT, "label": "PER"}
    (problem,) = problems(read, kind, [MADE[kind](), odd])
    assert problem.where == f"{tmp_path / 'a.json'}:2"
    assert problem.what == "has a label of the whole text, and others spans"
    (problem,) = problems(read, kind, [odd, MADE[kind]()], role="text")
    assert (problem.what, problem.where[-2:]) == ("has spans, and others a label of the whole text", ":2")
    table, _ = read(kind, [MADE[kind](), odd], label=None)
    assert len(table) == 2


def test_11_02_a_field_that_is_not_there_is_named_with_its_key(read):
    assert "data.text" in problems(read, "doccano", [{"body": "x", "label": []}])[0].cure
    assert "data.label" in problems(read, "doccano", [{"text": "x", "tag": []}])[0].cure


def minimal(text=TEXT, spans=SPANS, **more):
    """As JSON-MIN of Label Studio has it: without names there is no ``label``."""
    found = [region(text, span)["value"] for span in spans]
    about = {"id": 7, "annotator": 1, "annotation_id": 3, "created_at": "2024-05-01", "lead_time": 2.5}
    return {"text": text, **about, **({"label": found} if found else {}), **more}


def test_11_02_json_min_of_label_studio_has_the_same_spans(read):
    table, path = read("labelstudio", [minimal("no name here", []), minimal(source="x", lang="en")])
    assert rows(table) == [[("no", "O"), ("name", "O"), ("here", "O")], TAGGED]
    assert table.where(1) == f"{path}, record 2"
    assert tool_of([minimal("no name here", []), minimal()]) == "labelstudio"
    moved = minimal()
    moved["label"][0] |= {"start": 5, "end": 9}
    assert "the annotation says 'Anna Berg'" in problems(read, "labelstudio", [moved])[0].what
    two = minimal(other=minimal()["label"])
    assert (
        problems(read, "labelstudio", [two])[0].what
        == "labels by several parts of the interface: label, other"
    )
    assert rows(read("labelstudio", [two], label="other")[0]) == [TAGGED]


def test_11_02_json_min_of_label_studio_has_choices(read):
    def of(records, **how):
        return read("labelstudio", records, role="text", **how)[0].columns["label"]

    several = minimal(spans=[], mood={"choices": ["good", "odd"]})
    assert of([minimal(spans=[], mood="good"), minimal(spans=[], mood="bad")]) == ["good", "bad"]
    assert of([minimal(spans=[], mood="good"), several, minimal(spans=[])]) == [["good"], ["good", "odd"], []]
    both = minimal(mood="good", topic="film")
    assert problems(of, [both])[0].what == "several texts may be the label: mood, topic"
    assert of([both], label="topic") == ["film"]
    review = {"review": "a film", "mood": "good", "annotation_id": 1}
    assert of([review], label="mood") == ["good"]


def test_11_02_labels_of_the_first_doccano_are_numbers(read):
    def old(*found):
        return {"id": 1, "text": TEXT, "meta": {}, "annotation_approver": None, "annotations": list(found)}

    spans = [
        {"label": n, "start_offset": s, "end_offset": e, "user": 1} for n, (s, e, _) in enumerate(SPANS, 1)
    ]
    table, _ = read("doccano", [old(), old(*spans)])
    assert [tag for _, tag in rows(table)[1]] == ["B-1", "I-1", "O", "O", "B-2", "O"]
    assert {tag for _, tag in rows(table)[0]} == {"O"}
    whole = [old({"label": 2, "user": 1}, {"label": 2, "user": 3}), old({"label": 1, "user": 1})]
    assert read("doccano", whole, role="text")[0].columns["label"] == ["2", "1"]
    assert tool_of([old(), old(*spans)]) == "doccano"
    (problem,) = problems(read, "doccano", [old({"text": "a summary"})])
    assert problem.what == "an annotation is {'text': 'a summary'}"


def test_11_02_a_first_record_without_a_name_does_not_hide_the_tool():
    assert tool_of([doccano(spans=[]), doccano()]) == "doccano"
    assert tool_of([{"text": "a", "label": []}, {"text": "b", "label": ["x"]}]) is None
