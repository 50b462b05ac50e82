"""What a run is: frozen, keyword-only dataclasses, one a section of the YAML. No torch in here.

Every field says what it means in its description, and for which tasks it is (:class:`ptm.config.keys.Serves`);
docs/configuration.md and the JSON Schema are made from them. Values are checked by pydantic one by one; what must hold
*between* fields is in :mod:`ptm.config.rules`. The section about
data is in :mod:`ptm.config.data_section`, those about models in :mod:`ptm.config.model_sections`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from ptm.config.data_section import DataSpec
from ptm.config.evaluation import Evaluation, best_mode
from ptm.config.keys import (
    CLASSIFIERS,
    STRICT,
    TEXT_ONLY,
    Floats,
    Fraction,
    OneOf,
    Positive,
    null_means,
    only,
)
from ptm.config.label_types import LABEL_TYPES, LabelType
from ptm.config.model_sections import AdapterSpec, DistillSpec, ModelSpec, ShapeSpec, TeacherSpec
from ptm.config.tasks import (
    CAUSAL_LM,
    IMAGE_CLASSIFICATION,
    MASKED_LM,
    TASKS,
    TEXT_CLASSIFICATION,
    TEXT_SIMILARITY,
    TOKEN_CLASSIFICATION,
    TRANSLATION,
    Task,
)

__all__ = [
    "AdapterSpec",
    "BestSpec",
    "DataSpec",
    "DecisionsSpec",
    "DistillSpec",
    "GenerateSpec",
    "ModelSpec",
    "RunSpec",
    "RuntimeSpec",
    "ShapeSpec",
    "TeacherSpec",
    "TrainSpec",
]

Bound = Annotated[
    str,
    Field(
        pattern=r"^\s*(>=|<=|>|<|==)\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$",
        examples=['">= 0.9"', '"< 0.5"'],
    ),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainSpec:
    """How long and how to train. Exactly one of `epochs` and `steps`."""

    epochs: Positive | None = Field(default=None, description="Passes over the training data.")
    steps: Positive | None = Field(default=None, description="Optimizer steps, instead of epochs.")
    batch_size: Positive = Field(
        default=32, description="Examples an optimizer step, over all processes together."
    )
    micro_batch_size: Positive | Literal["auto"] | None = Field(
        default=None,
        description="Examples a forward pass: a batch is cut into such pieces and their gradients are added "
        "(default: the whole batch). Several processes share the pieces, so that there must be one for each. `auto`: "
        "the largest halves of the batch that fit into memory, found before the first step; the run's config keeps "
        "the number.",
    )
    gradient_checkpointing: bool | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="Keep of each layer only what it was given, and compute the rest again on the way back "
        "(arXiv:1604.06174): less memory for one more forward pass. Encoders learn the same bits; decoders, "
        "which then keep no keys and values, the same up to roundings.",
    )
    eval_batch_size: Annotated[Positive, null_means(64, Positive | None)] = Field(
        default=64, description="Examples an evaluation batch."
    )
    optimizer: Literal["adamw", "sgd", "adafactor", "adamw8bit"] = Field(
        default="adamw",
        description="None decays biases or the parameters of normalisation layers. `adafactor` (arXiv:1804.04235) "
        "keeps next to nothing beside the weights, where AdamW keeps twice their size; its rate is relative to the "
        "size of the weights: about 1e-3. `adamw8bit` (arXiv:2110.02861, text tasks) keeps AdamW's moments in a "
        "quarter of the memory; needs the package bitsandbytes.",
    )
    learning_rate: float = Field(gt=0, description="The highest learning rate of the schedule.")
    head_learning_rate: float | None = Field(
        default=None, gt=0, description="That of the new output layer (default: the same)."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="The learning rate of each layer is that of the one above times this (arXiv:1801.06146).",
    )
    unfreeze_every: Positive | None = Field(
        default=None,
        description="Gradual unfreezing (arXiv:1801.06146): the head alone learns at first, and every so many epochs "
        "the next layer below joins.",
    )
    weight_decay: float = Field(
        default=0.01, ge=0, description="Decoupled for AdamW and Adafactor, L2 for SGD."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="SGD only.")
    scheduler: Literal["linear", "cosine", "constant", "step"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    warmup: Fraction = Field(
        default=0.0, description="Fraction of all steps in which the learning rate rises from 0."
    )
    milestones: Floats = Field(
        default=(0.5, 0.75),
        description="`step` scheduler: fractions of all steps after which the rate is multiplied.",
    )
    step_factor: float = Field(
        default=0.1, gt=0, lt=1, description="`step` scheduler: by what it is multiplied."
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="Gradients are scaled down to this norm; `null` leaves them."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Fraction of the target spread over all classes, in training only."
    )
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        json_schema_extra=CLASSIFIERS,
        description="What an example counts in the loss, by its label: `balanced` (all labels alike in the sum), or "
        "`{spam: 5}` (others 1). Weights are scaled to a mean of 1 over the training examples; the loss is divided by "
        "the number of examples. `label_type: classes`: of each label where it applies. Training only.",
    )
    focal_gamma: float | None = Field(
        default=None,
        gt=0,
        json_schema_extra=CLASSIFIERS,
        description="Focal loss (arXiv:1708.02002): the loss of an example counts (1 - p)^γ, p what its label is "
        "given. Training only.",
    )
    logit_adjustment: float | None = Field(
        default=None,
        gt=0,
        json_schema_extra=CLASSIFIERS,
        description="Logit adjustment (arXiv:2007.07314): in training, τ times the logarithm of its label's share is "
        "added to each logit (1 is the paper's); the model is used without.",
    )
    temperature: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        json_schema_extra=only(TEXT_SIMILARITY),
        description="`label_type: pairs`: cosines are divided by it in the contrastive loss (default 0.05: a scale of "
        "20).",
    )
    sampling: Literal["shuffled", "balanced"] = Field(
        default="shuffled",
        json_schema_extra=CLASSIFIERS,
        description="`balanced`: an epoch draws as many examples of each label, as many in all as there are; rare ones "
        "repeat, of frequent ones other ones come in each epoch.",
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="All randomness of the run is a function of it."
    )
    group_by_length: bool = Field(
        default=True,
        description="Text tasks: batches of texts of like length, so that little is spent on padding.",
    )
    eval_every_steps: Positive | None = Field(
        default=None,
        description="Evaluate every so many steps (default: after each epoch; always at the end).",
    )
    save_every_steps: Positive | None = Field(
        default=None, description="Checkpoint every so many steps, besides one at each evaluation."
    )
    keep_checkpoints: Annotated[int, Field(ge=2)] = Field(
        default=2, description="Newest checkpoints kept, besides the best."
    )
    log_every_steps: Positive = Field(default=20, description="A line in metrics.jsonl every so many steps.")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Average the weights over the steps (arXiv:1703.01780), with this decay (0.99 to 0.9999; less in "
        "the first steps): the averaged ones are evaluated beside the trained ones, chosen by `best`, and saved.",
    )
    average_checkpoints: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="Average the weights at the last so many evaluations of the training as it is planned (SWA, "
        "arXiv:1803.05407), in the place of `ema`: evaluated, chosen and saved in the same way.",
    )
    early_stopping: Positive | None = Field(
        default=None, description="Stop after so many evaluations without a better `best` metric."
    )

    @property
    def averages(self) -> bool:
        """Whether an average of the weights is kept beside them."""
        return self.ema is not None or self.average_checkpoints is not None

    @property
    def forward_size(self) -> int:
        """Examples a forward pass. Dropout and batch norms depend on it, so that it is the same in any number of
        processes."""
        return self.micro_batch_size if isinstance(self.micro_batch_size, int) else self.batch_size


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BestSpec:
    """Which evaluation is the best one; its weights become `model/`. Without it, the last weights do."""

    metric: str = Field(
        min_length=1, description="The name of a metric, such as `accuracy`, `f1_macro`, `loss`."
    )
    mode: Literal["max", "min"] | None = Field(
        default=None,
        description="Whether the highest or the lowest value is the best one. The metric decides (losses, perplexities "
        "and errors: `min`), so it need not be given; a contradiction is refused.",
    )

    def __post_init__(self) -> None:
        if self.mode is None:
            object.__setattr__(self, "mode", best_mode(self.metric))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DecisionsSpec:
    """What is fitted on the evaluation split when training is over, never on the test: how probable an answer is, and
    from which probability on a label applies. It is saved with the model, and used wherever that answers."""

    temperature: bool = Field(
        default=False,
        description="Divide logits by the temperature with the lowest loss (arXiv:1706.04599), so that probabilities "
        "say how often an answer is right.",
    )
    thresholds: Literal["none", "one", "each"] = Field(
        default="none",
        description="From which probability on a label applies, instead of 0.5: `one` for all labels, `each` its own. "
        "For `label_type: classes` (by F1), and for two labels (the positive one, by `metric`).",
    )
    metric: Literal["f1", "f1_macro", "accuracy", "recall_macro", "mcc"] = Field(
        default="f1", description="Of two labels: what the threshold makes highest."
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GenerateSpec:
    """How texts are written when the model is evaluated and used."""

    beams: Positive = Field(default=4, description="Beam search over so many texts; 1 is greedy.")
    max_length: Positive = Field(default=128, description="Longest output in tokens.")
    length_penalty: float = Field(
        default=1.0, description="Scores are divided by length to this power; more makes longer texts."
    )


Precision = Literal["fp32", "bf16", "fp16", "auto"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RuntimeSpec:
    """On what and how the run is computed; what it does not change is the experiment."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        default="auto",
        examples=["auto", "cpu", "cuda", "cuda:0"],
        description="`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`.",
    )
    precision: Precision = Field(
        default="fp32",
        description="Arithmetic of the forward pass; weights and their updates stay fp32. `fp16` scales the loss and "
        "needs CUDA. `auto` is bf16 where the device has units for it (a CPU with AVX512-BF16 or AMX, a GPU), else "
        "fp32; the run's config keeps what it came to.",
    )
    threads: Positive | None = Field(
        default=None, description="CPU threads a process (default: the cores, divided among the processes)."
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Processes that decode and augment images; the result does not depend on it."
    )
    deterministic: bool = Field(
        default=False, description="CUDA: the same bits each time, at some cost. CPU runs always are."
    )
    channels_last: bool = Field(
        default=True,
        description="Vision: images (on a GPU weights, too) in the memory layout that convolutions like best.",
    )
    compile: bool = Field(default=False, description="Compile the model with torch.compile before training.")
    cuda_graphs: bool = Field(
        default=False,
        json_schema_extra=only(TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION),
        description="On a GPU: record the kernels of a forward and a backward pass once for each shape of batch, and "
        "start them as one. For small models, whose steps are spent in starting kernels (`ptm bench` tries it). On a "
        "CPU nothing changes.",
    )
    shard: Literal["none", "fsdp"] = Field(
        default="none",
        json_schema_extra=only(TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, MASKED_LM, CAUSAL_LM),
        description="`fsdp`: several processes share weights, gradients and the optimizer's state while they train "
        "(torch's FSDP2), for models that do not fit into one device with all of these; each is evaluated and saved "
        "whole. docs/scale.md.",
    )


