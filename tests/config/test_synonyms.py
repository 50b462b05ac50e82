"""Names that other tools give to ptm's keys: each leads to the key here, or says what to do."""

import re

import pytest

from config_texts import IMAGE, TEXT, only
from ptm.config import schema
from ptm.config.synonyms import SYNONYMS, squeeze


@pytest.mark.parametrize(
    ("section", "key", "cure"),
    [
        ("train", "num_train_epochs", "it is train.epochs here"),
        ("train", "lr", "it is train.learning_rate here"),
        ("train", "wd", "it is train.weight_decay here"),
        ("train", "lr_scheduler_type", "it is train.scheduler here"),
        ("train", "per_device_train_batch_size", "it is train.batch_size here"),
        (
            "train",
            "gradient_accumulation_steps",
            "batch_size is the whole batch here; train.micro_batch_size says",
        ),
        ("train", "warmup_steps", "give train.warmup, the fraction of all steps"),
        ("train", "warmup_ratio", "it is train.warmup here"),
        ("train", "output_dir", "it is output here, at the top level"),
        ("train", "max_seq_length", "it is data.max_length here, in the section data:"),
        ("train", "fp16", "it is runtime.precision here, in the section runtime:"),
        ("train", "bf16", "it is runtime.precision here, in the section runtime:"),
        ("train", "metric_for_best_model", "it is best.metric here, in the section best:"),
        ("train", "greater_is_better", "it is best.mode here: max for true, min for false"),
        ("train", "device", "did you mean runtime.device?"),
        ("train", "devise", "did you mean runtime.device?"),
        ("train", "weight_decy", "did you mean train.weight_decay?"),
        ("train", "resume_from_checkpoint", "remove it and run with --resume"),
        ("train", "report_to", "remove it; ptm sends nothing anywhere"),
        ("data", "batch_size", "did you mean train.batch_size?"),
        ("data", "max_len", "it is data.max_length here"),
        ("data", "name", "it is data.source here"),
        ("data", "dataset", "it is data.source here"),
        ("model", "model_name_or_path", "it is model.name here"),
        ("model", "labels", "did you mean teacher.labels or data.labels?"),
        ("model", "pretrained", "it is model.weights here"),
        ("runtime", "num_workers", "it is runtime.workers here"),
        ("best", "name", "it is best.metric here"),
    ],
)
def test_names_of_other_tools_and_sections(section, key, cure):
    problem = only(TEXT, f"{section}.{key}=1")
    assert problem.what == f"unknown key {key!r} in {section}"
    assert problem.cure.startswith(cure)


@pytest.mark.parametrize(
    ("section", "key", "cure"),
    [
        ("distill", "alpha", "give distill.kd_weight (the teacher's term) and distill.ce_weight"),
        ("distill", "T", "it is distill.temperature here"),
        ("teacher", "model_name_or_path", "it is teacher.name here"),
        ("teacher", "pretrained", "it is teacher.weights here"),
    ],
)
def test_names_of_other_distillation_tools(section, key, cure):
    assert only(IMAGE, f"{section}.{key}=1").cure.startswith(cure)


KEYS = {".".join(path) for path in schema.all_keys()}


@pytest.mark.parametrize("name", ["Batch-Size", "batchSize", "BATCH_SIZE", "batch size"])
def test_spelling_is_compared_without_case_and_separators(name):
    assert squeeze(name) == "batchsize"


def test_every_name_leads_to_a_key_that_there_is_or_says_what_to_do():
    for name, (target, note) in SYNONYMS.items():
        assert target in KEYS or (target == "" and note), name
        assert name == squeeze(name)


def test_every_key_that_a_note_names_is_there():
    sections = {key.partition(".")[0] for key in KEYS}
    for _, note in SYNONYMS.values():
        for key in re.findall(r"\b([a-z]+\.[a-z_]+)\b", note):
            assert key in KEYS or key.partition(".")[0] not in sections, note


def test_a_tokenizer_of_its_own_is_a_key_of_the_model():
    assert only(TEXT, "tokenizer=train").cure.startswith(
        "the tokenizer comes with the model; another: model.tokenizer"
    )
