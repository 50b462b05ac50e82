"""Issue 15, line 4: --overwrite deletes what ptm wrote, in a directory that ptm made, and nothing else."""

import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import image_spec, run, small_spec, text_spec
from ptm.errors import PtmError, RunDirectoryError
from ptm.run.directory import begin_run
from ptm.run.opening import open_run, refuse_early
from ptm.run.ownership import (
    MARK,
    foreign_entries,
    input_paths,
    is_run,
    refuse_foreign_distillation,
    refuse_inputs_below,
)

PRECIOUS = "years of work\n"


def _contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def _overwrite(path):
    with open_run(path, "task: a\n", "overwrite") as directory:
        begin_run(directory, "task: a\n")


def _made(path):
    with open_run(path, "task: a\n", "new") as directory:
        begin_run(directory, "task: a\n")
        (directory.checkpoints / "step-000001").mkdir()
    return path


def test_15_15_a_record_without_end_is_not_read(tmp_path):
    run_ = _made(tmp_path / "run")
    (run_ / MARK).unlink()
    (run_ / "config.yaml").write_text("task: a\n")
    record = json.dumps({"ptm": "0.1.0", "digests": {}})
    (run_ / "manifest.json").write_text(record)
    assert is_run(run_)
    with (run_ / "manifest.json").open("r+b") as file:
        file.truncate(2_000_000_000)  # a hole: nothing of it lies on the disk
    limit = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, limit[1]))
        assert not is_run(run_)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize(
    "names",
    [
        ("config.yaml", "checkpoints/best.pt", "src/train.py"),
        ("config.yaml", "checkpoints/best.pt"),
        ("config.yaml", "checkpoints/step-000001/model.safetensors"),
        ("config.yaml", ".lock"),
        ("config.yaml", "model/config.json", "README.md"),
        ("config.yaml", "manifest.json", "checkpoints/a"),
        (".lock",),
    ],
)
@pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
def test_15_4_a_project_folder_is_no_run(tmp_path, names, mode):
    """And no message proposes the flag that would delete it."""
    project = tmp_path / "project"
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(PRECIOUS)
    before = _contents(project)
    assert not is_run(project)
    for action in (lambda: refuse_early(project, mode), lambda: _enter(project, mode)):
        with pytest.raises(RunDirectoryError, match="not a run of ptm") as caught:
            action()
        assert "--overwrite" not in str(caught.value)
    assert _contents(project) == before


def _enter(path, mode):
    with open_run(path, "task: a\n", mode) as directory:
        begin_run(directory, "task: a\n")


@pytest.mark.parametrize("content", ["{}", "[]", '{"ptm": 1}', '{"name": "my web app", "version": 3}', "["])
def test_15_4_a_manifest_of_somebody_else_makes_no_run(tmp_path, content):
    for name in ("config.yaml", "manifest.json"):
        (tmp_path / name).write_text(content)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunDirectoryError, match="not a run of ptm"):
        _overwrite(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "thesis.tex", "data/train.csv", ".git/HEAD", "checkpoints/best.pt", "checkpoints/step-000001/notes.txt",
        "checkpoints/step-old/model.safetensors", "model/notes.txt", "model/deep/er.txt", ".writing-thesis",
    ],
)  # fmt: skip
def test_15_4_what_ptm_did_not_write_is_refused_by_name(finished_run, tmp_path, name):
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text(PRECIOUS)
    before = _contents(target)
    for action in (lambda: refuse_early(target, "overwrite"), lambda: _overwrite(target)):
        with pytest.raises(RunDirectoryError, match="did not write") as caught:
            action()
        assert name.partition("/")[0] in str(caught.value)
    assert _contents(target) == before


@pytest.mark.parametrize(
    "name", ["model", "checkpoints", "metrics.jsonl", "README.md", "model/model.safetensors"]
)
def test_15_4_a_link_is_not_ptm_s_either(finished_run, tmp_path, name):
    target, outside = tmp_path / "r", tmp_path / "outside"
    shutil.copytree(finished_run, target)
    shutil.move(target / name, outside)
    (target / name).symlink_to(outside)
    with pytest.raises(RunDirectoryError, match="did not write") as caught:
        _overwrite(target)
    assert name in str(caught.value)
    assert outside.exists() and (target / name).is_symlink()


def test_15_4_what_comes_while_the_data_are_loaded_is_refused_too(tmp_path):
    _made(tmp_path / "r")
    with pytest.raises(RunDirectoryError, match=r"did not write.*thesis\.tex"):  # noqa: SIM117
        with open_run(tmp_path / "r", "task: a\n", "overwrite") as directory:
            (tmp_path / "r" / "thesis.tex").write_text(PRECIOUS)
            begin_run(directory, "task: a\n")
    assert (tmp_path / "r" / "thesis.tex").read_text() == PRECIOUS
    assert (tmp_path / "r" / "checkpoints" / "step-000001").is_dir()


