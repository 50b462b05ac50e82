"""Charts take their colours from the page."""

from __future__ import annotations

import re
from pathlib import Path

from report_runs import (
    make_predictions,
    make_run,
    report_of,
)


def test_charts_follow_the_colours_of_the_page(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes))
    report_of(run)
    html = (run / "report.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 6  # loss, evaluation, parts, learning rate, gradient, reliability
    assert not any(re.search(r"#[0-9a-f]{6}\b", chart) for chart in charts)
    variables = set(re.findall(r"var\((--[a-z]+)\)", "".join(charts)))
    light, dark = (
        re.search(r":root \{(.*?)\}", part, re.DOTALL) for part in html.split("@media (prefers-color", 1)
    )
    assert light and dark
    assert all(f"{name}:" in light[1] and f"{name}:" in dark[1] for name in variables)
