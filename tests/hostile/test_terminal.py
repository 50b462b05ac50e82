"""Issue 15, line 16: labels, names and records are text: no terminal, no markup and no spreadsheet obeys them."""

import ast
import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from helpers import run, text_spec
from ptm.base.console import PlainReporter, RichReporter
from ptm.base.printable import json_text, printable
from ptm.cli import printing
from ptm.cli.app import app
from ptm.cli.failure import tell
from ptm.cli.show import show_reproduction, show_results, show_scorecard, show_verdict
from ptm.errors import ConfigError
from ptm.experiment.prediction_table import csv_writer, guarded
from ptm.experiment.reproduce import Reproduction
from ptm.report.words import code_span, markdown
from ptm.run.results import ModelSize, Results, Throughput, TrainSummary

pytestmark = pytest.mark.slow  # each trains

EVIL = "[/disc] \x1b[2J\x9b1m \x1b]0;title\x07 \u202egnp.exe \r :smile: {what} \udcff [red]x"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SOURCE = Path(printing.__file__).parent.parent


@given(st.text())
def test_15_16_nothing_that_a_terminal_obeys_is_printed(text):
    assert not OBEYED.search(printable(text))
    assert printable(printable(text)) == printable(text)
    assert json.loads(json_text({text: [text]})) == {text: [text]}
    assert not OBEYED.search(json_text({text: [text]}, indent=2))


def test_15_16_letters_of_all_scripts_stay():
    text = "Größe · naïve · 漢字 · العربية · עברית · हिन्दी · 👩‍🔬 · tab\tline\n"
    assert printable(text) == text


def test_15_16_one_function_prints():
    """No command and no reporter has a way of its own: whoever adds one is found here."""
    allowed = {
        "cli/printing.py",
        "config/reference.py",
        "base/console.py",
        "experiment/predict.py",
        "experiment/measure.py",
    }
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name == "programs":  # they are copied beside an export, and run without ptm
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in (
                    "print",
                    "typer.echo",
                    "typer.secho",
                    "Console",
                    "sys.stdout.write",
                    "sys.stderr.write",
                ):
                    found.add(path.relative_to(SOURCE).as_posix())
    assert found <= allowed


REPRODUCTION = Reproduction("different", {EVIL: float("inf")}, 3, (EVIL,), EVIL)


def _results():
    rate = {"seconds": 1.0, "examples_per_second": 1.0}
    size = ModelSize(name=EVIL, parameters=1, trainable_parameters=1, bytes=4)
    return Results(
        task="text-classification",
        status="done",
        metrics={EVIL: 0.5, "loss": 0.1},
        model=size,
        eval=Throughput(split=EVIL, examples=30, **rate),
        train=TrainSummary(split="train", examples=30, steps=1, epochs=1.0, **rate),
        output=f"/tmp/{EVIL}",
    )


def _verdict():
    row = {"seed": 1, "distilled": 0.1, "control": 0.1, "gain": 0.0}
    return {"metric": EVIL, "examples": 3, "higher_is_better": True, "seeds": [row], "sentence": EVIL}


def _card():
    model = {"value": 0.5, "latency_ms": {}}
    return {"metric": EVIL, "models": {EVIL: model, "student": model}}


@pytest.mark.parametrize(
    "show",
    [
        lambda: show_results(_results(), as_json=False),
        lambda: show_results(_results(), as_json=True),
        lambda: show_verdict(_verdict(), Path(EVIL), as_json=False),
        lambda: show_verdict(_verdict(), Path(EVIL), as_json=True),
        lambda: show_scorecard(_card()),
        lambda: show_reproduction(REPRODUCTION, kept=True, as_json=False),
        lambda: show_reproduction(REPRODUCTION, kept=True, as_json=True),
        lambda: tell(ConfigError(EVIL, where=EVIL, expected=EVIL, cure=EVIL), None, as_json=False),
        lambda: tell(ConfigError(EVIL, where=EVIL, expected=EVIL, cure=EVIL), None, as_json=True),
    ],
)  # fmt: skip
def test_15_16_whatever_a_command_prints_is_clean(show, capsys):
    show()
    said = "".join(capsys.readouterr())
    assert not OBEYED.search(said)
    assert "[/disc]" in said
    assert ":smile:" in said


def test_15_16_reporters_print_labels_as_they_are(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    PlainReporter(stream).say(EVIL)
    assert not OBEYED.search(stream.getvalue()) and "[/disc]" in stream.getvalue()
    reporter = RichReporter()
    stream = io.StringIO()
    reporter._console.file = stream
    reporter._console._force_terminal = True
    reporter.say(EVIL)
    reporter.begin(EVIL, 3)
    reporter.advance(1, EVIL)
    reporter.end()
    said = stream.getvalue()
    for evil in ("\x1b[2J", "\x9b", "\x1b]0", "\x07", "\u202e"):
        assert evil not in said
    assert "[/disc]" in said and ":smile:" in said and "{what}" in said


@pytest.fixture(scope="module")
def evil_run(tiny_bert, reviews, tmp_path_factory):
    """A finished run with such labels, and texts."""
    folder = tmp_path_factory.mktemp("evil")
    names = {"negative": "[/disc]\x1b[2J", "positive": "=cmd|'/C calc'!A0 `x` <script>\u202e"}
    for split in ("train", "eval"):
        with (reviews / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            for row in rows:
                writer.writerow({"text": f"\x1b[31m{row['text']}", "label": names[row["label"]]})
    spec = text_spec(tiny_bert, folder, folder / "r", epochs=1, labels=None)
    run(spec)
    return folder / "r"


def test_15_16_a_run_with_such_labels_ends_well_and_its_commands_too(evil_run, tmp_path):
    (tmp_path / "in.txt").write_text("good\nbad\n")
    for words in (
        ["eval", evil_run], ["eval", evil_run, "--json"], ["report", evil_run],
        ["predict", evil_run, tmp_path / "in.txt"], ["reproduce", evil_run], ["check", evil_run / "config.yaml"],
    ):  # fmt: skip
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exception is None, (words, done.exception)
        assert not OBEYED.search(done.output), words
    card = (evil_run / "README.md").read_text()
    assert not OBEYED.search(card)
    assert "<script>" not in re.sub(r"(`+).*?\1", "", card)
    assert "<script>" not in (evil_run / "report.html").read_text()


def test_15_16_markdown_shows_what_stands_there():
    assert "\x1b" not in markdown(EVIL) + code_span(EVIL)
    assert code_span("a`b``c") == "```a`b``c```"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("-5.25", "-5.25"), ("+7", "+7"), ("-1e-3", "-1e-3"), ("plain", "plain"),
        ("a=b", "a=b"), ("", ""), ("'quoted", "'quoted"), ("-", "'-"),
    ],
)  # fmt: skip
def test_15_16_no_cell_is_a_formula(text, cell):
    assert guarded(text) == cell
    file = io.StringIO()
    write = csv_writer(file, ("=a", "b"))
    write({
        "id": 0, "where": text, "input": text, "prediction": text, "scores": {"=a": -0.5, "b": 1.5},
        "columns": {"=c": text},
    })  # fmt: skip
    file.seek(0)
    (row,) = csv.DictReader(file)
    assert row["input"] == row["where"] == row["prediction"] == row["'=c"] == cell
    assert (row["score_=a"], row["score_b"], row["id"]) == ("-0.5", "1.5", "0")
