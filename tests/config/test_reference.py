"""The reference page is what the spec says today."""

from pathlib import Path

from ptm.config import schema
from ptm.config.reference import reference_markdown

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference_markdown(), "run: python -m ptm.config.reference > docs/configuration.md"


def test_every_key_has_a_row_and_a_meaning():
    page = reference_markdown()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0].removeprefix("| `").rstrip("`") for row in rows] == [
        path[-1] for path in schema.all_keys()
    ]
    assert all(len(row) == 4 and row[3].rstrip(" |") for row in rows)


def test_every_exit_code_has_a_row():
    table = reference_markdown().partition("## Exit codes")[2]
    codes = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    assert codes == ["code", "0", "1", "2", "3", "4", "5", "6", "7", "75", "130", "137", "141"]
