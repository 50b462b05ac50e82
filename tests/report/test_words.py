"""Values as words, and texts that Markdown must leave alone."""

from __future__ import annotations

import math

from ptm.report.inputs import number
from ptm.report.words import brief, code_span, duration, markdown, metric, milliseconds, size


def test_numbers_as_words() -> None:
    assert [metric(value) for value in (0.91751, 0, 12.345, 2.5e-5, "nan", None)] == [
        "0.9175",
        "0.0000",
        "12.35",
        "2.5e-05",
        "not finite",
        "not finite",
    ]
    assert [duration(value) for value in (0.123, 95.2, 3725, None)] == [
        "0.123 s",
        "1 min 35 s",
        "1 h 2 min",
        "",
    ]
    assert [size(value) for value in (999, 17_543_680, 4.2e9)] == ["999 bytes", "17.5 MB", "4.2 GB"]
    assert [brief(value) for value in (950, 272_474, 109_483_778)] == ["950", "272 k", "109 M"]
    assert math.isinf(number("inf")) and math.isnan(number(True)) and math.isnan(number("x"))


def test_markdown_is_defused() -> None:
    assert markdown("a|b\n<i> *c*") == "a\\|b &lt;i&gt; \\*c\\*"
    assert code_span("x`y") == "``x`y``"
    assert code_span("`") == "`` ` ``"
    assert code_span("a|b") == "`a\\|b`"


def test_10_29_times_are_no_powers_of_ten() -> None:
    assert [milliseconds(value) for value in (1020.4, 99.96, 12.345, 0.5123, None)] == [
        "1,020 ms",
        "100 ms",
        "12.3 ms",
        "0.512 ms",
        "",
    ]
