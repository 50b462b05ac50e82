"""What ``make bench`` says of its figures, and ``make bench-gpu`` where there is no GPU."""

import argparse
import ast
import itertools
import json
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path[:0] = [str(FOLDER)]

import bench  # noqa: E402
import gpu  # noqa: E402
import results  # noqa: E402
from bench import measure  # noqa: E402
from results import Run, doubts_of, is_final, ratio_lines, read_sections, section, write_results  # noqa: E402
from workloads import Arm, Goal, Workload, workloads  # noqa: E402

from ptm.config.load import load_config  # noqa: E402

QUIET = Run(rate=100.0, eval_rate=400.0, accuracy=0.8, seconds=10.0, peak_bytes=10**9, others=0.0)
WORK = Workload(
    "text", "Texts", {"threads": 1}, (Arm("ptm", "x.py"), Arm("peer", "y.py")),
    (Goal("ptm", "peer", 1.3), Goal("ptm", "peer", 1.0, "memory")),
)  # fmt: skip


def runs(*rates, **changes):
    return [replace(QUIET, rate=rate, **changes) for rate in rates]


def test_13_01_ratios_are_taken_within_a_round():
    """A machine that slows down in the second round changes seconds, not ratios."""
    found = {"ptm": runs(150.0, 75.0, 150.0), "peer": runs(100.0, 50.0, 100.0, peak_bytes=2 * 10**9)}
    speed, memory = ratio_lines(WORK, found)[2:]
    assert "1.50 (1.50 to 1.50) | 1.30 | reached" in speed and "memory | 2.00" in memory
    slower = ratio_lines(WORK, {"ptm": runs(120.0), "peer": runs(100.0)})[2]
    assert "1.20" in slower and "**missed**" in slower
    slower = ratio_lines(WORK, {"ptm": runs(120.0), "peer": runs(100.0)}, final=False)[2]
    assert "below, not final" in slower and "missed" not in slower
    assert "not measured" in ratio_lines(WORK, {"ptm": runs(1.0)})[2]


def test_13_01_figures_are_final_only_on_a_quiet_machine_and_with_repeats_that_agree():
    same = {"ptm": runs(100.0, 101.0, 99.0), "peer": runs(80.0, 80.0, 80.0)}
    assert doubts_of(same, cores=2) == [] and "Not final" not in "\n".join(section(WORK, same, {}, 2))
    busy = {**same, "peer": runs(80.0, 80.0, 80.0, others=0.5)}  # half of all runs
    assert "other processes kept 0.2 (at most 0.5) of 2 cores" in doubts_of(busy, 2)[0]
    assert "ptm: repeats lie 30% apart" in doubts_of({"ptm": runs(100.0, 130.0, 100.0)}, 2)
    assert doubts_of({"ptm": runs(100.0, 100.0)}, 2) == ["fewer than 3 repeats"]
    assert "does not say" in doubts_of({"ptm": runs(1.0, 1.0, 1.0, others=None)}, 2)[0]
    text = "\n".join(section(WORK, busy, {"timm": "not installed"}, 2))
    assert (
        "**Not final:**" in text
        and "| timm | left out: not installed |" in text
        and "0.800, 0.800, 0.800" in text
    )


