"""The pages of a server: one to try the model, one that describes the server. Each is one file that loads nothing; what
its policy lets run is what stands in it, by its SHA-256."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from ptm.config.spec import RunSpec
from ptm.config.tasks import CAUSAL_LM, MASKED_LM, TOKEN_CLASSIFICATION, TRANSLATION


@dataclass(frozen=True)
class Page:
    """``policy``: the value of Content-Security-Policy."""

    html: str
    policy: str


def try_page(spec: RunSpec, columns: Sequence[str], name: str) -> Page:
    """A form for one input, and what the model says of it. ``columns``: what its values are called."""
    image = spec.descriptor.modality == "image"
    hints = {
        MASKED_LM.name: "a text with [MASK] where a word is to be found",
        CAUSAL_LM.name: "the beginning of a text",
        TRANSLATION.name: "a text to translate",
        TOKEN_CLASSIFICATION.name: "a sentence",
    }
    settings = {"image": image, "columns": list(columns)}
    return _page(
        "try.html.j2",
        name=name,
        task=spec.task,
        image=image,
        columns=columns,
        hint=hints.get(spec.task, "a text"),
        settings=settings,
    )


def about_page(document: Mapping[str, Any]) -> Page:
    """The description of OpenAPI for people."""
    return _page("about.html.j2", document=document)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ptm.serve", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _source(name: str) -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _page(template: str, **values: Any) -> Page:
    style, script = _source("page.css"), _source("try.js")
    html = _environment().get_template(template).render(style=style, script=script, **values)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html, policy)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
