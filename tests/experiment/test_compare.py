"""Runs side by side: metrics, what differs, the paired test, and what fails a CI job."""

from __future__ import annotations

import json
import os
import shutil
import statistics
from pathlib import Path

import pytest
from PIL import Image
from scipy.stats import binomtest

from helpers import run
from ptm.cli import app
from ptm.config.load import load_config
from ptm.errors import ConfigError, PtmError, RunDirectoryError
from ptm.experiment import compare
from ptm.experiment.compare import check_limit, compare_sides, worse_than
from ptm.experiment.flips import MOST_FLIPS
from ptm.experiment.outputs import require_report_file
from ptm.experiment.runs import list_runs
from ptm.experiment.side import read_side
from ptm.report.comparison import PAGE_MARK, comparison_page
from ptm.run.directory import RunDirectory

pytestmark = pytest.mark.slow  # its runs are trained

TEXT = """
version: 1
task: image-classification
model: {name: resnet8, weights: none, width: 4}
data: {source: builtin:digits, train: train, eval: test, max_train_examples: 300, image_size: 8, slices: [size]}
train: {epochs: 1, batch_size: 25, learning_rate: 1e-2}
runtime: {device: cpu, threads: 1}
output: unused
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """``short/seed-1``, ``short/seed-2`` of one epoch, ``long/…`` of four."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "c.yaml").write_text(TEXT)
    for name, epochs in (("short", 1), ("long", 4)):
        for seed in (1, 2):
            output = json.dumps(str(folder / name / f"seed-{seed}"))
            run(
                load_config(
                    folder / "c.yaml", [f"train.epochs={epochs}", f"train.seed={seed}", f"output={output}"]
                )
            )
    return folder


def compared(*paths, metric=None):
    return compare_sides([read_side(path) for path in paths], metric)


def unseal(path):
    """As if an earlier ptm had written the run, whose record says nothing of predictions."""
    results = json.loads((path / "results.json").read_text())
    assert len(results.pop("prediction_digests")["eval"]) == 64
    (path / "results.json").write_text(json.dumps(results))


def predictions(path):
    return [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]


def test_two_runs_are_tested_on_the_examples_that_one_of_them_got_right(runs):
    record = compared(runs / "short/seed-1", runs / "long/seed-1")
    (row,) = record["comparisons"]
    base, other = (predictions(runs / name / "seed-1") for name in ("short", "long"))
    right = [
        (a["label"] == a["prediction"], b["label"] == b["prediction"])
        for a, b in zip(base, other, strict=True)
    ]
    only = (sum(b and not a for a, b in right), sum(a and not b for a, b in right))
    assert row["verdict"]["p"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert tuple(row["flips"][f"only_{side}_right"]["count"] for side in ("candidate", "baseline")) == only
    assert row["gain"] == pytest.approx((only[0] - only[1]) / len(right))
    flip = row["flips"]["only_candidate_right"]["examples"][0]
    assert flip["candidate"] == flip["label"] != flip["baseline"]
    assert row["verdict"]["shown"] == "better" and "teacher" not in row["verdict"]["sentence"]


def test_12_06_a_metric_of_a_slice_judges_as_well(runs):
    record = compared(runs / "long", runs / "short", metric="accuracy[size=0-31]")
    means = []
    for name in ("long", "short"):
        results = [json.loads((runs / name / f"seed-{seed}/results.json").read_text()) for seed in (1, 2)]
        (values,) = zip(*([row["metrics"]["accuracy"] for row in r["slices"]] for r in results), strict=True)
        means.append(statistics.mean(values))
    (row,) = record["comparisons"]
    assert record["metric"] == "accuracy[size=0-31]" and record["higher_is_better"]
    assert row["gain"] == pytest.approx(means[1] - means[0]) and row["gain"] < 0
    assert row["verdict"] is None and "not by accuracy[size=0-31]" in row["not_tested"]
    assert [side["metrics"][record["metric"]]["mean"] for side in record["sides"]] == pytest.approx(means)
    (line,) = worse_than(record, "0.5")
    assert f"worse by {100 * (means[0] - means[1]):.4g} points of accuracy[size=0-31]" in line
    # Without it, a slice is no row of the table.
    assert "accuracy[size=0-31]" not in compared(runs / "long", runs / "short")["sides"][0]["metrics"]


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("accuracy[size=0-13]", "to fix: did you mean accuracy[size=0-31]?"),
        ("accuracy[source=mobile]", "to fix: train it, and those that it is compared with, with this slice"),
        ("acuracy", "expected: one of loss, accuracy"),
    ],
)
def test_12_06_a_metric_that_was_not_measured_is_refused(runs, metric, told):
    with pytest.raises(ConfigError) as refused:
        compared(runs / "long", runs / "short", metric=metric)
    assert f"was not measured by {metric}" in str(refused.value) and told in str(refused.value)