def test_13_01_an_arm_that_lacks_a_package_or_fails_is_left_out(tmp_path, capsys):
    """Each arm is a process; what it says last is its result."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('print(\'{"loop_seconds": 2, "examples": 10, "accuracy": 0.5}\')')
    bad.write_text("raise SystemExit('no data')")
    arms = (Arm("good", str(good)), Arm("bad", str(bad)), Arm("far", "z.py", needs=("no_such_package",)))
    found, missing = measure(replace(WORK, arms=arms), rounds=2)
    assert [run.rate for run in found["good"]] == [5.0, 5.0] and set(found) == {"good"}
    assert found["good"][0].peak_bytes > 10**6 and found["good"][0].seconds > 0
    assert missing == {"far": "no_such_package not installed", "bad": "it failed: no data"}


def test_13_01_why_an_arm_failed_is_its_error_not_a_line_of_the_way_there(tmp_path, capsys):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from ptm.errors import DataError, Problem\nraise DataError([Problem('no such table', 'x.csv')])"
    )
    _, missing = measure(replace(WORK, arms=(Arm("bad", str(bad)),)), rounds=1)
    assert "no such table" in missing["bad"] and "errors.py" not in missing["bad"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "text,nonsense"], "no workload nonsense; there are text,frozen,"),
        (["--output", "no_such_folder/x.md"], "cannot write 'no_such_folder/x.md'"),
        (["--output", "."], "cannot write '.'"),
        (["--output", "/proc/x.md"], "cannot write '/proc/x.md'"),
        (["--output", "/dev/null"], "cannot write '/dev/null'"),
        (["--output", __file__], "holds something else"),
        (["--texts", "tsv:no_such_folder"], "expected tsv:FOLDER with train.tsv and dev.tsv"),
        (["--texts", "no_such_folder"], "expected tsv:FOLDER"),
        (["--rounds", "-1"], "expected a number from 1 on"),
        (["--threads", "0"], "expected a number from 1 on"),
    ],
)
def test_13_01_what_cannot_be_done_is_refused_before_anything_is_measured(words, told, capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("it measured"))
    with pytest.raises(SystemExit) as ended:
        bench.main(words)
    assert ended.value.code == 2 and told in capsys.readouterr().err


GOOD = 'print(\'{"loop_seconds": 2, "examples": 10, "accuracy": 0.5}\')'
# It has a child of its own, says who both are, and ends the benchmark in its middle.
STOPS = """
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(__file__).with_suffix(".pids").write_text(f"{os.getpid()} {child.pid}")
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""


def commanded(tmp_path, monkeypatch, *scripts):
    """``bench.main`` of a workload a script."""
    made = []
    for number, script in enumerate(scripts):
        path = tmp_path / f"{number}.py"
        path.write_text(script)
        made.append(replace(WORK, name=f"w{number}", title=f"W{number}", arms=(Arm("ptm", str(path)),)))
    monkeypatch.setattr(bench, "workloads", lambda *_: made)
    monkeypatch.setattr(bench, "_bf16", lambda: False)
    return bench.main(["--rounds", "1", "--output", str(tmp_path / "r.md")])


def test_13_01_what_was_measured_before_an_interruption_stays_and_nothing_runs_on(
    tmp_path, monkeypatch, capsys
):
    assert commanded(tmp_path, monkeypatch, GOOD, STOPS, GOOD) == 130
    told = capsys.readouterr().err
    assert "interrupted" in told and "Traceback" not in told
    assert list(read_sections(tmp_path / "r.md")) == ["W0"]
    deadline = time.monotonic() + 20  # a process that was killed takes a moment to end
    for pid in (tmp_path / "1.pids").read_text().split():
        while _runs(Path(f"/proc/{pid}/status")):
            assert time.monotonic() < deadline, f"process {pid} runs on"
            time.sleep(0.05)


def _runs(status):
    try:
        return "zombie" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_13_01_an_interruption_before_the_first_figure_promises_none(tmp_path, monkeypatch, capsys):
    assert commanded(tmp_path, monkeypatch, STOPS) == 130
    assert "nothing was measured" in capsys.readouterr().err and not (tmp_path / "r.md").exists()


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf", "x"])
def test_13_08_minutes_in_which_nothing_could_begin_are_refused(word, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--minutes", word])
    assert "expected minutes above 0" in capsys.readouterr().err


def test_13_01_where_nothing_was_measured_the_command_fails(tmp_path, monkeypatch, capsys):
    assert commanded(tmp_path, monkeypatch, "raise SystemExit('no data')") == 1
    assert commanded(tmp_path, monkeypatch, GOOD) == 0 and "not final" in capsys.readouterr().err


def test_13_01_what_is_compared_besides_the_loop_is_to_be_steady_too(capsys):
    unsteady = {"ptm": [*runs(100.0, 100.0), *runs(100.0, eval_rate=600.0)], "peer": runs(80.0, 80.0, 80.0)}
    both = replace(WORK, goals=(*WORK.goals, Goal("ptm", "peer", 1.0, "evaluation")))
    assert "ptm, evaluation: repeats lie 50% apart" in "\n".join(section(both, unsteady, {}, 2))
    assert "Not final" not in "\n".join(section(WORK, unsteady, {}, 2))


def test_13_01_quick_is_never_final_and_takes_no_full_sections_place():
    options = argparse.Namespace(quick=True, texts="", threads=1, bf16=True, only="text")
    (quick,) = workloads(options, Path("x"))
    options.quick = False
    (full,) = workloads(options, Path("x"))
    assert quick.title != full.title
    same = {"ptm": runs(100.0, 101.0, 99.0)}
    assert "--quick is less work" in "\n".join(section(quick, same, {}, 2))
    assert "Not final" not in "\n".join(section(full, same, {}, 2))


def test_13_01_figures_of_another_machine_keep_its_name(tmp_path, monkeypatch):
    path, same = tmp_path / "r.md", {"ptm": runs(100.0, 101.0, 99.0)}
    for name in ("first", "second", "third"):
        monkeypatch.setattr(results, "machine", lambda: [f"- a machine: {name}"])  # noqa: B023
        sections = read_sections(path)
        sections[name] = section(WORK, same, {}, 2, f"{name} run")
        write_results(path, sections)
    head, first, second, third = path.read_text().split("\n## ")
    assert "- a machine: third" in head and "- a machine" not in third
    assert first.count("- a machine") == 1 and "- a machine: first" in first
    assert second.count("- a machine") == 1 and "- a machine: second" in second


def test_13_08_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "cuda", lambda: "")
    assert gpu.main(["--output", str(tmp_path / "r.md")]) == gpu.NO_CUDA == 3
    assert "needs an NVIDIA GPU" in capsys.readouterr().err and not (tmp_path / "r.md").exists()