def test_15_4_runs_are_known_by_their_mark_their_manifest_or_their_checkpoints(finished_run, tmp_path):
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    assert (target / MARK).is_file()
    assert foreign_entries(target) == []
    for name in (".lock", MARK):  # a run that an earlier version made, or that was sent without hidden files
        (target / name).unlink()
    assert is_run(target)
    (target / "manifest.json").write_text("{")
    assert is_run(target)  # by its checkpoints
    shutil.rmtree(target / "checkpoints")
    assert not is_run(target)
    (target / MARK).write_text("another program's\n")
    assert not is_run(target)


@pytest.mark.slow
def test_15_4_a_finished_and_a_stopped_run_can_be_overwritten(finished, stopped_run, tmp_path):
    run(small_spec(finished), "overwrite")
    assert json.loads((finished / "results.json").read_bytes())["status"] == "done"
    shutil.copytree(stopped_run, tmp_path / "s")
    run(small_spec(tmp_path / "s"), "overwrite")


@pytest.mark.parametrize("kill_after", range(4))
def test_15_4_a_kill_at_the_beginning_leaves_what_can_be_overwritten(tmp_path, kill_after):
    """The mark comes first, then the config, then the folder of the checkpoints."""
    _made(tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    for name in [".lock", MARK, "config.yaml"][kill_after:]:
        if name != MARK:
            (tmp_path / "r" / name).unlink()
    _overwrite(tmp_path / "r")
    assert is_run(tmp_path / "r")


def test_15_4_an_empty_folder_of_the_user_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="bad data"), open_run(tmp_path / "mine", "task: a\n", "new"):
        raise ValueError("bad data")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


# --- inputs


def test_15_4_inputs_below_the_output_are_refused_by_name(finished_run, tmp_path, tiny_bert, reviews):
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    before = _contents(target)
    data = target / "data"
    for key, spec in {
        "model.name": image_spec(target, name=str(target / "model")),
        "model.weights": image_spec(target, weights=str(target / "model" / "model.safetensors")),
        "data.source": text_spec(tiny_bert, data, target),
        "data.train": text_spec(tiny_bert, reviews, target, train=str(data / "train.csv")),
    }.items():
        with pytest.raises(RunDirectoryError, match=key):
            run(spec, "overwrite")
        assert _contents(target) == before, key


def test_15_4_inputs_behind_a_link_are_seen(finished_run, tmp_path):
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    (tmp_path / "alias").symlink_to(target)
    for output, model in ((target, tmp_path / "alias" / "model"), (tmp_path / "alias", target / "model")):
        with pytest.raises(RunDirectoryError, match=r"model\.name"):
            run(image_spec(output, name=str(model)), "overwrite")
    assert (target / "model" / "model.safetensors").is_file()


def test_15_4_a_second_name_of_an_input_is_seen(finished_run, tmp_path, tiny_bert, reviews):
    """A file of the data that is also a file of the run, by a hard link: it is refused by name."""
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    data = shutil.copytree(reviews, tmp_path / "data")
    (target / "predictions.jsonl").unlink()
    (target / "predictions.jsonl").hardlink_to(data / "train.csv")
    before = _contents(target)
    with pytest.raises(RunDirectoryError, match=r"an input of the run: data\.train"):
        run(text_spec(tiny_bert, data, target), "overwrite")
    assert _contents(target) == before


@pytest.mark.parametrize(
    ("mode", "name"), [("resume", ".lock"), ("resume", "metrics.jsonl"), ("overwrite", ".lock")]
)
def test_15_1_what_is_written_in_its_place_has_no_second_name(finished_run, tmp_path, name, mode):
    """A lock or a log that is a hard link to a file of the user's: writing would change that file."""
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    precious = tmp_path / "precious"
    precious.write_text("1234")
    (target / name).unlink()
    (target / name).hardlink_to(precious)
    for action in (lambda: refuse_early(target, mode), lambda: _enter(target, mode)):
        with pytest.raises(PtmError, match="has another name, too"):
            action()
    assert precious.read_text() == "1234"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["seal gone", "seal torn", "weights gone", "weights cut", "empty", "gone"])