def test_what_differs_is_named_and_the_seed_is_not(runs):
    (row,) = compared(runs / "short/seed-1", runs / "long/seed-2")["comparisons"]
    assert row["differences"]["config"] == ["train.epochs: 1 → 4"]
    assert [name for name, lines in row["differences"].items() if lines] == ["config", "weights"]


def test_seeds_are_compared_pair_by_pair(runs):
    record = compared(runs / "short", runs / "long")
    values = [
        json.loads((runs / "long" / f"seed-{s}/results.json").read_text())["metrics"]["accuracy"]
        for s in (1, 2)
    ]
    assert record["sides"][1]["metrics"]["accuracy"]["mean"] == pytest.approx(statistics.mean(values))
    assert record["sides"][1]["seeds"] == [1, 2]
    (row,) = record["comparisons"]
    assert [seed["seed"] for seed in row["verdict"]["seeds"]] == [1, 2]
    assert row["verdict"]["test"] == "examples and seeds, Welch"


def test_12_06_of_a_distillation_with_its_control_the_distilled_runs_are_compared(runs, tmp_path):
    arms = tmp_path / "arms"
    for name, arm in (("long", "distilled"), ("short", "control")):
        for seed in (1, 2):
            shutil.copytree(runs / name / f"seed-{seed}", arms / f"{arm}-{seed}")
    assert compared(runs / "long", arms)["comparisons"][0]["verdict"]["gain"] == 0
    shutil.copytree(runs / "short" / "seed-1", arms / "other-3")
    with pytest.raises(RunDirectoryError, match="one seed"):
        read_side(arms)


def test_12_04_flips_are_those_of_all_seeds(runs, capsys):
    (row,) = compared(runs / "short", runs / "long")["comparisons"]
    balance: dict[int, int] = {}
    ways: dict[int, list[int]] = {}
    for seed in (1, 2):
        base, other = (predictions(runs / name / f"seed-{seed}") for name in ("short", "long"))
        for a, b in zip(base, other, strict=True):
            way = (b["label"] == b["prediction"]) - (a["label"] == a["prediction"])
            balance[a["id"]] = balance.get(a["id"], 0) + way
            ways.setdefault(a["id"], []).append(way)
    for name, sign in (("only_candidate_right", 1), ("only_baseline_right", -1)):
        flips = row["flips"][name]
        assert flips["count"] == sum(total * sign > 0 for total in balance.values()) and flips["of"] == 2
        expected = [i for i in balance if balance[i] * sign > 0]
        assert [flip["id"] for flip in flips["examples"]] == expected[:MOST_FLIPS]
        assert [flip["seeds"] for flip in flips["examples"]] == [
            ways[flip["id"]].count(sign) for flip in flips["examples"]
        ]
        assert all((flip["candidate"] == flip["label"]) == (sign == 1) for flip in flips["examples"])
    record = compared(runs / "short", runs / "long")
    assert "in more of 2 seeds" in comparison_page(record) and "of 2 seeds)" in comparison_page(record)


