import base64
import io
import json

import pytest
from PIL import Image

from ptm.report.shown import DRAWING_PIXELS, FILE, Recorder, kept_views
from report_runs import make_predictions, make_run, report_of, views_of


def png(side=8):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (9, 200, 30)).save(file, "PNG")
    return file.getvalue()


def test_what_was_shown_is_shown_again(tmp_path):
    recorder = Recorder(
        views_of(
            examples=lambda i: {"image_png": png(), "where": f"row {i}"},
            drawings=lambda i, prediction: png(1000) if i else None,
            insights=lambda i, label: {"heat_png": png(), "heat_place": "left", "words": [("a", 0.5)]},
        )
    )
    first = recorder.views
    seen = [first.examples(1), first.drawings(1, {}), first.drawings(0, {}), first.insights(1, "cat")]
    with Image.open(io.BytesIO(seen[1])) as image:
        assert image.size == (DRAWING_PIXELS, DRAWING_PIXELS)
    recorder.write(tmp_path)
    notes: list[str] = []
    kept = kept_views(tmp_path, notes)
    again = [kept.examples(1), kept.drawings(1, {}), kept.drawings(0, {}), kept.insights(1, "cat")]
    assert again[:3] == seen[:3] and again[3] == {"label": "cat", **seen[3]} and not notes
    assert kept.insights(1, "dog") == kept.examples(7) == {}  # another answer, another example
    assert kept_views(tmp_path / "other", notes) is None


def test_a_page_that_is_written_again_keeps_its_pictures_and_words(tmp_path):
    run = make_run(tmp_path / "r", ["a", "b"], make_predictions(["a", "b"], 60))
    words = [("fine", 0.9), ("but", -0.4)]
    report_of(
        run,
        examples=lambda i: {"image_png": png(), "where": f"file {i}.png"},
        insights=lambda i, label: {"heat_png": png(), "heat_place": "upper left", "words": words},
    )
    before = (run / "report.html").read_text()
    assert before.count("data:image/png;base64,") > 1 and "upper left" in before
    report_of(run)
    assert (run / "report.html").read_text() == before


@pytest.mark.parametrize(
    "kept",
    [
        "[]",
        "{",
        json.dumps({"0": []}),
        json.dumps({"0": {"example": {"image_png": 5, "text": ["x"]}, "insight": {"words": [5, ["a"]]}}}),
        json.dumps(
            {str(i): {"insight": {"label": "a", "words": [["a", 1e400], ["b", "c"]]}} for i in range(99)}
        ),
        json.dumps({str(i): {"example": {"image_png": "no base64!"}} for i in range(99)}),
        json.dumps(
            {str(i): {"example": {"image_png": base64.b64encode(b"%!PS run me").decode()}} for i in range(99)}
        ),
        "[" * 100_000,
    ],
    ids=["list", "open", "rows", "types", "numbers", "base64", "postscript", "deep"],
)
def test_15_09_what_a_stranger_says_was_shown_is_shown_or_left_out(tmp_path, kept):
    run = make_run(tmp_path / "r", ["a", "b"], make_predictions(["a", "b"], 60))
    (run / FILE).write_text(kept)
    report_of(run)
    page = (run / "report.html").read_text()
    assert "%!PS" not in page and base64.b64encode(b"%!PS run me").decode() not in page
    assert "no base64!" not in page
