"""Two arms of one comparison: whatever stops them, they are of the same length."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

from helpers import StopAt, history, image_spec, run, weights
from ptm.base.console import Silent
from ptm.cli.app import app
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import Interrupted, RunDirectoryError
from ptm.experiment.control import arm_spec, read_verdict, run_with_control

pytestmark = pytest.mark.slow


@pytest.fixture
def spec(tmp_path):
    """``spec(output, epochs)``: a student of 6 steps an epoch and its teacher."""
    return specs_in(tmp_path)


def specs_in(folder):
    run(image_spec(folder / "teacher", epochs=1))

    def make(output: str, epochs: int):
        distilled = image_spec(
            folder / output,
            epochs=epochs,
            teacher=TeacherSpec(name=str(folder / "teacher")),
            distill=DistillSpec(audit="off", store="off", control=True),
        )
        return replace(distilled, best=None)

    return make


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, its specs): what ``r`` is after one epoch and after two lies there as ``whole-1`` and ``whole-2``."""
    folder = tmp_path_factory.mktemp("compared")
    spec = specs_in(folder)
    for epochs in (1, 2):
        compare(spec("r", epochs), "new")
        (folder / "r").rename(folder / f"whole-{epochs}")
    return folder, spec


def compare(spec, mode, reporter=None):
    return run_with_control(spec, [1], mode=mode, reporter=reporter or Silent())


class KilledIn(Silent):
    """Ends the program, as a kill would, when an arm is announced."""

    def __init__(self, arm: str) -> None:
        self._arm = arm

    def say(self, line: str) -> None:
        if line.startswith(f"--- {self._arm}"):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "stop", [lambda: StopAt(3), lambda: KilledIn("control"), lambda: KilledIn("distilled")]
)
@pytest.mark.parametrize("epochs", [(1, 2), (2, 1)])
def test_15_10_a_control_that_is_overwritten_is_not_the_old_one(epochs, stop, compared):
    before, after = epochs
    folder, spec = compared
    shutil.rmtree(folder / "r", ignore_errors=True)
    shutil.copytree(folder / f"whole-{before}", folder / "r")
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        compare(spec("r", after), "overwrite", stop())
    compare(spec("r", after), "resume")
    for arm in ("distilled-1", "control-1"):
        manifest = json.loads((folder / "r" / arm / "manifest.json").read_text())
        assert manifest["extended"] == []
        assert history(folder / "r" / arm) == history(folder / f"whole-{after}" / arm)
        assert weights(folder / "r" / arm) == weights(folder / f"whole-{after}" / arm)
    assert {path.name for path in (folder / "r").iterdir()} == {"distilled-1", "control-1", "verdict.json"}


def test_15_10_an_overwriting_that_is_refused_changes_nothing(spec, tmp_path):
    compare(spec("r", 1), "new")
    bad = spec("r", 2)
    with pytest.raises(Exception, match="no_such_folder"):
        compare(replace(bad, teacher=TeacherSpec(name=str(tmp_path / "no_such_folder"))), "overwrite")
    verdict = compare(spec("r", 1), "resume")
    assert verdict["runs"]["control-1"]["train"]["epochs"] == 1


def test_15_10_both_arms_take_more_epochs_together(spec, tmp_path):
    compare(spec("r", 1), "new")
    with pytest.raises(Interrupted):
        compare(spec("r", 2), "resume", StopAt(9))
    compare(spec("r", 2), "resume")
    for arm in ("distilled-1", "control-1"):
        manifest = json.loads((tmp_path / "r" / arm / "manifest.json").read_text())
        assert manifest["extended"] == [[1, 2]]


@pytest.mark.parametrize("part", ["control-1", "control-1/model", "distilled-2"])
def test_15_04_overwriting_both_arms_deletes_no_teacher(part, spec, tmp_path):
    """The control has no teacher, so that its arm was not held against it: it was deleted once it had taught."""
    compare(spec("r", 1), "new")
    shutil.copytree(tmp_path / "teacher", tmp_path / "r" / "distilled-2")
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    new = replace(spec("r", 1), teacher=TeacherSpec(name=str(tmp_path / "r" / part)))
    with pytest.raises(RunDirectoryError, match=r"would delete an input of the run: teacher\.name"):
        run_with_control(new, [1, 2], mode="overwrite", reporter=Silent())
    assert {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()} == before


def test_15_04_overwriting_both_arms_does_not_delete_the_config(spec, tmp_path):
    compare(spec("r", 1), "new")
    config = tmp_path / "r" / "distilled-1" / "config.yaml"
    words = ["distill", str(config), "--control", "--overwrite", "--output", str(tmp_path / "r"), "--json"]
    done = CliRunner().invoke(app, words)
    assert "the config is" in str(done.exception)


@pytest.mark.parametrize("what", ["data", "weights", "models"])
def test_15_10_arms_that_learned_from_other_data_are_not_compared(what, spec, tmp_path):
    """Stopped between the arms, and the table or the model was changed: the finished one is not trained again."""
    compare(spec("r", 1), "new")
    manifest = tmp_path / "r" / "control-1" / "manifest.json"
    content = json.loads(manifest.read_text())
    part = content["digests"][what]
    part["train" if what == "data" else "model"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=f"not trained alike: digests.{what}"):
        compare(spec("r", 1), "resume")


