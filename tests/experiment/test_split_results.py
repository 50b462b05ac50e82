"""12.1 and 12.6 from end to end: chosen on eval and judged on test, in a run and in every command about runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers import Saying, StopAt, evaluation, run, text_spec, weights
from ptm.api import evaluate as api_evaluate
from ptm.cli.app import app
from ptm.config.load import dump_config
from ptm.config.spec import BestSpec, DistillSpec, TeacherSpec
from ptm.errors import ConfigError, ExpectationMissed, Interrupted
from ptm.experiment.batch import finished_before
from ptm.experiment.batch_plan import plan_batch
from ptm.experiment.check import check_inputs
from ptm.experiment.compare import compare_sides
from ptm.experiment.control import run_with_control
from ptm.experiment.reproduce import reproduce
from ptm.experiment.runs import list_runs
from ptm.experiment.scorecard import measure_scorecard
from ptm.experiment.side import read_side
from ptm.run.predictions import read_predictions
from ptm.run.results import read_results
from tiny.samples import sentences, write_csv

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """150 sentences, with where they came from and by whom."""
    folder = tmp_path_factory.mktemp("visits")
    write_csv(folder / "all.csv", sentences(150, 3))
    lines = (folder / "all.csv").read_text().splitlines()
    more = [f"{line},{('web', 'mobile', 'mobile')[i % 3]},u{i // 3}" for i, line in enumerate(lines[1:])]
    (folder / "all.csv").write_text("\n".join([f"{lines[0]},source,user", *more]) + "\n")
    return folder


def spec_of(model, table, output, **changes):
    spec = text_spec(model, table, output, train="all.csv", eval="20%", test="30%", epochs=1)
    data = replace(spec.data, slices=("source", "length"), split_by="user")
    return replace(spec, data=data, **changes)


@pytest.fixture(scope="module")
def made(tiny_bert, table, tmp_path_factory):
    """A finished run, its results, and what was said."""
    output = tmp_path_factory.mktemp("made") / "run"
    said = Saying()
    expect = {"accuracy": ">= 0", "accuracy[source=mobile]": ">= 0", "auroc[length=0-31]": "<= 1"}
    results = run(spec_of(tiny_bert, table, output, expect=expect), reporter=said)
    return output, results, said.lines


def accuracy(rows):
    return sum(row["label"] == row["prediction"] for row in rows) / len(rows)


def test_12_01_a_run_is_measured_once_on_its_test_and_judged_by_it(made):
    output, results, said = made
    rows = {
        name: list(read_predictions(output / f"{name}.jsonl").values())
        for name in ("predictions", "test_predictions")
    }
    assert results["metrics"]["accuracy"] == pytest.approx(accuracy(rows["predictions"]))
    assert results["test"]["metrics"]["accuracy"] == pytest.approx(accuracy(rows["test_predictions"]))
    assert (results["eval"]["split"], results["test"]["split"]) == ("20%", "30%")
    sizes = [results["eval"]["examples"], results["test"]["examples"]]
    assert sizes == [len(rows["predictions"]), len(rows["test_predictions"])]
    places = [{row["where"] for row in part} for part in rows.values()]
    assert not places[0] & places[1]
    assert any(
        line.startswith(f"data: {150 - sum(sizes)} train, {sizes[0]} eval, {sizes[1]} test") for line in said
    )
    held = {row["metric"]: row for row in results["expect"]}
    assert {row["split"] for row in held.values()} == {"test"}
    assert held["accuracy"]["value"] == results["test"]["metrics"]["accuracy"]
    assert results["best"]["value"] == results["metrics"]["accuracy"]
    log = (output / "metrics.jsonl").read_text()
    assert json.loads(log.splitlines()[-1])["metrics"] == results["metrics"], "the log is of eval alone"
    manifest = json.loads((output / "manifest.json").read_text())
    assert set(manifest["digests"]["data"]) == {"train", "eval", "test"}
    assert manifest["data"]["test"]["examples"] == sizes[1]


def test_12_06_slices_are_told_of_both_splits_and_bounds_hold_them(made):
    output, results, _ = made
    rows = list(read_predictions(output / "test_predictions.jsonl").values())
    lines = (Path(str(rows[0]["where"]).partition(":")[0])).read_text().splitlines()

    def source(row):
        return lines[int(row["where"].rpartition(":")[2]) - 1].split(",")[-2]

    told = {(s["slice"], s["value"]): s for s in results["test"]["slices"]}
    for value in ("web", "mobile"):
        own = [row for row in rows if source(row) == value]
        assert told["source", value]["examples"] == len(own)
        assert told["source", value]["metrics"]["accuracy"] == pytest.approx(accuracy(own))
    lengths = [s for s in results["test"]["slices"] if s["slice"] == "length"]
    assert sum(s["examples"] for s in lengths) == len(rows)
    assert [s["value"] for s in lengths] == sorted(
        (s["value"] for s in lengths), key=lambda v: int(v.split("-")[0])
    )
    assert {s["slice"] for s in results["slices"]} == {"source", "length"}
    assert "loss" not in told["source", "web"]["metrics"]
    held = {row["metric"]: row for row in results["expect"]}
    assert held["accuracy[source=mobile]"]["value"] == told["source", "mobile"]["metrics"]["accuracy"]


def test_12_01_the_rows_are_the_same_for_any_seed_and_what_is_chosen_does_not_see_them(
    made, tiny_bert, table, tmp_path
):
    output = made[0]
    spec = spec_of(tiny_bert, table, tmp_path / "seed")
    run(replace(spec, train=replace(spec.train, seed=7)))
    for name in ("predictions", "test_predictions"):
        first, second = (read_predictions(path / f"{name}.jsonl") for path in (output, tmp_path / "seed"))
        assert [row["where"] for row in first.values()] == [row["where"] for row in second.values()]


def test_12_01_a_run_that_is_stopped_while_it_is_tested_goes_on_to_the_same_bits(
    made, tiny_bert, table, tmp_path, monkeypatch
):
    from ptm import engine
    from ptm.experiment import session

    output, results, _ = made
    calls = []

    def stopped(pipeline, *words, **how):
        calls.append(pipeline.size("eval"))
        if pipeline.size("eval") == results["test"]["examples"]:
            raise engine.StopRequested
        return evaluated(pipeline, *words, **how)

    evaluated = engine.evaluate
    spec = spec_of(tiny_bert, table, tmp_path / "run", expect={"accuracy": ">= 0"})
    with monkeypatch.context() as patch:
        patch.setattr(session.engine, "evaluate", stopped)
        with pytest.raises(Interrupted):
            run(spec)
    assert calls[-1] == results["test"]["examples"] and not (tmp_path / "run" / "model").exists()
    assert read_results(tmp_path / "run" / "results.json").status == "interrupted"
    again = run(spec, "resume")
    assert again["test"]["metrics"] == results["test"]["metrics"]
    assert weights(tmp_path / "run") == weights(output)
    own, other = (path / "test_predictions.jsonl" for path in (tmp_path / "run", output))
    assert own.read_bytes() == other.read_bytes()
    # A finished run tells it again, and is whole only with the predictions of its test.
    assert run(spec, "resume")["test"] == again["test"]
    own.unlink()
    said = Saying()
    run(spec, "resume", said)
    assert any("test_predictions.jsonl is missing" in line for line in said.lines)
    assert own.read_bytes() == other.read_bytes()


def test_12_01_a_signal_in_training_and_resume_end_in_the_same_test(made, tiny_bert, table, tmp_path):
    results = made[1]
    spec = spec_of(tiny_bert, table, tmp_path / "run", expect={"accuracy": ">= 0"})
    with pytest.raises(Interrupted):
        run(spec, reporter=StopAt(3))
    assert run(spec, "resume")["test"]["metrics"] == results["test"]["metrics"]


def test_12_01_ptm_eval_measures_both_or_one(made, tmp_path):
    output, results, _ = made
    both = evaluation(output)
    assert both["metrics"] == pytest.approx(results["metrics"], abs=1e-6)
    assert both["test"]["metrics"] == pytest.approx(results["test"]["metrics"], abs=1e-6)
    assert [row["split"] for row in both["expect"]] == ["test"] * 3
    test = evaluation(output, split="test", predictions=tmp_path / "test.jsonl")
    assert test["metrics"] == both["test"]["metrics"] and test["test"] is None
    assert test["eval"]["split"] == "30%" and test["slices"] == both["test"]["slices"]
    assert [row["split"] for row in test["expect"]] == ["test"] * 3
    assert (tmp_path / "test.jsonl").read_bytes() == (output / "test_predictions.jsonl").read_bytes()
    alone = evaluation(output, split="eval", expect=[("accuracy[source=web]", ">= 0")])
    assert alone["metrics"] == both["metrics"] and alone["test"] is None
    assert [(row["metric"], row["split"]) for row in alone["expect"]] == [("accuracy[source=web]", "eval")]
    assert api_evaluate(output, split="test").metrics == test["metrics"]
    with pytest.raises(ConfigError, match="eval and test are both measured"):
        evaluation(output, predictions=tmp_path / "both.jsonl")
    with pytest.raises(ConfigError, match=r"there is no metric 'accuracy\[source=wob\]'"):
        evaluation(output, expect=[("accuracy[source=wob]", ">= 0")])


def test_12_01_the_command_line_says_which_is_which(made):
    output, results, _ = made
    done = CliRunner().invoke(app, ["eval", str(output)])
    assert done.exit_code == 0, done.output
    counted = f"{results['eval']['examples']} examples, {results['test']['examples']} of the test"
    assert counted in done.stdout and "source=mobile" in done.stdout and "test" in done.stdout
    missed = ["eval", str(output), "--split", "test", "--expect", "accuracy[source=web]>=1.01", "--json"]
    done = CliRunner().invoke(app, missed)
    assert isinstance(done.exception, ExpectationMissed)
    (miss,) = [row for row in json.loads(done.stdout)["expect"] if not row["met"]]
    assert (miss["metric"], miss["split"]) == ("accuracy[source=web]", "test")


def test_12_01_report_and_card_are_of_the_test_and_show_the_other(made):
    output, results, _ = made
    card, page = ((output / name).read_text() for name in ("README.md", "report.html"))
    value, other = (f"{m['accuracy']:.4f}" for m in (results["test"]["metrics"], results["metrics"]))
    (line,) = [line for line in card.splitlines() if line.startswith("| accuracy |")]
    assert line.split("|")[2].strip().startswith(value) and f"| {other} |" in line
    assert "| mobile |" in card and "chosen on these same examples" not in card
    assert "tested on 30%" in page and f"on the evaluation split {other}" in page
    assert "not on that of these numbers" in page and 'id="slices"' in page
    before = page
    assert CliRunner().invoke(app, ["report", str(output)]).exit_code == 0
    assert (output / "report.html").read_text() == before


def test_12_01_compare_runs_batch_and_reproduce_judge_the_test(made, tiny_bert, table, tmp_path):
    output, results, _ = made
    spec = spec_of(tiny_bert, table, tmp_path / "other")
    run(replace(spec, train=replace(spec.train, seed=5)))
    record = compare_sides([read_side(output), read_side(tmp_path / "other")])
    assert record["split"] == "test"
    assert record["sides"][0]["metrics"]["accuracy"]["mean"] == results["test"]["metrics"]["accuracy"]
    assert record["comparisons"][0]["verdict"]["examples"] == results["test"]["examples"]
    without = replace(spec, data=replace(spec.data, test=None), output=str(tmp_path / "no_test"))
    run(without)
    mixed = compare_sides([read_side(output), read_side(tmp_path / "no_test")])
    assert mixed["split"] == "eval"
    assert mixed["comparisons"][0]["verdict"]["examples"] == results["eval"]["examples"]
    listed = {Path(row["run"]).name: row for row in list_runs(tmp_path)}
    assert (listed["other"]["split"], listed["no_test"]["split"]) == ("test", "eval")
    (tmp_path / "b.yaml").write_text((output / "config.yaml").read_text())
    (job,) = plan_batch([tmp_path / "b.yaml"]).jobs
    assert finished_before(job).metrics == results["test"]["metrics"]
    again = reproduce(output, tmp_path / "again", 0.0, Saying())
    assert again.verdict == "bit-identical" and again.distances["test: accuracy"] == 0


def test_12_01_a_distillation_with_its_control_is_judged_on_the_test(made, tiny_bert, table, tmp_path):
    output, results, _ = made
    spec = spec_of(tiny_bert, table, tmp_path / "pair", teacher=TeacherSpec(name=str(output)))
    spec = replace(spec, distill=DistillSpec(audit="off"))
    verdict = run_with_control(spec, [1], mode="new", reporter=Saying())
    tests = [verdict["runs"][f"{arm}-1"]["test"] for arm in ("distilled", "control")]
    assert verdict["split"] == "test" and verdict["examples"] == results["test"]["examples"]
    seed = verdict["seeds"][0]
    assert [seed["distilled"], seed["control"]] == [t["metrics"]["accuracy"] for t in tests]
    card = measure_scorecard(tmp_path / "pair" / "distilled-1", Saying())
    assert card["split"] == "test"
    assert card["models"]["teacher"]["value"] == pytest.approx(results["test"]["metrics"]["accuracy"])
    teacher = read_results(tmp_path / "pair" / "distilled-1" / "results.json").teacher
    assert teacher.metrics["accuracy"] == pytest.approx(results["metrics"]["accuracy"])


def test_12_01_check_shows_the_splits_and_refuses_what_a_run_refuses(tiny_bert, table, tmp_path):
    spec = spec_of(tiny_bert, table, tmp_path / "run")
    found = check_inputs(spec)
    assert found.problems == () and set(found.figures) == {"train", "eval", "test"}
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(spec))
    done = CliRunner().invoke(app, ["check", "--data", str(config)])
    assert done.exit_code == 0 and all(f"{split}: " in done.stdout for split in found.figures), done.stdout
    for wrong, told in (
        (replace(spec, expect={"accuracy[source=wob]": ">= 0"}), "no metric 'accuracy[source=wob]'"),
        (replace(spec, data=replace(spec.data, split_by="nobody")), "no column 'nobody'"),
        (replace(spec, data=replace(spec.data, test="none.csv")), "no split 'none.csv'"),
    ):
        found = [problem.what for problem in check_inputs(wrong).problems]
        assert len(found) == 1 and told in found[0]
        with pytest.raises(Exception, match=r"no (metric|column|split)"):
            run(wrong)
        assert not (tmp_path / "run").exists(), "nothing was trained"


def test_12_01_weights_are_chosen_on_eval_alone(tiny_bert, table, tmp_path):
    """The best step is the one whose logged evaluation is the best, whatever the test says."""
    spec = spec_of(tiny_bert, table, tmp_path / "run", best=BestSpec(metric="loss"))
    spec = replace(spec, train=replace(spec.train, epochs=3, early_stopping=1, learning_rate=0.01))
    results = run(spec)
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = {line["step"]: line["metrics"]["loss"] for line in lines if line["kind"] == "eval"}
    assert results["best"]["step"] == min(losses, key=losses.get)
    assert results["metrics"]["loss"] == pytest.approx(min(losses.values()), abs=1e-6)
