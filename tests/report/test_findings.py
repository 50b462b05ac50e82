"""What ``ptm check --data`` prints, in its four forms."""

import csv
import json
import re
from urllib.parse import urlparse

import pytest
from typer.testing import CliRunner

from helpers import text_spec
from ptm.cli.app import app
from ptm.config.load import dump_config


def invoke(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def planted(tmp_path_factory, tiny_bert):
    """A config whose eval.csv:3 stands in train.csv:2, with a label that train.csv:4 contradicts."""
    folder = tmp_path_factory.mktemp("planted")
    rows = {
        "train": [("good film", "positive"), ('bad, "so" bad', "negative"), ("Good  film", "negative")],
        "eval": [("something else", "negative"), ("GOOD FILM", "positive")],
    }
    for name, cells in rows.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *cells])
    config = folder / "run.yaml"
    config.write_text(dump_config(text_spec(tiny_bert, folder, folder / "r")))
    return config


def test_12_05_text_says_both_sides_and_counts(planted):
    done = invoke("check", planted, "--data")
    assert done.exit_code == 0
    folder = planted.parent
    assert (
        f"warning: {folder}/train.csv:2: the same text has 'positive' (2 rows) and 'negative' (1 row)"
        in done.stderr
    )
    assert f"warning: {folder}/eval.csv:3: this text of eval also stands in train" in done.stderr
    assert f"see {folder}/train.csv:2, {folder}/train.csv:4" in done.stderr
    assert "train: 3 examples; examples by label: negative 2 (66.7%), positive 1 (33.3%)" in done.stdout
    assert re.search(r"1 config: no problem found, \d warnings", done.stdout)
    assert invoke("check", planted, "--data", "--strict").exit_code == 3


def test_12_05_json_has_errors_and_warnings_apart(planted):
    done = invoke("check", planted, "--data", "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["errors"] == [] and "error" not in content
    overlap = next(row for row in content["warnings"] if row["rule"] == "overlap")
    assert (overlap["file"], overlap["line"]) == (str(planted.parent / "eval.csv"), 3)
    assert [row["line"] for row in overlap["related"]] == [2, 4]
    assert content["inspections"][0]["splits"]["train"]["labels"] == {"negative": 2, "positive": 1}
    wrong = planted.with_name("wrong.yaml")
    wrong.write_text(planted.read_text().replace("train.csv", "none.csv"))
    done = invoke("check", wrong, "--data", "--format", "json")
    content = json.loads(done.stdout)
    assert done.exit_code == 3 and content["error"]["exit_code"] == 3
    assert [row["what"] for row in content["errors"]] == [row["what"] for row in content["error"]["problems"]]
    done = invoke("check", planted, "--set", "train.epochs=no", "--json")
    assert done.exit_code == 2 and json.loads(done.stdout)["error"]["exit_code"] == 2


def test_12_05_github_has_a_command_a_finding(planted, monkeypatch):
    monkeypatch.chdir(planted.parent)
    lines = invoke("check", planted, "--data", "--format", "github").stdout.splitlines()
    assert all(re.match(r"^::(error|warning|notice) ", line) for line in lines)
    assert any(
        line.startswith("::warning file=eval.csv,line=3,title=ptm overlap::this text of eval")
        for line in lines
    )
    done = invoke("check", planted, "--set", "train.epochs=no", "--format", "github")
    assert done.exit_code == 2 and done.stdout.startswith("::error ")


def test_12_05_sarif_has_the_shape_of_its_schema(planted, monkeypatch):
    """The keys that SARIF 2.1.0 requires, and what it restricts of those that are used."""
    monkeypatch.chdir(planted.parent)
    log = json.loads(invoke("check", planted, "--data", "--format", "sarif").stdout)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] and len({rule["id"] for rule in rules}) == len(rules)
    assert {"overlap", "contradiction"} <= {result["ruleId"] for result in run["results"]}
    for result in run["results"]:
        assert result["message"]["text"] and result["level"] in ("error", "warning", "note")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        for location in (*result["locations"], *result.get("relatedLocations", ())):
            assert set(location) <= {"physicalLocation", "message", "id"}
            physical = location["physicalLocation"]
            assert not urlparse(physical["artifactLocation"]["uri"]).path.startswith("/")
            assert physical["region"]["startLine"] >= 1
    overlap = next(result for result in run["results"] if result["ruleId"] == "overlap")
    assert overlap["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "eval.csv"
    assert [place["physicalLocation"]["region"]["startLine"] for place in overlap["relatedLocations"]] == [
        2,
        4,
    ]
