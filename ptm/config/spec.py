"""What a run is: frozen, keyword-only dataclasses, one a section of the YAML. No torch in here.

Every field says what it means in its description; docs/configuration.md and the JSON Schema are made from
them. Values are checked by pydantic one by one; what must hold *between* fields is in :mod:`ptm.spec_checks`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

TaskName = Literal[
    "text-classification",
    "token-classification",
    "masked-lm",
    "causal-lm",
    "translation",
    "image-classification",
    "object-detection",
    "semantic-segmentation",
]
LANGUAGE_MODELS: tuple[str, ...] = ("masked-lm", "causal-lm")  # what ``ptm pretrain`` trains
TEXT_TASKS: tuple[str, ...] = ("text-classification", "token-classification", *LANGUAGE_MODELS, "translation")
VISION_TASKS: tuple[str, ...] = ("image-classification", "object-detection", "semantic-segmentation")

# What may stand before the colon of ``data.source``, and what it holds.
TABLE_SOURCES: tuple[str, ...] = ("csv", "tsv", "json", "parquet")
IMAGE_SOURCES: tuple[str, ...] = ("imagefolder", "voc", "coco", "masks")
FILE_SOURCES: tuple[str, ...] = (*TABLE_SOURCES, "text", *IMAGE_SOURCES)
SOURCES: tuple[str, ...] = ("hub", *FILE_SOURCES, "builtin")

Strings = tuple[str, ...]
Floats = tuple[float, ...]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Bound = Annotated[
    str,
    Field(
        pattern=r"^\s*(>=|<=|>|<|==)\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$",
        examples=['">= 0.9"', '"< 0.5"'],
    ),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ShapeSpec:
    """How large a `new:` text model is. What is left out is a quarter of BERT-base."""

    layers: Positive = Field(
        default=4, description="Layers of the encoder, and of the decoder if there is one."
    )
    width: Positive = Field(default=256, description="Width of the hidden states.")
    heads: Positive = Field(default=4, description="Attention heads; the width is a multiple of them.")
    feedforward: Positive | None = Field(
        default=None,
        description="Width between the two linear layers of a block (default: 4 times the width).",
    )
    positions: Positive = Field(default=512, description="Longest text in tokens.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Of hidden states and attention."
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdapterSpec:
    """LoRA (arXiv:2106.09685): small matrices beside frozen ones learn instead of them. Needs `ptm[lora]`."""

    method: Literal["lora"] = Field(default="lora", description="The kind of adapter.")
    rank: Positive = Field(default=8, description="Rank of the update.")
    alpha: float = Field(default=16.0, gt=0, description="The update counts alpha / rank.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.0, description="On what an adapter reads.")
    targets: Strings | None = Field(
        default=None,
        description="Ends of the names of the modules that get one (default: attention projections of text models, "
        "convolutions and linear layers of vision models).",
    )
    merge: bool = Field(
        default=True,
        description="Add the update to the weights when the model is saved, so that it is an ordinary one; `false` "
        "saves the adapter beside the weights that it belongs to, as peft does.",
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSpec:
    """The model that is trained, and where its weights come from."""

    name: str = Field(
        min_length=1,
        description="Text: a hub id (`bert-base-uncased`), a directory, `package:NAME/DIR` (data of an installed "
        "Python package), or `new:TYPE` (from scratch: `new:bert`, `new:gpt2`, `new:marian`; see `model.shape`). "
        "Vision: a torchvision model (`resnet50`, `fasterrcnn_resnet50_fpn`, `deeplabv3_resnet50`), a CIFAR residual "
        "network (`resnet20`, 6n+2 layers), `timm:NAME`, `smp:unet`, `libreyolo:NAME`. Either: the directory of an "
        "earlier run. A name is a path when it starts with `./`, `../`, `/` or `~`, or contains `/` and exists.",
    )
    shape: ShapeSpec | None = Field(default=None, description="Text, `new:` models: how large.")
    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        description="Text: another tokenizer than the model's own: a name as `model.name`, or `train` (from the "
        "training texts; `new:` models).",
    )
    vocabulary: Annotated[int, Field(ge=50)] | None = Field(
        default=None, description="`tokenizer: train`: how many tokens (default 8,000)."
    )
    decoder: str | None = Field(
        default=None,
        min_length=1,
        description="Translation: a second encoder that becomes the decoder (BERT-to-BERT, arXiv:1907.12461); the "
        "first is `model.name`.",
    )
    backbone: str | None = Field(
        default=None,
        min_length=1,
        description="Detection, segmentation: the network below, `resnet18` and the like (default: that of the name).",
    )
    adapter: AdapterSpec | None = Field(default=None, description="Train an adapter instead of all weights.")
    weights: str = Field(
        default="default",
        min_length=1,
        description="`default` (the pre-trained weights that belong to the name), `none` (random start), the name of "
        "a torchvision weight enum (`IMAGENET1K_V2`), or a file: `.safetensors`, or `.pth`/`.th`/`.pt`/`.bin` read "
        "without executing anything in it.",
    )
    revision: str | None = Field(default=None, description="Hub models: the branch, tag or commit to use.")
    freeze: Literal["none", "backbone", "embeddings"] | Strings = Field(
        default="none",
        description="What is not trained: `backbone` (all but the head), `embeddings`, or a list of name patterns "
        "(`encoder.layer.0.*`).",
    )
    store_features: Literal["auto", "off"] = Field(
        default="auto",
        description="With `freeze: backbone` and no random augmentation: `auto` computes what the backbone says of "
        "each example once, keeps it in `$PTM_CACHE`, and trains the head on that; `off` computes it in every epoch.",
    )
    width: Positive | None = Field(
        default=None,
        description="CIFAR residual networks only: channels of the first stage (default 16).",
    )
    layers: Literal["every_other"] | tuple[int, ...] | None = Field(
        default=None,
        description="Text: keep only these layers of the named model, counted from 0, as `[0, 3]`, or `every_other` "
        "(the first, the third, …). With the teacher's name above, the student starts from its teacher.",
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TeacherSpec:
    """A frozen model whose outputs the student learns from. Its presence makes a run a distillation."""

    name: str = Field(min_length=1, description="As `model.name`; usually the directory of a fine-tuned run.")
    weights: str = Field(default="default", min_length=1, description="As `model.weights`.")
    revision: str | None = Field(default=None, description="As `model.revision`.")
    width: Positive | None = Field(default=None, description="As `model.width`.")
    labels: Strings | None = Field(
        default=None,
        description="Names of the teacher's outputs in its own order, for a checkpoint that does not carry them. "
        "Its outputs are matched to the student's labels by name.",
    )
    others: Strings = Field(
        default=(),
        description="More teachers, named as `model.name`; the student learns from the mean of all.",
    )
    shares: Floats | None = Field(
        default=None,
        description="What each teacher counts in that mean, `name` first (default: all the same).",
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillSpec:
    """How the student learns from the teacher."""

    method: Literal["kd", "dkd", "dist"] = Field(
        default="kd",
        description="What is compared of the outputs. `kd`: soft labels (arXiv:1503.02531). `dkd`: target and other "
        "classes apart (arXiv:2203.08679). `dist`: correlations (arXiv:2205.10536).",
    )
    temperature: float = Field(
        default=2.0, gt=0, description="Softens both distributions; the loss is multiplied by its square."
    )
    kd_weight: float = Field(default=0.5, ge=0, description="Weight of the teacher's term.")
    ce_weight: float = Field(
        default=0.5, ge=0, description="Weight of the cross-entropy with the true labels."
    )
    dkd_alpha: float = Field(default=1.0, ge=0, description="`dkd`: weight of the target class's part.")
    dkd_beta: float = Field(default=8.0, ge=0, description="`dkd`: weight of the other classes' part.")
    dist_inter: float = Field(
        default=1.0, ge=0, description="`dist`: weight of the correlations over classes."
    )
    dist_intra: float = Field(default=1.0, ge=0, description="`dist`: weight of those over the batch.")
    features: Literal["none", "hidden", "attention", "minilm", "tinybert", "cosine", "relational"] = Field(
        default="none",
        description="What is compared inside. `hidden`: hints through a learned projection (arXiv:1412.6550). "
        "`attention`: attention maps of convolutions (arXiv:1612.03928). `minilm`: relations of queries, keys and "
        "values of the last layer (arXiv:2012.15828). `tinybert`: embeddings, hidden states and attention scores, "
        "layer by layer (arXiv:1909.10351). `cosine`: direction of the last hidden states (arXiv:1910.01108). "
        "`relational`: distances and angles between examples (arXiv:1904.05068).",
    )
    feature_weight: float = Field(default=1.0, ge=0, description="Weight of what is compared inside.")
    relation_heads: Positive = Field(default=12, description="`minilm`: heads into which both are cut anew.")
    layers: tuple[tuple[int, int], ...] | None = Field(
        default=None,
        description="`hidden`, `attention`, `tinybert`: pairs [student layer, teacher layer], counted from 1 (default: "
        "evenly spread, last to last).",
    )
    store: str = Field(
        default="auto",
        min_length=1,
        description="Where the teacher's outputs are kept, so that it runs once: `auto` (`$PTM_CACHE`, else "
        "`~/.cache/ptm/teachers`), `off`, or a directory.",
    )
    store_precision: Literal["fp32", "fp16"] = Field(default="fp32", description="Numbers in the store.")
    top_k: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="Store only so many of the highest outputs an example, and what is left over, spread evenly.",
    )
    views: Positive | None = Field(
        default=None,
        description="With random augmentation: use the views of so many epochs in rotation, so that later epochs need "
        "no teacher (default: new views in each epoch).",
    )
    audit: Literal["error", "warn", "off"] = Field(
        default="error", description="What to do when the teacher does not look like one for these data."
    )
    control: bool = Field(
        default=False,
        description="Train the same student without the teacher as well, and say what the teacher brought.",
    )


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
        description="The evaluation split, likewise; or a share such as `20%`, held out of train (every class alike, "
        "always the same rows).",
    )
    text: str | None = Field(
        default=None,
        description="Text tasks: the column with the text (default `text`; token classification: the list of words, "
        "default `words`).",
    )
    target_text: str | None = Field(
        default=None, description="Translation: the column with the translation (default `target_text`)."
    )
    text_pair: str | None = Field(
        default=None, description="Text tasks: the column with the second text of a pair."
    )
    image: str | None = Field(
        default=None,
        description="Tables of images: the column with the image, or with its path, relative to the table (default "
        "`image`).",
    )
    label: str = Field(
        default="label",
        min_length=1,
        description="The column with the label: names or whole numbers (token classification: the list of tags; "
        "default `label` if there is such a column, else `tags`).",
    )
    label_type: Literal["class", "classes", "number"] = Field(
        default="class",
        description="Classification: `class` (one of several), `classes` (any number of them: a list, or `a|b` in "
        "a table, empty for none; the loss is the binary cross-entropy, its mean over classes), `number` (text: a "
        "quantity is predicted; the loss is the squared error).",
    )
    labels: Strings | None = Field(
        default=None,
        description="The label names; index = position. Default: those of the source, else those found in train, "
        "sorted.",
    )
    max_length: int | None = Field(
        default=None, ge=2, description="Text tasks: longer texts are cut to so many tokens (default 128)."
    )
    image_size: Positive | None = Field(
        default=None, description="Vision: side of the square input in pixels (default: that of the weights)."
    )
    longest_side: Positive | None = Field(
        default=None,
        description="Detection: `image_size` is the shorter side; no side becomes longer than this (default: that of "
        "the weights).",
    )
    augment: Literal["none", "crop", "standard", "trivial"] | None = Field(
        default=None,
        description="Vision, training images only (default `none`): `crop` (small images: pad by 1/8 and crop; large "
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
        description="Segmentation: the value in a mask of each label, in the order of `labels` (default 0, 1, 2, …).",
    )
    ignore_value: Annotated[int, Field(ge=0, le=255)] | None = Field(
        default=None, description="Segmentation: pixels with this value in the mask do not count."
    )
    mask_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Masked language models: the share of the tokens to predict (default 0.15); of them 80 % are "
        "masked, 10 % replaced, 10 % left (arXiv:1810.04805).",
    )
    whole_words: bool | None = Field(
        default=None,
        description="Masked language models: mask whole words, not pieces of them (default true).",
    )
    pack: bool | None = Field(
        default=None,
        description="Language models: put short texts together to `max_length` tokens (default true).",
    )
    mean: Floats | None = Field(
        default=None, description="Vision: mean a channel, on [0, 1] (default: the weights')."
    )
    std: Floats | None = Field(default=None, description="Vision: standard deviation a channel, likewise.")
    max_train_examples: Positive | None = Field(
        default=None, description="Use only so many training examples; always the same ones."
    )
    max_eval_examples: Positive | None = Field(default=None, description="The same for evaluation.")


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
        "(default: the batch divided by the number of processes).",
    )
    eval_batch_size: Positive | None = Field(
        default=None, description="Examples an evaluation batch (default: 64)."
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
        default=0.0, description="Share of all steps in which the learning rate rises from 0."
    )
    milestones: Floats = Field(
        default=(0.5, 0.75),
        description="`step` scheduler: shares of all steps after which the rate is multiplied.",
    )
    step_factor: float = Field(
        default=0.1, gt=0, lt=1, description="`step` scheduler: by what it is multiplied."
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="Gradients are scaled down to this norm; `null` leaves them."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the target spread over all classes, in training only."
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BestSpec:
    """Which evaluation is the best one; its weights become `model/`. Without it, the last weights do."""

    metric: str = Field(
        min_length=1, description="The name of a metric, such as `accuracy`, `f1_macro`, `loss`."
    )
    mode: Literal["max", "min"] = Field(default="max", description="Whether more is better.")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GenerateSpec:
    """Translation: how texts are written when the model is evaluated and used."""

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
        default=None, description="CPU threads a process (default: the cores, shared by the processes)."
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
    task: TaskName = Field(description="What the model is to do.")
    model: ModelSpec = Field(description="The model that is trained.")
    teacher: TeacherSpec | None = Field(
        default=None, description="The model it learns from, in a distillation."
    )
    distill: DistillSpec | None = Field(default=None, description="How it learns from the teacher.")
    data: DataSpec = Field(description="The examples.")
    train: TrainSpec = Field(description="How long and how to train.")
    best: BestSpec | None = Field(default=None, description="Which evaluation is the best one.")
    generate: GenerateSpec | None = Field(default=None, description="Translation: how texts are written.")
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec, description="On what and how it is computed.")
    output: str = Field(
        min_length=1, description="The run directory, relative to the working directory, not to the config."
    )
    expect: dict[str, Bound] = Field(
        default_factory=dict,
        description='Bounds on final metrics, such as `accuracy: ">= 0.9"`; a run that misses one exits with 4.',
    )