def test_10_10_an_f1_is_shown_with_its_label_and_held_against_no_other(runs, tmp_path, capsys):
    for name, label in (("a", "yes"), ("b", "no"), ("c", "yes")):
        shutil.copytree(runs / "short/seed-1", tmp_path / name)
        file = tmp_path / name / "results.json"
        results = json.loads(file.read_text())
        results["metrics"]["f1"], results["positive_label"] = 0.5, label
        file.write_text(json.dumps(results))
    assert app.run(["compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 0
    assert "f1[yes]" in capsys.readouterr().out
    record = compared(tmp_path / "a", tmp_path / "b")
    assert "f1[yes] / f1[no]" in comparison_page(record)
    with pytest.raises(ConfigError, match="its f1 is of 'no'"):
        compared(tmp_path / "a", tmp_path / "b", metric="f1")
    assert compared(tmp_path / "a", tmp_path / "c", metric="f1")["metric"] == "f1"


def test_a_seed_that_only_one_has_is_left_out_and_named(runs, tmp_path):
    shutil.copytree(runs / "long/seed-2", tmp_path / "part/seed-2")
    shutil.copytree(runs / "long/seed-1", tmp_path / "other")
    (row,) = compared(runs / "short", tmp_path / "part")["comparisons"]
    assert [seed["seed"] for seed in row["verdict"]["seeds"]] == [2] and "left out: 1" in row["not_tested"]


def test_a_worse_run_fails_by_points_or_by_the_test(runs):
    worse, better = (runs / name / "seed-1" for name in ("short", "long"))
    down, up = compared(better, worse), compared(worse, better)
    loss = -100 * down["comparisons"][0]["gain"]
    assert worse_than(down, f"{loss - 0.01}") and not worse_than(down, f"{loss + 0.01}")
    assert not worse_than(up, "0")
    assert worse_than(down, "significant") and not worse_than(up, "significant")
    assert not worse_than(compared(worse, worse), "significant")
    for limit in ("much", "-1", "inf", "nan"):
        with pytest.raises(ConfigError, match="is no limit"):
            check_limit(limit)


def test_of_a_loss_the_lower_one_is_better(runs):
    record = compared(runs / "long/seed-1", runs / "short/seed-1", metric="loss")
    (row,) = record["comparisons"]
    assert row["gain"] < 0 and row["verdict"] is None and "not by loss" in row["not_tested"]
    assert worse_than(record, f"{-row['gain'] - 0.001}") and not worse_than(record, f"{-row['gain'] + 0.001}")
    with pytest.raises(ConfigError, match="no paired test"):
        worse_than(record, "significant")


def test_other_examples_are_not_paired(runs, tmp_path):
    shutil.copytree(runs / "long/seed-1", tmp_path / "r")
    unseal(tmp_path / "r")
    lines = (tmp_path / "r/predictions.jsonl").read_text().splitlines()
    (tmp_path / "r/predictions.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    (row,) = compared(runs / "short/seed-1", tmp_path / "r")["comparisons"]
    assert row["verdict"] is None and "different examples" in row["not_tested"]
    (tmp_path / "r/predictions.jsonl").write_text("no json\n")
    with pytest.raises(RunDirectoryError, match="cannot be used"):
        compared(runs / "short/seed-1", tmp_path / "r")


def test_15_08_predictions_of_another_run_are_noticed_and_made_again(runs, tmp_path):
    """With those of the baseline, a candidate of half its accuracy was "no different"."""
    for name in ("short", "long"):
        shutil.copytree(runs / name / "seed-1", tmp_path / name)
    own = (tmp_path / "short/predictions.jsonl").read_bytes()
    shutil.copy(tmp_path / "long/predictions.jsonl", tmp_path / "short/predictions.jsonl")
    with pytest.raises(
        RunDirectoryError, match=r"predictions.jsonl was changed since the results were written"
    ):
        compared(tmp_path / "long", tmp_path / "short")
    for content in (b"", own[: len(own) // 2], own + b"\n"):
        (tmp_path / "short/predictions.jsonl").write_bytes(content)
        assert RunDirectory(tmp_path / "short").damage() == "predictions.jsonl was changed"
    (tmp_path / "short/predictions.jsonl").write_bytes(own)
    assert RunDirectory(tmp_path / "short").damage() is None
    unseal(tmp_path / "short")
    (tmp_path / "short/predictions.jsonl").write_bytes(own + b"\n")
    assert RunDirectory(tmp_path / "short").damage() is None


def test_15_08_pictures_that_were_others_are_not_paired(runs, tmp_path):
    shutil.copytree(runs / "long/seed-1", tmp_path / "r")
    manifest = json.loads((tmp_path / "r/manifest.json").read_text())
    manifest["digests"]["data"]["eval"] = "0" * 64
    (tmp_path / "r/manifest.json").write_text(json.dumps(manifest))
    (row,) = compared(runs / "short/seed-1", tmp_path / "r")["comparisons"]
    assert row["verdict"] is None and "different examples" in row["not_tested"]
    with pytest.raises(ConfigError, match="no paired test"):
        worse_than(compared(runs / "short/seed-1", tmp_path / "r"), "significant")


def test_15_08_seeds_that_saw_other_examples_are_not_tested_together(runs, tmp_path, monkeypatch):
    known = compare._rows

    def rows(run, split):
        found = dict(known(run, split))
        return {k: found[k] for k in sorted(found)[:-5]} if run.path.name == "seed-2" else found

    monkeypatch.setattr(compare, "_rows", rows)
    (row,) = compared(runs / "short", runs / "long")["comparisons"]
    assert row["verdict"] is None and row["not_tested"] == "their seeds were evaluated on different examples"


def test_15_10_seeds_that_learned_from_other_data_are_no_side(runs, tmp_path):
    """Their mean was compared, though the table had changed between two seeds."""
    shutil.copytree(runs / "long", tmp_path / "long")
    manifest = tmp_path / "long/seed-2/manifest.json"
    content = json.loads(manifest.read_text())
    content["digests"]["data"]["train"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="seed-2 learned from other data than seed-1"):
        compared(runs / "short", tmp_path / "long")


def test_15_08_a_seed_whose_folder_is_no_run_any_more_is_refused(runs, tmp_path):
    shutil.copytree(runs / "long", tmp_path / "long")
    (tmp_path / "long/seed-2/config.yaml").unlink()
    with pytest.raises(
        RunDirectoryError, match=r"seed-2: holds results.json, manifest.json and no config.yaml"
    ):
        compared(runs / "short", tmp_path / "long")


def test_what_is_no_side_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="one run alone"):
        compared(runs / "long")
    with pytest.raises(RunDirectoryError, match="there is no such directory"):
        compared(runs / "long", tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match="holds no run"):
        compared(runs / "long", tmp_path / "empty")
    for name in ("short", "long"):
        shutil.copytree(runs / name / f"seed-{1 if name == 'long' else 2}", tmp_path / "mixed" / name)
    with pytest.raises(RunDirectoryError, match=r"differs from .* in train.epochs"):
        compared(runs / "long", tmp_path / "mixed")
    with pytest.raises(ConfigError, match="was not measured by bleu"):
        compared(runs / "long", runs / "short", metric="bleu")


def test_the_page_shows_the_examples_that_flipped_and_loads_nothing(runs):
    record = compared(runs / "short/seed-1", runs / "long/seed-1")
    page = comparison_page(record)
    assert (
        "Right here, wrong in the baseline" in page
        and record["comparisons"][0]["verdict"]["sentence"][:12] in page
    )
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_runs_are_listed_with_what_they_came_to(runs, tmp_path):
    rows = {row["run"]: row for row in list_runs(runs)}
    assert set(rows) == {str(runs / name / f"seed-{seed}") for name in ("short", "long") for seed in (1, 2)}
    row = rows[str(runs / "long/seed-1")]
    results = json.loads((runs / "long/seed-1/results.json").read_text())
    assert (row["status"], row["task"], row["metric"]) == ("done", "image-classification", "accuracy")
    assert row["value"] == results["metrics"]["accuracy"]
    (tmp_path / "loop").symlink_to(runs)
    assert list_runs(tmp_path) == []
    with pytest.raises(RunDirectoryError, match="no such folder"):
        list_runs(tmp_path / "absent")


@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("file", ["config.yaml", "predictions.jsonl", "results.json"])
def test_15_01_what_is_no_regular_file_in_a_run_is_not_read(runs, tmp_path, kind, file):
    shutil.copytree(runs / "long/seed-1", tmp_path / "r")
    (tmp_path / "r" / file).unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / "r" / file)
    else:
        (tmp_path / "r" / file).symlink_to(runs / "long/seed-1" / file)
    with pytest.raises(PtmError):  # and does not wait for the other end of a pipe
        compared(runs / "short/seed-1", tmp_path / "r")


@pytest.mark.processes
def test_the_command_prints_json_and_exits_with_4(runs, run_cli, tmp_path):
    good, bad = str(runs / "long"), str(runs / "short")
    done = run_cli(
        "compare", good, bad, "--fail-if-worse", "significant", "--html", tmp_path / "c.html", "--json"
    )
    assert done.returncode == 4 and json.loads(done.stdout)["worse"]
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    done = run_cli("compare", bad, good, "--fail-if-worse", "0.5")
    assert done.returncode == 0 and "train.epochs: 1 → 4" in done.stdout
    done = run_cli("compare", good, tmp_path / "absent", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["problems"]
    done = run_cli("runs", runs, "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["runs"]) == 4


def test_15_01_a_picture_that_a_record_names_starts_no_program(tmp_path, monkeypatch):
    """Of a received run: Pillow hands an EPS, whatever it is called, to Ghostscript."""
    ran, programs = tmp_path / "ran", tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\necho >> '{ran}'\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # what an earlier look for it came to
    picture = tmp_path / "photo.png"
    picture.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    flip = {"id": 0, "where": str(picture), "label": "a", "candidate": "a", "baseline": "b"}
    page = comparison_page(_record(flip), pictures=True)
    assert str(picture) in page and "<img" not in page
    assert not ran.exists()


def _record(flip):
    side = {"name": "a", "metrics": {}}
    flips = {
        "only_candidate_right": {"count": 1, "of": 1, "examples": [flip]},
        "only_baseline_right": {"count": 0, "of": 1, "examples": []},
    }
    row = {"candidate": "b", "differences": {}, "verdict": None, "not_tested": "", "flips": flips}
    return {"task": "t", "split": "eval", "metric": "accuracy", "sides": [side, side], "comparisons": [row]}


def test_15_01_pictures_that_a_record_names_are_shown_on_request_alone(tmp_path):
    """A record that was received may name any picture of its reader's, who would send it on with the page."""
    picture = tmp_path / "private.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    flip = {"id": 0, "where": str(picture), "label": "a", "candidate": "a", "baseline": "b"}
    assert "<img" not in comparison_page(_record(flip))
    assert "<img" in comparison_page(_record(flip), pictures=True)


def test_15_17_a_broken_picture_is_left_out_of_the_page(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("Failed to decode image")  # as Pillow's reader of AVIF

    (tmp_path / "a.avif").write_bytes(b"x")
    monkeypatch.setattr("PIL.Image.open", broken)
    flip = {"id": 0, "where": str(tmp_path / "a.avif"), "label": "a", "candidate": "a", "baseline": "b"}
    assert "<img" not in comparison_page(_record(flip), pictures=True)


def test_15_17_predictions_without_end_are_one_message(runs, tmp_path):
    shutil.copytree(runs / "short/seed-1", tmp_path / "deep")
    (tmp_path / "deep" / "predictions.jsonl").write_text("[" * 50_000)
    with pytest.raises(RunDirectoryError, match="predictions cannot be used"):
        compared(runs / "short/seed-1", tmp_path / "deep")


@pytest.mark.processes
def test_15_06_the_page_replaces_no_report_of_a_run(runs, run_cli):
    report: Path = runs / "short/seed-1/report.html"
    before = report.read_bytes()
    done = run_cli("compare", runs / "short/seed-1", runs / "long/seed-1", "--html", report)
    assert done.returncode == 2 and "among the files of a run" in done.stderr
    assert report.read_bytes() == before


def test_15_06_the_page_replaces_an_earlier_page_and_nobody_elses(runs, tmp_path):
    page = tmp_path / "page.html"
    for content in ("", comparison_page(compared(runs / "short/seed-1", runs / "long/seed-1"))):
        page.write_text(content)
        require_report_file(page, "--html", PAGE_MARK)
    for text in ("<!doctype html><title>somebody's</title>", f"My notes on {PAGE_MARK.decode()} pages"):
        page.write_text(text)
        with pytest.raises(ConfigError, match="what ptm did not write"):
            require_report_file(page, "--html", PAGE_MARK)


@pytest.mark.parametrize(
    "row", [{}, {"id": 0, "label": "a"}, {"id": 0, "label": "a", "prediction": None}, []]
)
def test_15_17_predictions_that_lack_something_are_one_message(runs, tmp_path, row):
    sides = []
    for name in ("a", "b"):
        sides.append(shutil.copytree(runs / "short/seed-1", tmp_path / name))
        unseal(sides[-1])
        (sides[-1] / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunDirectoryError, match="predictions"):
        compared(*sides)
