"""The pages: whole without a network, and what they show is only ever text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from ptm.serve import openapi
from ptm.serve.page import about_page, try_page
from served import Stand

NASTY = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Parts(HTMLParser):
    """Elements with their attributes, and what stands in scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.inside, self._open = [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._open = (tag, dict(attributes).get("type"))
            self.inside.append([*self._open, ""])

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open:
            self.inside[-1][2] += data


def pages(name="reviews", **stand):
    spec, columns = Stand(**stand).spec, Stand(**stand).columns
    return [
        try_page(spec, columns, name),
        about_page(openapi.document(spec, columns, name, "texts of at most 16 tokens")),
    ]


@pytest.mark.parametrize("name", ["reviews", NASTY])
@pytest.mark.parametrize(
    "stand",
    [
        {"columns": ("text",)},
        {"columns": (NASTY, "second")},
        {"task": "image-classification", "columns": ("image",)},
    ],
)
def test_14_05_a_page_loads_nothing_and_runs_its_own_script_alone(name, stand):
    for page in pages(name, **stand):
        parts = Parts(page.html)
        tags = [tag for tag, _ in parts.elements]
        assert tags.count("script") <= 2 and "link" not in tags and "iframe" not in tags
        for tag, attributes in parts.elements:
            assert not any(key.startswith("on") or key == "style" for key in attributes), (tag, attributes)
            assert attributes.get("href", "/").startswith("/") and "action" not in attributes
            assert "src" not in attributes
        policy = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
        assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert policy["connect-src"] == "'self'" and "unsafe" not in page.policy
        for tag, kind, content in parts.inside:
            if kind != "application/json":
                digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
                assert f"'sha256-{digest}'" in policy[f"{tag}-src"], "the browser would not run it"
            else:
                assert json.loads(content)["columns"] == list(stand["columns"])


def test_14_05_a_page_fits_a_phone_and_says_what_its_fields_are():
    for page in pages(columns=("first", "second")):
        assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Parts(
            page.html
        ).elements
    elements = Parts(pages(columns=("first", "second"))[0].html).elements
    fields = [attributes["id"] for tag, attributes in elements if tag in ("textarea", "input")]
    labels = [attributes["for"] for tag, attributes in elements if tag == "label"]
    assert fields == labels == ["column-0", "column-1"]
    elements = Parts(pages(task="image-classification", columns=("image",))[0].html).elements
    assert [a["accept"] for tag, a in elements if tag == "input"] == ["image/*"]


def test_14_05_the_script_makes_no_markup_of_what_it_is_told():
    (script,) = [part[2] for part in Parts(pages()[0].html).inside if part[:2] == ["script", None]]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|new Function|https?:", script
    )
    used = set(re.findall(r'getElementById\("([\w-]+)"', script))
    there = {
        a["id"]
        for page in (pages()[0], pages(task="image-classification", columns=("image",))[0])
        for _, a in Parts(page.html).elements
        if "id" in a
    }
    assert used - {"column-"} <= there


def test_14_05_each_schema_that_is_named_is_there():
    document = openapi.document(Stand().spec, ("text",), "reviews", "texts")
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]
    assert set(document["paths"]) == {"/predict", "/healthz", "/metrics"}
