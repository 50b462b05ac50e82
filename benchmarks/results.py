"""The table of results: medians, ratios with their ranges, and why a figure is not final."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, median

from workloads import Workload

from ptm.base.machine_load import load_average
from ptm.base.processors import core_count, gpu_count

NOT_FINAL = "**Not final:**"
RATIOS = (
    "Ratios are of examples a second in the training loop unless they say otherwise, within a round; more is better "
    "for ptm."
)
TITLE = "# ptm "  # with which the files of results begin
IDLE = 0.1  # of the cores that others may take
REPEATS = 3
STEADY = 0.15  # how far repeats may lie apart
PACKAGES = ("torch", "transformers", "accelerate", "torchvision", "torchdistill", "timm", "onnxruntime")
LEFT_OUT = {
    "timm's train.py": "a script of its repository, which the package does not carry",
    "optimum": "its pipelines call ONNX Runtime as the arm `ONNX Runtime, plain loop` does; not installed",
}


@dataclass(frozen=True)
class Run:
    """One process: examples a second in the loop and in an evaluation, seconds and peak bytes of all of it, and how
    many cores others kept busy meanwhile."""

    rate: float
    eval_rate: float | None
    accuracy: float
    seconds: float
    peak_bytes: int
    others: float | None

    def value(self, of: str) -> float | None:
        """More is better."""
        by = {
            "loop": self.rate,
            "evaluation": self.eval_rate,
            "process": 1 / self.seconds,
            "memory": 1 / self.peak_bytes,
        }
        return by[of]


def spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / median(values) if values else 0.0


def doubts_of(
    runs: dict[str, list[Run]], cores: int, *, of: Sequence[str] = ("loop",), quick: bool = False
) -> list[str]:
    """Why the figures of a workload are not final. ``of``: what its goals compare, each of which must be steady."""
    doubts = ["--quick is less work than the goals are set for"] if quick else []
    every = [run for arm in runs.values() for run in arm]
    others = [run.others for run in every if run.others is not None]
    if others and max(others) > IDLE * cores:
        doubts.append(
            f"other processes kept {median(others):.1f} (at most {max(others):.1f}) of {cores} cores busy meanwhile"
        )
    if len(others) < len(every):
        doubts.append("this system does not say what other processes do")
    if min((len(arm) for arm in runs.values()), default=0) < REPEATS:
        doubts.append(f"fewer than {REPEATS} repeats")
    for name, arm in runs.items():
        for what in of:
            values = [value for run in arm if (value := run.value(what))]
            if len(arm) >= REPEATS and spread(values) > STEADY:
                called = name if what == "loop" else f"{name}, {what}"
                doubts.append(f"{called}: repeats lie {spread(values):.0%} apart")
    return doubts


def ratio_lines(workload: Workload, runs: dict[str, list[Run]], *, final: bool = True) -> list[str]:
    """A row a goal: the median ratio within a round, its range, and what was wanted."""
    lines = ["| | ratio (range over rounds) | wanted | |", "|---|---|---|---|"]
    for goal in workload.goals:
        pairs = zip(runs.get(goal.fast, ()), runs.get(goal.slow, ()), strict=False)
        values = [(a.value(goal.of), b.value(goal.of)) for a, b in pairs]
        ratios = [a / b for a, b in values if a and b]
        what = f"{goal.fast} : {goal.slow}" + ("" if goal.of == "loop" else f", {goal.of}")
        if not ratios:
            lines.append(f"| {what} | not measured | {goal.ratio:.2f} | |")
            continue
        reached = median(ratios) >= goal.ratio
        if final:
            met = "reached" if reached else "**missed**"
        else:
            met = f"{'above' if reached else 'below'}, not final"
        lines.append(
            f"| {what} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {goal.ratio:.2f} | {met} |"
        )
    return lines


def beginning(command: str) -> str:
    return f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {_load()}"


def _load() -> str:
    load = load_average()
    return "unknown" if load is None else f"{load:.2f}"


def without_folders(settings: str) -> str:
    """``csv:/home/me/samples`` as ``csv:samples``: results are read on other machines."""
    return re.sub(r'(?<=:)/[^",}]*/', "", settings)


def section(
    workload: Workload, runs: dict[str, list[Run]], missing: dict[str, str], cores: int, began: str = ""
) -> list[str]:
    """``began``: what stands for :func:`beginning`, from before the first process."""
    of = dict.fromkeys(("loop", *(goal.of for goal in workload.goals)))
    doubts = doubts_of(runs, cores, of=tuple(of), quick=workload.quick)
    lines = [f"{began}, afterwards {_load()}", ""]
    lines += [f"{NOT_FINAL} {'; '.join(doubts)}.", ""] if doubts else []
    told = {k: v for k, v in workload.settings.items() if k in ("data", "epochs", "batch_size", "threads")}
    lines += [without_folders("; ".join(f"{key} {value}" for key, value in told.items())), ""]
    unit = "runs/s" if workload.name == "distill" else "examples/s"
    lines.append(
        f"| arm | {unit}, loop | evaluation/s | whole process | peak memory | accuracy by seed | mean |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    for name, arm in runs.items():
        evaluations = [run.eval_rate for run in arm if run.eval_rate]
        accuracies = [run.accuracy for run in arm]
        rates = [run.rate for run in arm]
        lines.append(
            f"| {name} | {median(rates):,.4g} ({min(rates):,.4g} to {max(rates):,.4g}) "
            f"| {f'{median(evaluations):,.0f}' if evaluations else ''} | {median(run.seconds for run in arm):.1f} s "
            f"| {max(run.peak_bytes for run in arm) / 1e6:,.0f} MB | {', '.join(f'{a:.3f}' for a in accuracies)} "
            f"| {mean(accuracies):.4f} |"
        )
    lines += [f"| {name} | left out: {why} | | | | | |" for name, why in missing.items()]
    return ["", *lines, "", *ratio_lines(workload, runs, final=not doubts)]


def is_final(sections: Mapping[str, Sequence[str]]) -> bool:
    return not any(line.startswith(NOT_FINAL) for lines in sections.values() for line in lines)


def read_sections(path: Path) -> dict[str, list[str]]:
    """Those of an earlier run by title: what is not measured again stays, with its own date, and, where this is another
    machine or these are other versions than the head names, with those that it was measured with."""
    head, *parts = path.read_text(encoding="utf-8").split("\n## ") if path.exists() else [""]
    sections = {title: lines for title, *lines in (part.rstrip().splitlines() for part in parts)}
    then = [line for line in head.splitlines() if line.startswith("- ")]
    if then != machine():
        for lines in sections.values():
            if not any(line.startswith("- ") for line in lines):
                lines[:0] = ["", *then]
    return sections


def write_results(path: Path, sections: Mapping[str, Sequence[str]], title: str = "beside its peers") -> None:
    told = "These figures are final: the machine was left alone, and repeats agree."
    if not is_final(sections):
        told = "**Not all figures are final**: each section says why. Run it on a machine that does nothing else."
    head = [f"{TITLE}{title}", "", RATIOS, "", told, "", *machine()]
    body = [line for name, lines in sections.items() for line in ("", f"## {name}", *lines)]
    path.write_text("\n".join([*head, *body, ""]), encoding="utf-8")


def machine() -> list[str]:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    found = {name: _version(name) for name in PACKAGES}
    return [
        f"- {model}, {core_count()} cores, {gpu_count()} GPUs; {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{name} {number}" for name, number in found.items() if number),
        *(f"- {name}: {why}" for name, why in LEFT_OUT.items()),
    ]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
