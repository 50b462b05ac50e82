"""Charts as SVG elements to put into a page: no ids that clash, no fixed colours, the same bytes each time.

Matplotlib draws in placeholder colours, which become CSS variables afterwards, so that one chart serves
light and dark pages. Only the Figure API is used: no pyplot, no state left behind.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ptm.report.inputs import RunFiles, mapping, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from ptm.report.predictions import ClassScores
    from ptm.report.scores import Calibration, Coverage

Tone = Literal["accent", "warm", "third", "muted"]
_VARIABLES = {"ink": "#000001", "muted": "#000002", "line": "#000003", "accent": "#000004", "warm": "#000005"}
_VARIABLES |= {"third": "#000006"}
_TONES: tuple[Tone, ...] = ("accent", "warm", "third")
_POINTS = 800  # more of a line cannot be seen and only makes the page heavy


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a chart; gaps where ``y`` is NaN. ``faint`` is for raw values behind a smoothed line."""

    x: np.ndarray
    y: np.ndarray
    tone: Tone
    label: str = ""
    faint: bool = False
    marked: bool = False  # a dot at each point: evaluations are few


def charts(run: RunFiles, scores: ClassScores | None, points: np.ndarray | None = None) -> dict[str, str]:
    """The SVG elements of a run by name: loss, metric, parts, rate, gradient, reliability, coverage, numbers.
    ``points``, float64 [n, 2], are numbers that were to be predicted, and those that were.

    Only those that there is something to draw for.
    """
    import numpy as np

    curves = {
        "loss": [
            *_logged(run, "loss", "accent", "train"),
            *_evaluated(run, {"loss": "evaluation"}, "warm"),
        ],
        "metric": _evaluated(run, {name: name for name in _metric_names(run)}, *_TONES),
        "parts": _parts(run),
        "rate": _logged(run, "learning_rate", "accent", "", smooth_it=False),
        "gradient": _logged(run, "grad_norm", "accent", ""),
    }
    best_at = number(run.result("best").get("step"))
    marks: dict[str, dict[str, Any]] = {
        "loss": {"best_at": best_at, "broken_at": run.first_broken_step},
        "metric": {"best_at": best_at, "level": _teacher_level(run)},
        "rate": {"from_zero": True},
        "gradient": {"from_zero": True},
    }
    figures = {
        name: curves_chart(name, lines, **marks.get(name, {}))
        for name, lines in curves.items()
        if any(np.isfinite(line.y).any() for line in lines)
    }
    if scores is not None and scores.calibration is not None:
        figures["reliability"] = reliability_chart("reliability", scores.calibration)
    if scores is not None and scores.coverage is not None:
        figures["coverage"] = coverage_chart("coverage", scores.coverage)
    if points is not None:
        figures["numbers"] = numbers_chart("numbers", points)
    return figures


