"""Values to words, for pages and model cards. An empty string stands for what is not known."""

from __future__ import annotations

import math
from typing import Any

from ptm.base.printable import printable
from ptm.report.inputs import number

TEXT_LIMIT = 1000  # characters of an example shown


def plain(value: Any) -> str:
    """Any value as text that can be written as UTF-8."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def clip(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT].rstrip()} … ({len(text):,} characters)"


def metric(value: Any) -> str:
    """0.9175; 12.34; 2.5e-05; "not finite"."""
    value = number(value)
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 10 else f"{value:.4g}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−") if math.isfinite(value) else ""


def count(value: Any) -> str:
    value = number(value)
    return f"{value:,.0f}" if math.isfinite(value) else ""


def brief(value: Any) -> str:
    """109 M for 109,483,778."""
    value = number(value)
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if math.inf > value >= scale:
            return f"{value / scale:.3g} {unit}"
    return count(value)


def decimal(value: Any) -> str:
    value = number(value)
    return f"{value:.4g}" if math.isfinite(value) else ""


def percent(fraction: Any) -> str:
    fraction = number(fraction)
    return f"{100 * fraction:.3g} %" if math.isfinite(fraction) else ""


def speed(value: Any) -> str:
    value = number(value)
    if not math.isfinite(value):
        return ""
    return f"{value:.3g} examples/s" if value < 1000 else f"{value:,.0f} examples/s"


def size(value: Any) -> str:
    """Bytes in decimal units."""
    value = number(value)
    if not math.isfinite(value):
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} bytes"


def milliseconds(value: Any) -> str:
    """1,020 ms, 12.3 ms, 0.512 ms."""
    value = number(value)
    if not math.isfinite(value):
        return ""
    return f"{value:,.0f} ms" if value >= 99.95 else f"{value:.3g} ms"


def duration(value: Any) -> str:
    value = number(value)
    if not math.isfinite(value):
        return ""
    if value < 60:
        return f"{value:.3g} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def markdown(value: Any) -> str:
    """Text that Markdown leaves as it is, on one line, also within a table."""
    text = (
        printable(" ".join(plain(value).split()))
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    return "".join(f"\\{char}" if char in "\\`*_[]|#~$" else char for char in text)


def code_span(value: Any) -> str:
    """A Markdown code span, its fence longer than any run of backticks within; pipes as tables need them."""
    text = printable(" ".join(plain(value).split())).replace("|", "\\|") or " "
    fence = "`"
    while fence in text:
        fence += "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
