"""What a run is: frozen, keyword-only dataclasses, one a section of the YAML. No torch in here.

Every field says what it means in its description, and for which tasks it is (:class:`ptm.config.keys.Serves`);
docs/configuration.md and the JSON Schema are made from them. Values are checked by pydantic one by one; what must hold
*between* fields is in :mod:`ptm.config.rules`. The sections about models are in :mod:`ptm.config.model_sections`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from ptm.config.evaluation import Evaluation, best_mode
from ptm.config.keys import (
    IMAGES_ONLY,
    STRICT,
    TEXT_ONLY,
    Floats,
    Fraction,
    OneOf,
    Positive,
    Serves,
    Strings,
    null_means,
    only,
)
from ptm.config.label_types import LABEL_TYPES, LabelType
from ptm.config.model_sections import AdapterSpec, DistillSpec, ModelSpec, ShapeSpec, TeacherSpec
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    MASKED_LM,
    OBJECT_DETECTION,
    SEMANTIC_SEGMENTATION,
    TASKS,
    TEXT_CLASSIFICATION,
    TRANSLATION,
    Task,
)
from ptm.errors import ConfigError

__all__ = [
    "AdapterSpec",
    "BestSpec",
    "DataSpec",
    "DistillSpec",
    "GenerateSpec",
    "ModelSpec",
    "RunSpec",
    "RuntimeSpec",
    "ShapeSpec",
    "TeacherSpec",
    "TrainSpec",
]

Augmentation = Literal["none", "crop", "standard", "trivial"]
Bound = Annotated[
    str,
    Field(
        pattern=r"^\s*(>=|<=|>|<|==)\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$",
        examples=['">= 0.9"', '"< 0.5"'],
    ),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSpec:
    """Which examples, and which of their fields."""

    source: str = Field(
        min_length=1,
        description="`hub:OWNER/NAME[/CONFIG]`, `csv:`, `tsv:`, `json:` (a list, or an object a line), `parquet:`, "
        "`text:` (language models: a text a line), `imagefolder:` (a folder a class), `voc:`, `coco:` (detection), "
        "`masks:` (segmentation: a folder of images, one of masks), each followed by a file or folder; or "
        "`builtin:digits`.",
    )
    train: str | None = Field(
        default=None, description="The training split: a split name, or a file or folder under the source."
    )
    eval: str | None = Field(
        default=None,
        description="The evaluation split, likewise; or a percentage such as `20%`, held out of train (every class "
        "alike, always the same rows).",
    )
    text: str | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="The column with the text (default `text`; token classification: the list of words, default "
        "`words`).",
    )
    target_text: str | None = Field(
        default=None,
        json_schema_extra=only(TRANSLATION),
        description="The column with the translation (default `target_text`).",
    )
    text_pair: str | None = Field(
        default=None,
        json_schema_extra=only(TEXT_CLASSIFICATION),
        description="The column with the second text of a pair.",
    )
    image: str | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="Tables of images: the column with the image, or with its path, relative to the table (default "
        "`image`).",
    )
    label: str = Field(
        default="label",
        min_length=1,
        description="The column with the label: names or whole numbers (token classification: the list of tags; "
        "default `label` if there is such a column, else `tags`).",
    )
    label_type: Annotated[str, OneOf(LABEL_TYPES)] = Field(
        default="class",
        json_schema_extra=Serves(lambda task: bool(task.label_types)),
        description="`class` (one of several), `classes` (any number of them: a list, or `a|b` in "
        "a table, empty for none; the loss is the binary cross-entropy, its mean over classes), `number` (text: a "
        "quantity is predicted; the loss is the squared error).",
    )
    labels: Strings | None = Field(
        default=None,
        description="The label names; index = position. Default: those of the source, else those found in train, "
        "sorted.",
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        json_schema_extra=TEXT_ONLY,
        description="Longer texts are cut to so many tokens (default 128).",
    )
    image_size: Positive | None = Field(
        default=None,
        json_schema_extra=IMAGES_ONLY,
        description="Side of the square input in pixels (default: that of the weights).",
    )
    longest_side: Positive | None = Field(
        default=None,
        json_schema_extra=only(OBJECT_DETECTION),
        description="`image_size` is the shorter side; no side becomes longer than this (default: that of "
        "the weights).",
    )
    augment: Annotated[Augmentation, null_means("none", Augmentation | None)] = Field(
        default="none",
        json_schema_extra=IMAGES_ONLY,
        description="Of training images: `crop` (small images: pad by 1/8 and crop; large "
        "ones: random resized crop), `standard` (crop and mirror), `trivial` (standard and TrivialAugment). Boxes and "
        "masks move with their image. Detection: `standard` mirrors only, `crop` also cuts out a part as SSD does "
        "(arXiv:1512.02325).",
    )
    views: Positive | None = Field(
        default=None,
        description="With random augmentation or masking: use the views of so many epochs in rotation (default: new "
        "ones in each epoch). In a distillation, `distill.views` says it.",
    )
    mask_values: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(
        default=None,
        json_schema_extra=only(SEMANTIC_SEGMENTATION),
        description="The value in a mask of each label, in the order of `labels` (default 0, 1, 2, …).",
    )
    ignore_value: Annotated[int, Field(ge=0, le=255)] | None = Field(
        default=None,
        json_schema_extra=only(SEMANTIC_SEGMENTATION),
        description="Pixels with this value in the mask do not count.",
    )
    mask_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        json_schema_extra=only(MASKED_LM),
        description="The fraction of the tokens to predict (default 0.15); of them 80 % are "
        "masked, 10 % replaced, 10 % left (arXiv:1810.04805).",
    )
    whole_words: bool | None = Field(
        default=None,
        json_schema_extra=only(MASKED_LM),
        description="Mask whole words, not pieces of them (default true).",
    )
    pack: bool | None = Field(
        default=None,
        json_schema_extra=Serves(lambda task: task.language_model),
        description="Put short texts together to `max_length` tokens (default true).",
    )
    mean: Floats | None = Field(
        default=None,
        json_schema_extra=IMAGES_ONLY,
        description="Mean a channel, on [0, 1] (default: the weights').",
    )
    std: Floats | None = Field(
        default=None, json_schema_extra=IMAGES_ONLY, description="Standard deviation a channel, likewise."
    )
    max_train_examples: Positive | None = Field(
        default=None, description="Use only so many training examples; always the same ones."
    )
    max_eval_examples: Positive | None = Field(default=None, description="The same for evaluation.")

    @property
    def held_out(self) -> float | None:
        """The fraction of train that is held out for evaluation: 0.2 for ``eval: 20%``; None where ``eval`` names a
        split. Raises ConfigError for a percentage that leaves nothing, or nothing over."""
        if self.eval is None or not self.eval.endswith("%"):
            return None
        try:
            fraction = float(self.eval.removesuffix("%")) / 100
        except ValueError:
            fraction = 0.0
        if not 0 < fraction < 1:
            raise ConfigError(
                f"data.eval is {self.eval!r}",
                where="data.eval",
                expected="a percentage between 0% and 100%, such as 20%",
            )
        return fraction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainSpec:
    """How long and how to train. Exactly one of `epochs` and `steps`."""

    epochs: Positive | None = Field(default=None, description="Passes over the training data.")
    steps: Positive | None = Field(default=None, description="Optimizer steps, instead of epochs.")
    batch_size: Positive = Field(
        default=32, description="Examples an optimizer step, over all processes together."
    )
    micro_batch_size: Positive | None = Field(
        default=None,
        description="Examples a forward pass: a batch is cut into such pieces and their gradients are added "
        "(default: the whole batch). Several processes share the pieces, so that there must be one for each.",
    )
    eval_batch_size: Annotated[Positive, null_means(64, Positive | None)] = Field(
        default=64, description="Examples an evaluation batch."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="Neither decays biases nor the parameters of normalisation layers."
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
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled for AdamW, L2 for SGD.")
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
    early_stopping: Positive | None = Field(
        default=None, description="Stop after so many evaluations without a better `best` metric."
    )

    @property
    def forward_size(self) -> int:
        """Examples a forward pass. Dropout and batch norms depend on it, so that it is the same in any number of
        processes."""
        return self.micro_batch_size or self.batch_size


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
class GenerateSpec:
    """How texts are written when the model is evaluated and used."""

    beams: Positive = Field(default=4, description="Beam search over so many texts; 1 is greedy.")
    max_length: Positive = Field(default=128, description="Longest output in tokens.")
    length_penalty: float = Field(
        default=1.0, description="Scores are divided by length to this power; more makes longer texts."
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RuntimeSpec:
    """On what and how the run is computed; what it does not change is the experiment."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        default="auto",
        examples=["auto", "cpu", "cuda", "cuda:0"],
        description="`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="Arithmetic of the forward pass; weights and their updates stay fp32. `fp16` scales the loss and "
        "needs CUDA.",
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
        default=True, description="Vision: memory layout that convolutions like best."
    )
    compile: bool = Field(default=False, description="Compile the model with torch.compile before training.")


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
    generate: GenerateSpec | None = Field(
        default=None, json_schema_extra=only(TRANSLATION), description="How texts are written."
    )
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec, description="On what and how it is computed.")
    output: str = Field(
        min_length=1, description="The run directory, relative to the working directory, not to the config."
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
