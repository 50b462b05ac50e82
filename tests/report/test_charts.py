"""Charts take their colours from the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ptm.report.charts import Curve, curves_chart, numbers_chart
from report_runs import (
    make_predictions,
    make_run,
    report_of,
)


@pytest.mark.slow
def test_charts_follow_the_colours_of_the_page(tmp_path: Path) -> None:
    classes = ["negative", "positive"]
    run = make_run(tmp_path / "run", classes, make_predictions(classes))
    report_of(run)
    html = (run / "report.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 7  # loss, evaluation, parts, learning rate, gradient, coverage, reliability
    assert not any(re.search(r"#[0-9a-f]{6}\b", chart) for chart in charts)
    variables = set(re.findall(r"var\((--[a-z]+)\)", "".join(charts)))
    light, dark = (
        re.search(r":root \{(.*?)\}", part, re.DOTALL) for part in html.split("@media (prefers-color", 1)
    )
    assert light and dark
    assert all(f"{name}:" in light[1] and f"{name}:" in dark[1] for name in variables)


@pytest.mark.slow
def test_10_29_no_axis_writes_formulas():
    r"""A logarithmic axis has a formatter of its own, which writes $\mathdefault{10^{0}}$ where formulas are off."""
    x = np.arange(1.0, 200.0)
    svg = curves_chart("loss", [Curve(x=x, y=np.exp(-x / 20) * 500, tone="accent")])
    assert "math" not in svg and "$" not in svg
    assert re.findall(r">([\d.e-]+)</text>", svg)


@pytest.mark.slow
def test_10_29_numbers_are_drawn_over_labels():
    svg = numbers_chart("numbers", np.array([[0.0, 1.0], [2.0, 2.0], [1e6, 3.0]]))
    assert svg.startswith("<svg") and "prediction" in svg and "$" not in svg
