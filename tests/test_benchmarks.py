"""What ``make bench`` says of its figures, and ``make bench-gpu`` where there is no GPU."""

import ast
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path[:0] = [str(FOLDER)]

import gpu  # noqa: E402
from bench import measure  # noqa: E402
from results import Run, doubts_of, is_final, ratio_lines, read_sections, section, write_results  # noqa: E402
from workloads import Arm, Goal, Workload  # noqa: E402

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


def test_13_08_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "cuda", lambda: "")
    assert gpu.main(["--output", str(tmp_path / "r.md")]) == gpu.NO_CUDA == 3
    assert "needs an NVIDIA GPU" in capsys.readouterr().err and not (tmp_path / "r.md").exists()


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