@pytest.mark.parametrize("name", ["data.eval", "data.train", "weights.teacher"])
def test_15_10_seeds_of_other_inputs_are_not_pooled(name, spec, tmp_path):
    """What changed between two seeds was averaged over, and other numbers of examples were a traceback."""
    compare(spec("r", 1), "new")
    part, _, key = name.partition(".")
    for arm in ("distilled", "control"):
        copy = shutil.copytree(tmp_path / "r" / f"{arm}-1", tmp_path / "r" / f"{arm}-2")
        content = json.loads((copy / "manifest.json").read_text())
        if key in content["digests"][part]:
            content["digests"][part][key] = "0" * 64
        (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=f"not of one experiment: digests.{name}"):
        read_verdict(spec("r", 1), [1, 2])


def test_15_10_arms_of_different_length_are_not_compared(spec, tmp_path):
    compare(spec("r", 1), "new")
    run(arm_spec(spec("r", 2), "distilled", 1), "resume")
    with pytest.raises(RunDirectoryError, match="were not trained alike") as caught:
        read_verdict(spec("r", 2), [1])
    assert "epochs" in str(caught.value)


def test_15_10_an_arm_that_was_trained_before_its_config_changed_is_not_compared(spec, tmp_path):
    """--allow-drift lets a run go on whose config is another by now: of fewer epochs, when all were trained already."""
    compare(spec("r", 1), "new")
    distilled = tmp_path / "r" / "distilled-1"
    results = json.loads((distilled / "results.json").read_text())
    results["train"]["steps"] *= 2
    (distilled / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunDirectoryError, match="12 steps and 6"):
        read_verdict(spec("r", 1), [1])
    assert read_verdict(early_stopping(spec("r", 1)), [1])["seeds"]  # arms may stop at steps of their own
    results["train"]["steps"] //= 2
    (distilled / "results.json").write_text(json.dumps(results))
    record = json.loads((distilled / "manifest.json").read_text())
    for change in (
        "train.learning_rate: 0.1 → 0.01",
        "data.max_train_examples: 8 → 9",
        "digests.data.train: a → b",
        "best.metric: loss → accuracy",
        "model.freeze: none → backbone",
    ):
        (distilled / "manifest.json").write_text(json.dumps({**record, "drift": [change]}))
        with pytest.raises(RunDirectoryError, match=change.partition(":")[0]):
            read_verdict(spec("r", 1), [1])
    for change in ("train.micro_batch_size: 8 → 4", "data.max_eval_examples: 8 → 9", "packages.torch: 1 → 2"):
        (distilled / "manifest.json").write_text(json.dumps({**record, "drift": [change]}))
        assert read_verdict(spec("r", 1), [1])["seeds"]
    (distilled / "manifest.json").write_text(json.dumps(record)[:-20])
    with pytest.raises(RunDirectoryError, match="nothing says what this arm was made of"):
        read_verdict(spec("r", 1), [1])
    (distilled / "manifest.json").write_text(json.dumps(record))
    predictions = tmp_path / "r" / "control-1" / "predictions.jsonl"
    for text in (predictions.read_text()[:-20], "5\n", "{}\n"):
        predictions.write_text(text)
        with pytest.raises(RunDirectoryError, match="cannot be read"):
            read_verdict(spec("r", 1), [1])


def test_15_10_the_labelled_part_of_an_arm_with_unlabelled_examples_is_that_of_the_other(spec, tmp_path):
    """Only one arm has the others, so that the digests of train differ; that of the labelled ones was not compared."""
    compare(spec("r", 1), "new")
    more = spec("r", 1)
    more = replace(more, data=replace(more.data, unlabelled="more"))
    path = tmp_path / "r" / "distilled-1" / "manifest.json"
    record = json.loads(path.read_text())
    digests = record["digests"]["data"]
    digests["train_labelled"], digests["train"] = digests["train"], "1" * 64
    path.write_text(json.dumps(record))
    assert read_verdict(more, [1])["seeds"]
    digests["train_labelled"] = "2" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(RunDirectoryError, match=r"not trained alike: digests\.data\.train"):
        read_verdict(more, [1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.freeze", "backbone"),
        ("best.metric", "accuracy"),
        ("runtime.precision", "bf16"),
        ("data.augment", "randaugment"),
    ],
)
def test_15_10_arms_of_other_configs_are_not_compared(key, value, compared):
    """Only the keys of train were looked at."""
    folder, spec = compared
    shutil.rmtree(folder / "r", ignore_errors=True)
    shutil.copytree(folder / "whole-1", folder / "r")
    config = folder / "r" / "control-1" / "config.yaml"
    content = yaml.safe_load(config.read_text())
    section, _, name = key.partition(".")
    content[section] = {**(content.get(section) or {}), name: value}
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(RunDirectoryError, match=f"not trained alike: .*{key}"):
        read_verdict(spec("r", 1), [1])


def early_stopping(spec):
    return replace(spec, train=replace(spec.train, early_stopping=1))
