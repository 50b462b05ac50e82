"""transformers' Trainer on the same rows, set up as its guide to text classification does it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import finish, settings, spec_of, timed


def main() -> None:
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

    options = settings()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(options, Path(folder))
        place, _ = locate(spec.model.name)
        tokenizer, data = AutoTokenizer.from_pretrained(place), load_data(spec)

        def rows(examples: Any) -> Dataset:
            encoded = tokenizer(list(examples.columns["text"]), truncation=True, max_length=128)
            return Dataset.from_dict({**encoded, "labels": examples.targets.tolist()})

        model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=len(data.labels))
        if options.frozen:
            model.base_model.requires_grad_(False)
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=f"{folder}/trainer",
                per_device_train_batch_size=options.batch_size,
                per_device_eval_batch_size=64,
                learning_rate=options.learning_rate,
                weight_decay=0.01,
                num_train_epochs=options.epochs,
                lr_scheduler_type="linear",
                seed=options.seed,
                use_cpu=options.device == "cpu",
                bf16=options.precision == "bf16",
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                train_sampling_strategy="group_by_length" if options.grouped else "random",
            ),
            train_dataset=rows(data.train),
            eval_dataset=rows(data.eval),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        )
        seconds = list[float]()
        with timed(seconds.append):
            trainer.train()
        with timed(seconds.append):
            metrics = trainer.evaluate()
        trainer.save_model(f"{folder}/model")
        finish(
            loop_seconds=seconds[0],
            examples=len(data.train) * options.epochs,
            accuracy=metrics["eval_accuracy"],
            eval_seconds=seconds[1],
            eval_examples=len(data.eval),
        )


if __name__ == "__main__":
    main()
