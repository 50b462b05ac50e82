"""The same distillation by ptm, by transformers' Trainer with the teacher in ``compute_loss``, and by torchdistill, in
turns, in one run.

    pip install accelerate datasets torchdistill     # what the others need
    ptm finetune configs/sst2_minilm.yaml --output runs/sst2_minilm
    python benchmarks/distill/against_trainer.py --data tsv:SST2_FOLDER --teacher runs/sst2_minilm --layers 1,3,5

Same teacher, student weights, rows, epochs, batch size, optimizer (AdamW), schedule, temperature, loss weights,
clipping, seeds and threads. Arms:

0. ptm, its store empty;
1. ptm, its store filled by an earlier run: what every further seed, temperature or student costs;
2. ptm's student alone (the control);
3. Trainer as transformers' guide to distillation shows it: the teacher runs on every batch of every epoch;
4. the same, batches of like length;
5. the textbook's snippet, ``nn.KLDivLoss()`` on raw logits, for what it costs in accuracy;
6. torchdistill: its DistillationBox and KDLoss, set up as its own sample for SST-2.

Only training is timed: the loop, and for ptm also the time in which the teacher fills the store; imports, loading,
tokenization and evaluation are not. Each arm is a process of its own; a round runs all arms with one seed.
``--teacher base:RUN`` makes the teacher as large as BERT-base (12 layers of width 768 from 6 of 384) without changing
what it says (:func:`enlarged`), so that a costly teacher can be had where no hub can be reached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

ARMS = (
    "ptm, store empty",
    "ptm, store filled",
    "ptm, student alone",
    "Trainer, random order",
    "Trainer, grouped by length",
    "Trainer, naive snippet",
    "torchdistill",
)
TEMPERATURE, KD, CE, RATE = 2.0, 0.5, 0.5, 5e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        required=True,
        help="tsv:FOLDER with train.tsv and dev.tsv (sentence, label), or csv:configs/samples",
    )
    parser.add_argument(
        "--teacher", required=True, help="the directory of a fine-tuned run, or: base:DIRECTORY"
    )
    parser.add_argument("--student", default="", help="a model; default: the teacher's, with --layers")
    parser.add_argument("--layers", default="1,3,5", help="which layers of it; all: every one")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", default="42", help="one round each")
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="processor: seconds in which a processor worked for the arm, for a machine that others use too",
    )
    parser.add_argument("--arms", default=",".join(str(i) for i in range(len(ARMS))), help="numbers of arms")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(run_arm(options)))
        return
    arms = [ARMS[int(i)] for i in options.arms.split(",")]
    seeds = options.seeds.split(",")
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as folder:
        given = list(sys.argv)
        if options.teacher.startswith("base:"):
            run = Path(options.teacher.removeprefix("base:"))
            given[given.index(options.teacher)] = str(enlarged(run, Path(folder) / "base"))
        for seed in seeds:
            for arm in arms:
                command = [sys.executable, *given, "--arm", arm, "--seed", seed]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"seed {seed}, {arm}: {found[arm][-1]}", flush=True)
    print(table(options, found))


def table(options: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> str:
    """Medians of seconds, means of accuracies, a row an arm; the first arm is what the others are compared with."""
    lines = [
        "",
        f"{options.examples} examples, {options.epochs} epochs, batch {options.batch_size}, "
        f"threads {options.threads}, seeds {options.seeds}, {options.clock} seconds",
        "",
        "| arm | examples/s | seconds | of them teacher | accuracy | mean | ptm is … times as fast |",
        "|---|---|---|---|---|---|---|",
    ]
    base = median(run["seconds"] for run in next(iter(found.values())))
    for arm, runs in found.items():
        seconds, teacher = (median(run[key] for run in runs) for key in ("seconds", "teacher_seconds"))
        accuracies = [run["accuracy"] for run in runs]
        lines.append(
            f"| {arm} | {options.examples * options.epochs / seconds:.1f} | {seconds:.1f} | {teacher:.1f} "
            f"| {', '.join(f'{a:.4f}' for a in accuracies)} | {mean(accuracies):.4f} | {seconds / base:.2f} |"
        )
    return "\n".join(lines)


def enlarged(run: Path, folder: Path) -> Path:
    """A fine-tuned BERT twice as wide and twice as deep that says the same (Net2Net, Chen et al. 2016,
    arXiv:1511.05641): each feature is there twice, and what reads it takes half of each copy. Between its layers stand
    idle ones, whose layer norms give back what comes in, but for its mean and deviation, which differ a little from
    word to word and are taken as constant.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    small = BertForSequenceClassification.from_pretrained(run / "model").eval()
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers")
    config = BertConfig(
        **{**small.config.to_dict(), **{size: 2 * getattr(small.config, size) for size in sizes}}
    )
    big = BertForSequenceClassification(config)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    some = ["the film is better than its first half an hour", "a dull , slow and needless remake", "charming"]
    with torch.no_grad():
        words = tokenizer(some, padding=True, return_tensors="pt")
        states = small(**words, output_hidden_states=True).hidden_states
        seen = words["attention_mask"].bool()
        for (name, weight), source in _matched(big, small):
            vector = "LayerNorm" in name or weight.ndim == 1
            rows = source if name.startswith("classifier") else source.repeat_interleave(2, 0)
            table = "embeddings" in name and not vector
            wide = source.repeat_interleave(2, 1) if table else rows
            if not table and not vector:
                wide = rows.repeat_interleave(2, 1) / 2
            # Its scores sum over twice as many products, and are divided by the root of twice the width.
            weight.copy_(wide / 2**0.5 if ".query." in name else wide)
        for index in range(1, config.num_hidden_layers, 2):
            inside = states[index // 2 + 1][seen]
            deviation, mean = inside.std(-1, correction=0).mean(), inside.mean()
            layer = big.bert.encoder.layer[index]
            for block in (layer.attention.output, layer.output):
                block.dense.weight.zero_()
                block.dense.bias.zero_()
                block.LayerNorm.weight.fill_(deviation)
                block.LayerNorm.bias.fill_(mean)
    big.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _matched(big: Any, small: Any) -> Any:
    """((name, weight) of the large network, weight of the small one), but for the idle layers."""
    given = small.state_dict()
    for name, weight in big.state_dict().items():
        parts = name.split(".")
        if "layer" in parts:
            at = parts.index("layer") + 1
            if int(parts[at]) % 2:
                continue
            parts[at] = str(int(parts[at]) // 2)
        yield (name, weight), given[".".join(parts)]


def run_arm(options: argparse.Namespace) -> dict[str, float]:
    from ptm.config.load import parse_config

    if options.clock == "processor":
        vars(time)["perf_counter"] = time.process_time  # ptm's own counts follow

    with tempfile.TemporaryDirectory() as folder:
        student = options.student or options.teacher
        splits = "train: train.tsv, eval: dev.tsv, text: sentence"
        if options.data.startswith("csv:"):
            splits = "train: reviews_train.csv, eval: reviews_test.csv"
        layers = "" if options.layers == "all" else f", layers: [{options.layers}]"
        teaching = f"""
teacher: {{name: "{options.teacher}"}}
distill: {{temperature: {TEMPERATURE}, kd_weight: {KD}, ce_weight: {CE}, audit: "off", store: {folder}/store}}
"""
        text = f"""
version: 1
task: text-classification
model: {{name: "{student}"{layers}}}
data: {{source: "{options.data}", {splits}, labels: [negative, positive], max_train_examples: {options.examples}}}
train: {{epochs: {options.epochs}, batch_size: {options.batch_size}, learning_rate: {RATE}, seed: {options.seed}}}
runtime: {{device: cpu, threads: {options.threads}}}
output: {folder}/run
{"" if "alone" in options.arm else teaching}
"""
        spec = parse_config(text, "benchmark", base=Path.cwd(), cwd=Path.cwd())
        if options.arm.startswith("ptm"):
            return run_ptm(spec, filled="filled" in options.arm)
        run = run_torchdistill if options.arm == "torchdistill" else run_trainer
        return run(prepare(spec, options), options, Path(folder))


def run_ptm(spec: Any, *, filled: bool) -> dict[str, float]:
    from ptm.base.allocator import keep_freed_memory

    keep_freed_memory()  # as the command does
    from ptm.base.console import Silent
    from ptm.experiment.train import run_training

    if filled:  # the store is complete before the first step
        first = replace(spec.train, epochs=None, steps=1)
        run_training(replace(spec, train=first, output=f"{spec.output}-first"), mode="new", reporter=Silent())
    results = run_training(spec, mode="new", reporter=Silent()).as_dict()
    distill = results["distill"] or {"teacher_seconds": 0.0, "student_seconds": results["train"]["seconds"]}
    if filled:
        assert distill["store"]["misses"] == 0
    return {
        "seconds": distill["teacher_seconds"] + distill["student_seconds"],
        "teacher_seconds": distill["teacher_seconds"],
        "accuracy": results["metrics"]["accuracy"],
    }


@dataclass(frozen=True)
class Prepared:
    """What the others start from: the rows, models and weights that ptm would take."""

    student: Any
    teacher: Any  # its seconds are added to ``spent``
    tokenizer: Any
    train: Any  # datasets.Dataset: tokens and labels
    eval: Any
    spent: list[float]


def prepare(spec: Any, options: argparse.Namespace) -> Prepared:
    import torch
    from datasets import Dataset

    from ptm.text.classification import build, load_data
    from ptm.text.classifiers import build_classifier

    torch.set_num_threads(options.threads)
    data = load_data(spec)
    student = build_classifier(spec.model.ref(), data.labels, seed=options.seed, complete=False)
    teacher = (
        build(spec, data, model=spec.teacher.refs()[0], complete=True).model.eval().requires_grad_(False)
    )
    spent, begun = [0.0], [0.0]

    def start(*_: Any) -> None:
        begun[0] = time.perf_counter()

    def stop(*_: Any) -> None:
        spent[0] += time.perf_counter() - begun[0]

    teacher.register_forward_pre_hook(start)
    teacher.register_forward_hook(stop)

    def rows(examples: Any) -> Dataset:
        encoded = student.tokenizer(list(examples.columns["text"]), truncation=True, max_length=128)
        return Dataset.from_dict({**encoded, "labels": examples.targets.tolist()})

    return Prepared(student.model, teacher, student.tokenizer, rows(data.train), rows(data.eval), spent)


def run_trainer(given: Prepared, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """As transformers' guide to knowledge distillation does it."""
    import torch
    from torch.nn import functional as F
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            outputs = model(**inputs)
            if not model.training:
                return (outputs.loss, outputs) if return_outputs else outputs.loss
            with torch.no_grad():
                target = given.teacher(**inputs).logits
            if (
                options.arm == "Trainer, naive snippet"
            ):  # the mean over classes too, of what are no log-probabilities
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
        seed=options.seed,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length" if "grouped" in options.arm else "random",
    )
    trainer = Distiller(
        model=given.student,
        args=arguments,
        train_dataset=given.train,
        eval_dataset=given.eval,
        data_collator=DataCollatorWithPadding(given.tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    accuracy = trainer.evaluate()["eval_accuracy"]
    return {"seconds": seconds, "teacher_seconds": given.spent[0], "accuracy": accuracy}


def run_torchdistill(given: Prepared, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Its box, its loss, its loader; padding and optimizer as in the other arms, added to its registries."""
    import torch
    from torch.utils.data import RandomSampler
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.datasets.registry import register_collate_func
    from torchdistill.optim.registry import register_optimizer
    from transformers import DataCollatorWithPadding

    torch.manual_seed(options.seed)
    register_collate_func(DataCollatorWithPadding(given.tokenizer), key="padded")

    @register_optimizer(key="adamw_as_trainer")
    def _adamw(module: torch.nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        decayed = [p for p in module.parameters() if p.ndim > 1]
        others = [p for p in module.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr, fused=True)

    steps = options.epochs * -(-options.examples // options.batch_size)
    hooked = {"forward_proc": "forward_batch_only_as_kwargs", "forward_hook": {"output": ["classifier"]}}
    logits = {
        f"{who}_module_{what}": value
        for who in ("student", "teacher")
        for what, value in (("path", "classifier"), ("io", "output"))
    }
    loss = {**logits, "temperature": TEMPERATURE, "alpha": CE, "beta": KD, "reduction": "batchmean"}
    config = {
        "num_epochs": options.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "requires_supp": False,
            "sampler": {"class_or_func": RandomSampler},
            "collate_fn": "padded",
            "kwargs": {"batch_size": options.batch_size},
        },
        "teacher": {**hooked, "requires_grad": False},
        "student": hooked,
        "optimizer": {
            "key": "adamw_as_trainer",
            "kwargs": {"lr": RATE, "weight_decay": 0.01},
            "filters_params": False,
            "max_grad_norm": 1.0,
        },
        "scheduler": {
            "key": "LinearLR",
            "kwargs": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": steps},
            "scheduling_step": 1,
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }
    box = get_distillation_box(
        given.teacher, given.student, {"train": given.train}, config, torch.device("cpu"), None, False, 1
    )
    begun = time.perf_counter()
    for epoch in range(options.epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(batch, targets=batch["labels"]))
        box.post_epoch_process()
    seconds = time.perf_counter() - begun
    accuracy = accuracy_of(given.student.eval(), given)
    return {"seconds": seconds, "teacher_seconds": given.spent[0], "accuracy": accuracy}


def accuracy_of(model: Any, given: Prepared) -> float:
    import torch
    from torch.utils.data import DataLoader
    from transformers import DataCollatorWithPadding

    right = 0
    with torch.no_grad():
        for batch in DataLoader(
            given.eval, batch_size=64, collate_fn=DataCollatorWithPadding(given.tokenizer)
        ):
            right += int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
    return right / len(given.eval)


if __name__ == "__main__":
    main()