def _whole(value: object) -> object:
    if type(value) is not int:  # to pydantic, true and 1.0 are 1 as well
        raise ValueError("not a whole number")
    return value


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunSpec:
    """One experiment."""

    version: Annotated[Literal[1], BeforeValidator(_whole)] = Field(description="The version of this format.")
    task: Annotated[str, OneOf(TASKS)] = Field(description="What the model is to do.")
    model: ModelSpec = Field(description="The model that is trained.")
    teacher: TeacherSpec | None = Field(
        default=None, description="The model it learns from, in a distillation."
    )
    distill: DistillSpec | None = Field(default=None, description="How it learns from the teacher.")
    data: DataSpec = Field(description="The examples.")
    train: TrainSpec = Field(description="How long and how to train.")
    best: BestSpec | None = Field(default=None, description="Which evaluation is the best one.")
    decisions: DecisionsSpec | None = Field(
        default=None,
        json_schema_extra=CLASSIFIERS,
        description="A temperature and thresholds, fitted on the evaluation split.",
    )
    generate: GenerateSpec | None = Field(
        default=None, json_schema_extra=only(TRANSLATION), description="How texts are written."
    )
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec, description="On what and how it is computed.")
    output: str = Field(
        min_length=1, description="The run directory, relative to the working directory, not to the config."
    )
    track: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = Field(
        default=(),
        description="Trackers that are given the lines of `metrics.jsonl` while the run goes on: `tensorboard`, "
        "`mlflow`, `wandb`, `trackio`, each with its package; beside the run, and offline. One that fails is left out.",
    )
    expect: dict[str, Bound] = Field(
        default_factory=dict,
        description='Bounds on final metrics, such as `accuracy: ">= 0.9"`; a run that misses one exits with 4.',
    )

    def __post_init__(self) -> None:
        """A distillation has its ``distill`` section, whether it is written or not."""
        if self.teacher is not None and self.distill is None:
            object.__setattr__(self, "distill", DistillSpec())

    @property
    def descriptor(self) -> Task:
        """What is known of the task by its name alone."""
        return TASKS[self.task]

    @property
    def label_type(self) -> LabelType:
        """What is known of labels of this type."""
        return LABEL_TYPES[self.data.label_type]

    @property
    def evaluation(self) -> Evaluation:
        """What an evaluation of this task, with these labels, can measure."""
        return self.descriptor.evaluation_of(self.data.label_type)

    @property
    def needs_no_labels(self) -> bool:
        """Whether training examples may be without labels: a distillation that learns from its teacher alone."""
        distill = self.distill
        return distill is not None and distill.ce_weight == 0

    def positive_of(self, labels: Sequence[str]) -> str | None:
        """Of two labels of which one applies, the one that ``f1`` is of; None for all others."""
        two = self.descriptor.classifies and self.label_type.exclusive and len(labels) == 2
        return (self.data.positive_label or labels[1]) if two else None