def test_15_4_a_finished_run_whose_model_is_damaged_can_be_overwritten(finished, damage):
    model = finished / "model"
    if damage.startswith("seal"):
        (model / "manifest.json").unlink() if damage == "seal gone" else (model / "manifest.json").write_text(
            "{"
        )
    elif damage == "weights gone":
        (model / "model.safetensors").unlink()
    elif damage == "weights cut":
        (model / "model.safetensors").write_bytes(b"")
    else:
        shutil.rmtree(model)
        if damage == "empty":
            model.mkdir()
    results = run(small_spec(finished), "overwrite")
    assert results["status"] == "done" and (model / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["notes.txt", "thesis.tex", "train.csv", "sub/config.json", "weights.bin"])
def test_15_4_what_is_not_a_model_is_refused_where_the_seal_is_lost(finished_run, tmp_path, name):
    target = tmp_path / "r"
    shutil.copytree(finished_run, target)
    (target / "model" / "manifest.json").unlink()
    (target / "model" / name).parent.mkdir(exist_ok=True)
    (target / "model" / name).write_text(PRECIOUS)
    with pytest.raises(RunDirectoryError, match=f"model/{name.partition('/')[0]}"):
        _overwrite(target)
    assert (target / "model" / name).read_text() == PRECIOUS


def test_15_4_the_config_itself_and_a_teacher_are_inputs(finished, run_cli, tmp_path):
    done = run_cli("finetune", finished / "config.yaml", "--overwrite")
    assert done.returncode == 2
    assert "config.yaml" in done.stderr and "Traceback" not in done.stderr
    assert (finished / "model" / "model.safetensors").is_file()
    config = tmp_path / "student.yaml"
    text = (finished / "config.yaml").read_text()
    config.write_text(text)
    words = ["--set", f"teacher.name={finished}", "--output", finished, "--overwrite"]
    done = run_cli("distill", config, *words)
    assert done.returncode == 2 and "teacher.name" in done.stderr, done.stderr
    assert (finished / "model" / "model.safetensors").is_file()


def test_15_4_every_path_of_a_config_is_an_input(tmp_path, write_config):
    config = write_config(
        tmp_path,
        "version: 1\ntask: translation\nteacher: {name: ./teacher, weights: ./t.safetensors, others: [./other]}\n"
        "model: {name: ./encoder, decoder: ./decoder, tokenizer: ./tokenizer, weights: ./w.safetensors}\n"
        "distill: {store: ./store}\n"
        "data: {source: 'csv:./data', train: train.csv, eval: '20%'}\n"
        "train: {epochs: 1, learning_rate: 0.1}\noutput: out\n",
    )
    known = dict(input_paths(_unchecked(config)))
    assert known == {
        "model.name": tmp_path / "encoder",
        "model.decoder": tmp_path / "decoder",
        "model.tokenizer": tmp_path / "tokenizer",
        "model.weights": tmp_path / "w.safetensors",
        "teacher.name": tmp_path / "teacher",
        "teacher.weights": tmp_path / "t.safetensors",
        "teacher.others": tmp_path / "other",
        "distill.store": tmp_path / "store",
        "data.source": tmp_path / "data",
        "data.train": tmp_path / "data" / "train.csv",
    }
    assert dict(input_paths(image_spec(tmp_path / "r"))) == {}


def test_15_04_a_model_in_a_package_is_an_input(finished_run, tmp_path, monkeypatch):
    """A package under development may hold runs."""
    package = tmp_path / "carrier"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    spec = image_spec(package / "run")
    spec = replace(spec, model=replace(spec.model, name="package:carrier/run/model"))
    inputs = list(input_paths(spec))
    assert inputs == [("model.name", package / "run" / "model")]
    with pytest.raises(RunDirectoryError, match="would delete an input of the run: model"):
        refuse_inputs_below(package / "run", inputs)


def _unchecked(path):
    """The spec of a file, whatever its parts make of each other."""
    from ptm.config import load
    from ptm.config.paths import resolve_paths
    from ptm.config.yaml_tree import read_yaml

    root, _ = read_yaml(path.read_text(), "x")
    return resolve_paths(load._to_spec(load.to_data(root)), lambda *keys: path.parent, path.parent)


def test_15_4_the_folder_of_a_distillation_with_its_control_holds_nothing_else(
    tmp_path, write_config, run_cli
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "verdict.json").write_text('{"court": "supreme"}')
    config = write_config(
        tmp_path,
        "version: 1\ntask: image-classification\nteacher: {name: resnet8, weights: none, width: 4}\n"
        "model: {name: resnet8, width: 4, weights: none}\n"
        "data: {source: 'builtin:digits', train: train, eval: test, image_size: 16, max_train_examples: 96,\n"
        "  max_eval_examples: 48}\ndistill: {audit: 'off'}\ntrain: {epochs: 1, learning_rate: 0.1}\noutput: out\n",
    )
    for flag in ([], ["--overwrite"], ["--resume"]):
        done = run_cli("distill", config, "--control", "--output", tmp_path / "out", *flag)
        assert done.returncode == 2, done.stderr
        assert "verdict.json" in done.stderr
    assert (tmp_path / "out" / "verdict.json").read_text() == '{"court": "supreme"}'
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["verdict.json"]


