"""README.zh-CN.md says what README.md says: what need not be translated is the same in both."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))


def blocks(page):
    """Language and lines of each fenced block, without comments; of a tree of files their names."""
    found = []
    for language, content in re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.S | re.M):
        lines = [re.sub(r"\s+#.*$", "", line).rstrip() for line in content.splitlines()]
        if content.startswith("runs/"):
            lines = [line.split()[0] for line in lines]
        found.append((language, lines))
    return found


def prose(page):
    return re.sub(r"^```.*?^```$", "", page, flags=re.S | re.M)


def headings(page):
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(page), flags=re.M)]


def code(page):
    """What stands in backticks, in the order of its first use a section: languages order words differently."""
    return [sorted(set(re.findall(r"`([^`]+)`", section))) for section in prose(page).split("\n## ")]


def links(page):
    places = re.findall(r"\]\(([^)]+)\)", prose(page))
    return [place for place in places if not place.startswith("README")]


def figures(page):
    """The numbers in each row of each table."""
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [sorted(re.findall(r"\d[\d.,]*\d|\d", row)) for row in rows]


def numbers(page):
    """All numbers of the prose a section, those in code and tables apart."""
    sections = prose(page).split("\n## ")
    plain = [re.sub(r"`[^`]+`|\]\([^)]+\)|^\|.*$", "", section, flags=re.M) for section in sections]
    return [sorted(re.findall(r"\d[\d.,]*\d|\d", section)) for section in plain]


@pytest.mark.parametrize(
    "part", [blocks, headings, code, links, figures, numbers], ids=lambda part: part.__name__
)
def test_12_12_both_pages_have_the_same(part):
    assert part(CHINESE) == part(ENGLISH)


def test_12_12_bold_figures_are_the_same_and_each_page_names_the_other():
    assert re.findall(r"\*\*([\d.]+)\*\*", CHINESE) == re.findall(r"\*\*([\d.]+)\*\*", ENGLISH)
    assert "](README.zh-CN.md)" in ENGLISH and "](README.md)" in CHINESE


def test_12_12_the_chinese_page_is_chinese():
    """No sentence was left in English: a line of prose without code has more ideographs than Latin words."""
    for line in prose(CHINESE).splitlines():
        plain = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", "", line)
        if line.startswith(("|", "#")) or len(plain) < 20:
            continue
        assert len(re.findall(r"[\u4e00-\u9fff]", plain)) > len(re.findall(r"[A-Za-z]{2,}", plain)), line
