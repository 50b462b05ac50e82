"""The page of a cross-validation."""

from ptm.report.folds import MOST_SHOWN, PAGE_MARK, folds_page

RECORD = {
    "task": "text-classification",
    "examples": 300,
    "folds": ["1", "2"],
    "metrics": {"accuracy": 0.75},
    "interval": {"accuracy": [0.7, 0.8]},
    "over_folds": {"loss": {"mean": 0.5, "sd": 0.1, "interval_95": [0.4, 0.6]}},
    "doubtful_labels": 250,
}


def doubt(number):
    return {
        "where": f"t.csv:{number}",
        "input": f"<b>text {number}</b>",
        "label": "good",
        "likely": "bad",
        "scores": {"good": 0.125, "bad": 0.875},
    }


def test_11_05_doubts_stand_with_row_text_and_picture():
    page = folds_page("r", RECORD, [doubt(n) for n in range(250)], {"t.csv:3": "data:image/png;base64,AA=="})
    assert page.encode().startswith(PAGE_MARK)
    assert page.count('src="data:image/png;base64,AA=="') == 1 and page.count("<img") == 1
    assert "t.csv:3" in page and "&lt;b&gt;text 3" in page and "<b>text" not in page
    assert f"t.csv:{MOST_SHOWN - 1}" in page and f"t.csv:{MOST_SHOWN}" not in page and "250" in page
    for number in ("0.7500", "0.7000 to 0.8000", "good (0.125)", "bad (0.875)"):
        assert number in page


def test_11_05_where_no_label_can_be_doubted_the_page_has_metrics_alone():
    page = folds_page("r", RECORD | {"doubtful_labels": None}, None, {})
    assert "likely wrong" not in page and "0.7500" in page