def _column(lines: Sequence[Mapping[str, Any]], *path: str) -> np.ndarray:
    """One value a line, float64 [lines]; NaN where it is missing or not finite."""
    import numpy as np

    def value(line: Any) -> float:
        for key in path:
            line = mapping(line).get(key)
        return number(line)

    values = np.array([value(line) for line in lines], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _logged(
    run: RunFiles, path: str | tuple[str, ...], tone: Tone, label: str, *, smooth_it: bool = True
) -> list[Curve]:
    """A quantity of the training log: its smoothed line, with the raw values faint behind it."""
    from ptm.report.scores import smooth

    path = (path,) if isinstance(path, str) else path
    steps, values = _column(run.train, "step"), _column(run.train, *path)
    window = max(1, len(steps) // 30) | 1
    few = len(steps) < 3
    if window == 1 or not smooth_it:
        return [Curve(x=steps, y=values, tone=tone, label=label, marked=few)]
    raw = Curve(x=steps, y=values, tone=tone, faint=True)
    return [raw, Curve(x=steps, y=smooth(values, window), tone=tone, label=label)]


def _parts(run: RunFiles) -> list[Curve]:
    """The terms of the loss, such as ``ce`` and ``kd``; at most as many as there are tones."""
    names = dict.fromkeys(name for line in run.train for name in mapping(line.get("parts")))
    pairs = zip(names, _TONES, strict=False)
    return [curve for name, tone in pairs for curve in _logged(run, ("parts", name), tone, name)]


def _evaluated(run: RunFiles, labels: Mapping[str, str], *tones: Tone) -> list[Curve]:
    """Metrics of the evaluations in the log, by name, with their labels."""
    steps = _column(run.evals, "step")
    return [
        Curve(x=steps, y=_column(run.evals, "metrics", name), tone=tone, label=label, marked=True)
        for (name, label), tone in zip(labels.items(), tones, strict=False)
    ]


def _metric_names(run: RunFiles) -> list[str]:
    """Which to draw: the one that counts, accuracy, macro F1; else whatever there is. Never the loss."""
    names = dict.fromkeys(
        name for line in run.evals for name in mapping(line.get("metrics")) if name != "loss"
    )
    chosen = [name for name in dict.fromkeys([run.best_metric, "accuracy", "f1_macro"]) if name in names]
    return chosen or list(names)[:2]


def _teacher_level(run: RunFiles) -> tuple[str, float] | None:
    names = _metric_names(run)[:1]
    reference = mapping(run.result("teacher").get("metrics"))
    return next(((f"teacher's {name}", number(reference.get(name))) for name in names), None)


@contextmanager
def _styled() -> Iterator[None]:
    """Our style, whatever the user's matplotlibrc says, and his again afterwards."""
    import matplotlib

    ink, muted, line = _VARIABLES["ink"], _VARIABLES["muted"], _VARIABLES["line"]
    style: dict[str, Any] = {
        "svg.hashsalt": "ptm",  # else ids are random
        "svg.fonttype": "none",  # text stays text: small, sharp, readable by machines
        "text.parse_math": False,  # names are names, also with a dollar sign
        "font.size": 9,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "legend.labelcolor": muted,
        "text.color": ink,
        "axes.labelcolor": muted,
        "axes.edgecolor": line,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.7,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "axes.xmargin": 0.02,
        "axes.ymargin": 0.08,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


@_styled()
def curves_chart(
    key: str,
    curves: Sequence[Curve],
    *,
    broken_at: float | None = None,
    best_at: float | None = None,
    level: tuple[str, float] | None = None,
    from_zero: bool = False,
) -> str:
    """Curves over steps; ``broken_at`` is the first step not finite, ``level`` a named dashed line."""
    import numpy as np

    figure, axes = _figure(4.6, 2.65)
    for curve in curves:
        x, y = _thin(curve.x, curve.y)
        axes.plot(
            x,
            y,
            color=_VARIABLES[curve.tone],
            alpha=0.3 if curve.faint else 1.0,
            linewidth=0.9 if curve.faint else 1.6,
            marker="o" if curve.marked else None,
            markersize=3.2,
            label=_short(curve.label) or None,
        )
    if level is not None and math.isfinite(level[1]):
        axes.axhline(
            level[1], color=_VARIABLES["muted"], linewidth=1, linestyle=(0, (4, 3)), label=_short(level[0])
        )
    if best_at is not None and math.isfinite(best_at):
        axes.axvline(best_at, color=_VARIABLES["muted"], linewidth=1, linestyle=(0, (1, 2)), label="best")
    if broken_at is not None:
        axes.axvline(
            broken_at, color=_VARIABLES["warm"], linewidth=1.2, linestyle=(0, (3, 2)), label="not finite"
        )
    values = np.concatenate([curve.y for curve in curves])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 100 * values.min() and values.max() > 1:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.yaxis.set_major_formatter(
        lambda value, _: _tick(value)
    )  # not that of the scale, which writes formulas
    if from_zero and axes.get_yscale() != "log":
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_xlabel("step")
    if any(curve.label for curve in curves):
        axes.legend().set_in_layout(False)  # a long name must not squeeze the chart
    return _svg(figure, key)


@_styled()
def reliability_chart(key: str, calibration: Calibration) -> str:
    """Fraction right against mean probability, bin by bin, over how many examples each bin holds."""
    import numpy as np

    figure, (upper, lower) = _figure(4.6, 3.5, rows=2, ratios=(3, 1))
    width = float(calibration.edges[1])
    middles = (calibration.edges[:-1] + calibration.edges[1:]) / 2
    filled = calibration.counts > 0
    upper.bar(
        middles[filled],
        calibration.accuracy[filled],
        width=width * 0.9,
        color=_VARIABLES["accent"],
        alpha=0.35,
    )
    upper.plot(
        calibration.confidence[filled],
        calibration.accuracy[filled],
        color=_VARIABLES["accent"],
        marker="o",
        markersize=3.6,
        linewidth=1.4,
    )
    upper.plot([0, 1], [0, 1], color=_VARIABLES["muted"], linewidth=1, linestyle=(0, (4, 3)))
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share right")
    lower.bar(middles, calibration.counts, width=width * 0.9, color=_VARIABLES["muted"], alpha=0.5)
    lower.set_ylabel("examples")
    lower.set_xlabel("probability of the prediction")
    lower.set_ylim(0, max(1.0, float(calibration.counts.max()) * 1.08))
    lower.locator_params(axis="y", nbins=2, integer=True)
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        axes.set_xticks(np.linspace(0, 1, 6))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: _tick(value))
    upper.tick_params(labelbottom=False)
    figure.align_ylabels()
    return _svg(figure, key)


@_styled()
def coverage_chart(key: str, coverage: Coverage) -> str:
    """Share right among the surest answers, over how many are answered."""
    figure, axes = _figure(4.6, 3.5)
    covered, accuracy = _thin(coverage.covered, coverage.accuracy)
    # Shares end at 1; a line along that edge is drawn whole.
    axes.plot(covered, accuracy, color=_VARIABLES["accent"], linewidth=1.6, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(0.0, float(accuracy.min()) - 0.05), 1)
    axes.set_xlabel("share answered")
    axes.set_ylabel("share right of these")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _tick(value))
    return _svg(figure, key)


@_styled()
def numbers_chart(key: str, points: np.ndarray) -> str:
    """Predicted numbers over true ones, float64 [n, 2], and the line on which they are equal."""
    import numpy as np

    figure, axes = _figure(4.6, 3.5)
    sample = points[np.unique(np.linspace(0, len(points) - 1, _POINTS).round().astype(int))]
    axes.scatter(
        sample[:, 0],
        sample[:, 1],
        s=14,
        color=_VARIABLES["accent"],
        alpha=0.5,
        linewidths=0,
        rasterized=False,
    )
    ends = [float(points.min()), float(points.max())]
    axes.plot(ends, ends, color=_VARIABLES["muted"], linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlabel("label")
    axes.set_ylabel("prediction")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _tick(value))
    return _svg(figure, key)


def _figure(
    width: float, height: float, rows: int = 1, ratios: tuple[float, ...] | None = None
) -> tuple[Figure, Any]:
    """A figure (inches) with its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, gridspec_kw={"height_ratios": ratios} if ratios else None)


def _svg(figure: Figure, key: str) -> str:
    """The bare <svg> element. ``key`` makes its ids differ from those of the page's other charts."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = buffer.getvalue()
    box = re.search(r'viewBox="[-\d. ]+"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", body)
    for name, colour in _VARIABLES.items():
        body = body.replace(colour, f"var(--{name})")
    return f"<svg {box.group(0) if box else ''}>{body.strip()}"


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ``_POINTS`` points, evenly picked, the last one included."""
    import numpy as np

    if len(x) <= _POINTS:
        return x, y
    points = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return x[points], y[points]


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


def _tick(value: float) -> str:
    """A short number: 0.25, 1500, 2e-5."""
    if value and not 1e-3 <= abs(value) < 1e5:
        exponent = math.floor(math.log10(abs(value)) + 1e-9)
        return f"{value / 10**exponent:.3g}e{exponent}"
    return f"{value:.6g}"
