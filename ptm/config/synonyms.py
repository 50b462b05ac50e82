"""What other tools call ptm's keys: a name from one of them is an error that tells the name here."""

from __future__ import annotations

import re
from collections.abc import Mapping

# ptm's key: the names that transformers, timm, torchvision's references, Keras, Lightning, Ultralytics and
# public distillation code give to the same thing. Spelling is compared without case, `_`, `-`.
_NAMES: Mapping[str, str] = {
    "model": "student student_model",
    "model.name": (
        "model_name_or_path model_name pretrained_model_name_or_path model_id base_model arch "
        "architecture backbone model_type checkpoint student_name_or_path"
    ),
    "model.weights": (
        "pretrained checkpoint_path ckpt ckpt_path weights_path pretrained_weights init_checkpoint "
        "initial_checkpoint"
    ),
    "model.revision": "model_revision",
    "model.freeze": "freeze_backbone freeze_layers frozen freeze_encoder freeze_base",
    "teacher": "teacher_model",
    "teacher.name": "teacher_name_or_path teacher_name teacher_path teacher_arch teacher_checkpoint",
    "teacher.weights": "teacher_weights",
    "distill": "distillation kd knowledge_distillation",
    "distill.method": "distill_method distillation_type kd_method loss_type",
    "distill.temperature": "temp tau t kd_temperature kd_t distill_temperature distillation_temperature",
    "data": "dataset_config datasets",
    "data.source": "dataset dataset_name data_dir data_path dataset_path train_data_dir root path",
    "data.train": "train_file train_split train_data training_split train_dir train_set train_path",
    "data.eval": (
        "val valid validation dev validation_file validation_split eval_file eval_split "
        "val_split eval_dir val_dir eval_dataset"
    ),
    "data.test": "test_file test_split test_dir test_data test_set test_path test_dataset holdout",
    "data.unlabelled": "unlabeled unlabeled_file unlabelled_file unsupervised unlabeled_data transfer_set",
    "data.split_by": "group_by group_column groups group_key split_column group_id",
    "data.stratify": "stratified stratify_by stratify_column stratify_by_column",
    "data.slices": "slice subgroups slice_columns",
    "data.text": "text_column text_column_name sentence text_field input_column sentence1_key sentence1",
    "data.text_pair": "text_pair_column sentence2_key sentence2 second_text",
    "data.image": "image_column image_column_name image_field",
    "data.label": "label_column label_column_name target target_column label_field label_name",
    "data.labels": "class_names classes label_names label_list id2label label2id num_labels num_classes nc",
    "data.max_length": (
        "max_seq_length max_seq_len max_len max_sequence_length model_max_length max_tokens seq_len"
    ),
    "data.long_texts": "truncation truncation_strategy sliding_window chunking long_documents",
    "data.stride": "doc_stride overlap window_overlap",
    "data.pool": "pooling window_pooling aggregation",
    "data.image_size": "img_size input_size imgsz resolution crop_size train_crop_size size",
    "data.augment": "augmentation augmentations aug auto_augment transform transforms data_augmentation",
    "data.mean": "image_mean",
    "data.std": "image_std",
    "data.max_train_examples": "max_train_samples limit_train train_limit n_train num_train_examples",
    "data.per_class": "shots few_shot n_shot num_shots examples_per_class samples_per_class",
    "data.max_eval_examples": "max_eval_samples limit_eval max_val_samples",
    "data.max_test_examples": "max_test_samples limit_test",
    "train": "training trainer hyperparameters training_args training_arguments hparams",
    "train.epochs": "num_train_epochs num_epochs n_epochs max_epochs total_epochs epoch",
    "train.steps": "max_steps num_steps n_steps total_steps num_training_steps iterations max_iters",
    "train.batch_size": (
        "per_device_train_batch_size train_batch_size bs batch per_gpu_train_batch_size global_batch_size"
    ),
    "train.eval_batch_size": (
        "per_device_eval_batch_size val_batch_size test_batch_size per_gpu_eval_batch_size"
    ),
    "train.optimizer": "optim opt",
    "train.learning_rate": "lr base_lr initial_lr lr0 max_lr peak_lr",
    "train.head_learning_rate": "head_lr classifier_lr lr_head",
    "train.weight_decay": "wd decay l2 l2_reg weight_decay_rate l2_regularization adam_weight_decay",
    "train.scheduler": "lr_scheduler_type lr_scheduler lr_schedule sched schedule",
    "train.milestones": "lr_milestones lr_steps decay_epochs lr_decay_epochs",
    "train.step_factor": "gamma lr_gamma lr_decay lr_decay_rate decay_rate",
    "train.max_grad_norm": (
        "clip_grad_norm grad_clip gradient_clip_val clip_grad clip_norm max_norm gradient_clip"
    ),
    "train.label_smoothing": "label_smoothing_factor smoothing",
    "train.class_weights": "class_weight pos_weight loss_weights label_weights weighted_loss",
    "train.focal_gamma": "focal focal_loss gamma_focal",
    "train.logit_adjustment": "logit_adjust logit_adj_tau",
    "train.sampling": "sampler weighted_sampler balanced_sampler oversampling",
    "train.seed": "random_seed random_state rng_seed",
    "train.group_by_length": "length_grouped_sampler sortish_sampler bucket_by_length",
    "train.eval_every_steps": "eval_steps eval_interval eval_every eval_freq val_check_interval",
    "train.save_every_steps": "save_steps save_interval save_every save_freq checkpoint_every",
    "train.keep_checkpoints": "save_total_limit max_checkpoints keep_last",
    "train.log_every_steps": "logging_steps log_interval log_every print_freq log_every_n_steps",
    "data.eval_views": "tta test_time_augmentation ten_crop five_crop test_views",
    "train.ema": "ema_decay model_ema model_ema_decay use_ema polyak averaging",
    "train.average_checkpoints": "swa stochastic_weight_averaging average_last checkpoint_averaging",
    "train.early_stopping": "early_stopping_patience patience",
    "best.metric": "metric_for_best_model monitor best_metric eval_metric",
    "runtime": "hardware environment",
    "runtime.precision": "fp16 bf16 mixed_precision amp dtype torch_dtype half use_amp",
    "runtime.device": "use_cpu no_cuda cuda gpu gpus accelerator use_cuda use_gpu",
    "runtime.threads": "num_threads n_threads cpu_threads omp_num_threads",
    "runtime.workers": "num_workers dataloader_num_workers n_workers data_workers",
    "runtime.compile": "torch_compile",
    "output": "output_dir out_dir save_dir run_dir log_dir work_dir output_path project logging_dir",
    "expect": "expected thresholds assertions",
    "task": "task_name task_type problem_type",
}