def test_13_08_the_recipes_are_configs_that_ptm_takes(tmp_path):
    """With files at hand, and without."""
    for texts, images in (("", ""), (f"tsv:{tmp_path}", f"parquet:{tmp_path}")):
        for recipe in gpu.recipes(texts, images, tmp_path / "runs"):
            command, config, *rest = recipe.words
            settings = [word for flag, word in itertools.pairwise(rest) if flag == "--set"]
            spec = load_config(FOLDER.parent / config, settings)
            assert spec.runtime.cuda_graphs and (spec.teacher is not None) == (command == "distill")
            assert not texts or str(tmp_path) in spec.data.source
            assert gpu.run_of(recipe).parent == tmp_path / "runs"


@pytest.mark.slow
def test_13_08_a_recipe_becomes_a_row(tmp_path):
    """Also where a config expects more of itself, as it does of other images, and where it fails."""
    made, run = [], tmp_path / "run"
    few = (
        "--set",
        "data.max_train_examples=64",
        "--set",
        "train.epochs=1",
        "--set",
        "expect={accuracy: '> 2'}",
    )
    recipe = gpu.Recipe(
        "digits", ("finetune", "configs/digits_resnet.yaml", *few, "--output", str(run)), "0.9"
    )
    row = gpu.outcome(recipe, run, made.append)
    accuracy = json.loads((run / "results.json").read_text())["metrics"]["accuracy"]
    assert row.startswith(f"| digits | {accuracy:.4f} | 0.9 | 0.") and "digits_resnet.yaml" in row
    assert made[0].startswith(f"digits: accuracy {accuracy:.4f} after 0.")
    wrong = gpu.Recipe("none", ("finetune", "configs/none.yaml", "--output", str(run / "x")))
    assert "none.yaml" in gpu.outcome(wrong, run / "x", made.append)


@pytest.mark.parametrize("name", ["common", "ptm_run", "trainer", "transfer_loop", "inference"])
def test_13_01_every_arm_is_there(name):
    assert (FOLDER / "arms" / f"{name}.py").is_file()


def test_13_01_sections_that_are_not_measured_again_stay(tmp_path):
    path, same = tmp_path / "r.md", {"ptm": runs(100.0, 101.0, 99.0)}
    write_results(path, {"A": section(WORK, same, {}, 2, "first"), "B": section(WORK, same, {}, 2, "first")})
    assert "These figures are final" in path.read_text()
    sections = read_sections(path)
    sections["B"] = section(WORK, {"ptm": runs(1.0, others=2.0)}, {}, 2, "second")
    write_results(path, sections)
    assert list(read_sections(path)) == ["A", "B"] and not is_final(read_sections(path))
    text = path.read_text()
    assert text.index("first, afterwards") < text.index("## B") < text.index("second, afterwards")
    assert "Not all figures are final" in text and text.count("# ptm beside its peers") == 1


def test_13_01_what_benchmarks_import_from_ptm_is_there():
    """Their imports stand in functions, in processes of their own, where no other test comes by."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ptm"):
                module = import_module(node.module)
                missing = [a.name for a in node.names if not hasattr(module, a.name)]
                submodules = [n for n in missing if import_module(f"{node.module}.{n}")]
                assert missing == submodules, (path.name, node.module, missing)