def test_15_04_a_seal_that_lists_somebody_s_data_does_not_make_them_ptm_s(finished):
    """A run that was received may bring a seal along that names pictures: overwriting deletes none."""
    (finished / "model/pictures").mkdir()
    seal = json.loads((finished / "model/manifest.json").read_text())
    for name in ("pictures/a.png", "table.csv", "b.parquet"):
        (finished / "model" / name).write_text("x")
        seal["files"][name] = {"bytes": 1, "sha256": ""}
    (finished / "model/manifest.json").write_text(json.dumps(seal))
    assert set(foreign_entries(finished)) == {"model/pictures/a.png", "model/table.csv", "model/b.parquet"}


def test_15_04_an_arm_that_is_a_link_is_somebody_s_run(finished, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "distilled-1").symlink_to(finished)
    with pytest.raises(RunDirectoryError, match="not a distillation with its control"):
        refuse_foreign_distillation(output)


def test_15_04_weights_and_tables_that_are_links_into_the_run_are_inputs(tmp_path):
    """As a cache of a hub links its files: what they lead to would be deleted."""
    model, data, output = tmp_path / "bert", tmp_path / "data", _made(tmp_path / "run")
    (output / "model").mkdir()
    (output / "model" / "model.safetensors").write_text(PRECIOUS)
    (output / "predictions.jsonl").write_text(PRECIOUS)
    (model / "inner").mkdir(parents=True)
    data.mkdir()
    spec = text_spec(model, data, output)

    def refused(spec, key):
        with pytest.raises(RunDirectoryError, match=f"would delete an input of the run: {key}"):
            refuse_early(output, "overwrite", list(input_paths(spec)))

    refuse_early(output, "overwrite", list(input_paths(spec)))
    for link in (model / "model.safetensors", model / "inner" / "model.safetensors"):
        link.symlink_to(output / "model" / "model.safetensors")
        refused(spec, "model.name")
        link.unlink()
    (data / "a-1.csv").symlink_to(output / "predictions.jsonl")
    (data / "b.jsonl").symlink_to(output / "predictions.jsonl")
    (data / "part").mkdir()
    (data / "part" / "1.csv").symlink_to(output / "predictions.jsonl")
    for place in (
        {"train": "a-*.csv"},
        {"train": "b"},
        {"train": "part"},
        {"source": f"csv:{data}/*.csv", "train": None},
    ):
        refused(replace(spec, data=replace(spec.data, **place)), "data")


def test_15_04_all_that_ptm_saves_is_known_as_its_own(tmp_path):
    """Averaged weights of a checkpoint; of a model that embeds texts what sentence-transformers reads, once its seal is
    lost."""
    run_ = _made(tmp_path / "run")
    (run_ / "checkpoints" / "step-000001" / "average.safetensors").write_bytes(b"")
    names = ("model.safetensors", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json")
    for name in names:
        (run_ / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (run_ / "model" / name).write_text("{}")
    assert foreign_entries(run_) == []
    (run_ / "model" / "2_Pooling").mkdir()
    (run_ / "model" / "1_Pooling" / "notes.txt").write_text(PRECIOUS)
    (run_ / "checkpoints" / "step-000001" / "averages.safetensors").write_text(PRECIOUS)
    assert foreign_entries(run_) == [
        "checkpoints/step-000001/averages.safetensors",
        "model/1_Pooling/notes.txt",
        "model/2_Pooling",
    ]


@pytest.mark.parametrize("content", ["1234\n", "1234", " ", "ptm\n", "ptm process 12 and notes\n"])
def test_a_lock_of_another_program_is_neither_written_nor_removed(tmp_path, content):
    """A number of a process alone may be anybody's."""
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"not a run of ptm \(\.lock\)"):
        _enter(tmp_path, "new")
    assert (tmp_path / ".lock").read_text() == content


@pytest.mark.parametrize("left", ["whole", "empty"])
def test_a_lock_that_a_killed_start_left_is_ptm_s(tmp_path, left):
    with open_run(tmp_path / "r", "task: a\n", "new") as directory:
        content = (directory.path / ".lock").read_text()
    assert content == f"ptm process {os.getpid()}\n"
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / ".lock").write_text(content if left == "whole" else "")
    _enter(folder, "new")
    assert is_run(folder)
    (folder / ".lock").write_text("1234\n")  # as an earlier version wrote it
    _enter(folder, "overwrite")