# Where the meaning differs too: name, key here (or ""), what to do.
_NOTED: tuple[tuple[str, str, str], ...] = (
    (
        "gradient_accumulation_steps accumulate_grad_batches grad_accum accum_iter grad_accum_steps",
        "train.micro_batch_size",
        "batch_size is the whole batch here; train.micro_batch_size says into what pieces it is cut",
    ),
    ("warmup_ratio warmup_proportion", "train.warmup", "it is train.warmup here, the fraction of all steps"),
    (
        "warmup_steps num_warmup_steps warmup_epochs",
        "train.warmup",
        "give train.warmup, the fraction of all steps: 0.1 for 100 of 1000 steps",
    ),
    (
        "alpha kd_alpha alpha_kd alpha_distil distill_alpha distillation_alpha lambda soft_weight alpha_ce",
        "distill.kd_weight",
        "give distill.kd_weight (the teacher's term) and distill.ce_weight (the labels' term)",
    ),
    (
        "beta hard_weight alpha_task ce_loss_weight",
        "distill.ce_weight",
        "give distill.ce_weight (the labels' term) and distill.kd_weight (the teacher's term)",
    ),
    (
        "load_best_model_at_end save_best save_best_only",
        "best.metric",
        "add best: {metric: accuracy}; its weights become model/",
    ),
    ("greater_is_better", "best.mode", "it is best.mode here: max for true, min for false"),
    (
        "evaluation_strategy eval_strategy",
        "train.eval_every_steps",
        "each epoch is evaluated; give train.eval_every_steps for another rhythm",
    ),
    (
        "save_strategy",
        "train.save_every_steps",
        "every evaluation is saved; train.save_every_steps adds more",
    ),
    ("resume resume_from_checkpoint", "", "remove it and run with --resume"),
    ("overwrite_output_dir overwrite exist_ok", "", "remove it and run with --overwrite"),
    ("nproc num_processes world_size devices n_gpu", "", "remove it and run with --nproc N"),
    ("report_to push_to_hub wandb hub_model_id use_wandb", "", "remove it; ptm sends nothing anywhere"),
    (
        "tokenizer tokenizer_name tokenizer_name_or_path",
        "",
        "the tokenizer comes with the model; another: model.tokenizer",
    ),
    ("do_train do_eval do_predict", "", "remove it; the command says what is done"),
    (
        "init_from student_init layers_to_keep num_hidden_layers",
        "model.layers",
        "name the teacher as model.name and give model.layers: every_other, or a list such as [0, 3]",
    ),
    (
        "teachers teacher_models ensemble",
        "teacher.others",
        "give teacher: {name: FIRST, others: [SECOND, …]}; the student learns from their mean",
    ),
    ("trust_remote_code", "", "remove it; ptm runs no code from a model's files"),
)


def squeeze(key: str) -> str:
    """A key for comparison: ``Batch-Size``, ``batchSize`` and ``batch_size`` are one."""
    return re.sub(r"[\W_]", "", key).lower()


SYNONYMS: Mapping[str, tuple[str, str]] = {
    squeeze(name): (target, note)
    for names, target, note in (*((names, target, "") for target, names in _NAMES.items()), *_NOTED)
    for name in names.split()
}
"""Squeezed foreign name to (ptm's key or "", what to do or "")."""
