"""What a task is, as far as it can be known before anything is loaded: one frozen descriptor a task. No torch in here.

Whoever stands outside ``ptm/text`` and ``ptm/vision`` and needs to know about a task asks its descriptor, never its
name. What the task's module offers is :class:`ptm.pipeline.TaskModule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ptm.config.evaluation import Evaluation
from ptm.config.label_types import LABEL_TYPES

Modality = Literal["text", "image"]

# What may stand before the colon of ``data.source``, and what it holds.
TABLE_SOURCES: tuple[str, ...] = ("csv", "tsv", "json", "parquet", "xlsx")
IMAGE_SOURCES: tuple[str, ...] = ("imagefolder", "voc", "coco", "yolo", "masks", "labelme")
TAGGED_SOURCES: tuple[str, ...] = ("conll",)
QUESTION_SOURCES: tuple[str, ...] = ("squad",)
ANNOTATED_SOURCES: tuple[str, ...] = ("prodigy", "labelstudio", "doccano")
ROW_SOURCES: tuple[str, ...] = (
    *TABLE_SOURCES,
    *TAGGED_SOURCES,
    *QUESTION_SOURCES,
    *ANNOTATED_SOURCES,
    "fasttext",
    "text",
)
FILE_SOURCES: tuple[str, ...] = (*ROW_SOURCES, "textfolder", *IMAGE_SOURCES)
SOURCES: tuple[str, ...] = ("hub", *FILE_SOURCES, "builtin")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as ``task:`` names it.

    - ``module``: where its pipeline is built, imported when a run needs it;
    - ``sources``: the kinds of ``data.source`` that it reads;
    - ``label_types``: values of ``data.label_type``; () where its targets are always of one kind, which ``evaluation``
      then describes;
    - ``evaluations``: by label type, what is measured where that is not what a classifier's evaluation measures;
    - ``labelled``: whether its outputs have label names; ``fewest_labels``: how few of them make sense;
    - ``per_example``: whether a model has one answer an example, not one a word, token or pixel;
    - ``distillable``: whether there are logits that a student can learn from;
    - ``random_views``: whether training examples differ from epoch to epoch without any augmentation;
    - ``language_model``: whether it learns from plain text, as ``ptm pretrain`` does;
    - ``boxes``: whether it finds boxes with scores in an image, of which those above a threshold are told;
    - ``draws``: whether a prediction can be drawn into its image;
    - ``adapter_beside``: whether a model is loaded with an adapter that was saved beside its weights;
    - ``transformers_pipeline``: what transformers calls the use of a saved model; "" where it has nothing for it;
    - ``packages``: what its evaluation needs besides what every run needs, as the record names it;
    - ``no_export``: why ``ptm export`` makes no graph of its models; "" where it does.
    """

    name: str
    module: str
    modality: Modality
    sources: tuple[str, ...]
    label_types: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    labelled: bool = True
    fewest_labels: int = 2
    per_example: bool = True
    distillable: bool = True
    random_views: bool = False
    language_model: bool = False
    boxes: bool = False
    draws: bool = False
    adapter_beside: bool = False
    transformers_pipeline: str = ""
    packages: tuple[str, ...] = ()
    no_export: str = ""

    def evaluation_of(self, label_type: str) -> Evaluation:
        """What is measured with labels of this type; the same for all where the task has one kind of targets."""
        return self.evaluation or self.evaluations.get(label_type) or LABEL_TYPES[label_type].evaluation

    @property
    def classifies(self) -> bool:
        """Whether its answers are labels of the types that it has: classes, sets of them, numbers."""
        return bool(self.label_types) and self.labelled


_TABLES = ("hub", *TABLE_SOURCES)

TEXT_CLASSIFICATION = Task(
    name="text-classification",
    module="ptm.text.classification",
    modality="text",
    sources=(*_TABLES, *ANNOTATED_SOURCES, "fasttext", "textfolder"),
    label_types=("class", "classes", "number"),
    adapter_beside=True,
    transformers_pipeline="text-classification",
)
TOKEN_CLASSIFICATION = Task(
    name="token-classification",
    module="ptm.text.token_classification",
    modality="text",
    sources=(*_TABLES, *TAGGED_SOURCES, *ANNOTATED_SOURCES),
    evaluation=Evaluation(
        metrics=("loss", "accuracy", "precision", "recall", "f1", "f1/"),
        of_entities=("precision", "recall", "f1", "f1/"),
        headline="f1",
        comparison="words",
    ),
    per_example=False,
    adapter_beside=True,
    transformers_pipeline="token-classification",
)
QUESTION_ANSWERING = Task(
    name="question-answering",
    module="ptm.text.question_answering",
    modality="text",
    sources=(*_TABLES, *QUESTION_SOURCES),
    evaluation=Evaluation(metrics=("loss", "exact_match", "f1"), headline="f1", comparison="answers"),
    labelled=False,
    per_example=False,
)
MASKED_LM = Task(
    name="masked-lm",
    module="ptm.text.language_modeling",
    modality="text",
    sources=(*_TABLES, "text", "textfolder"),
    evaluation=Evaluation(
        metrics=("loss", "perplexity", "masked_accuracy"),
        unsliced=(),
        headline="perplexity",
        comparison="masked tokens",
    ),
    labelled=False,
    per_example=False,
    random_views=True,
    language_model=True,
    transformers_pipeline="fill-mask",
)
CAUSAL_LM = Task(
    name="causal-lm",
    module="ptm.text.language_modeling",
    modality="text",
    sources=(*_TABLES, "text", "textfolder"),
    evaluation=Evaluation(
        metrics=("loss", "perplexity", "bits_per_byte"),
        unsliced=("bits_per_byte",),
        headline="perplexity",
        comparison="tokens",
    ),
    labelled=False,
    per_example=False,
    language_model=True,
    transformers_pipeline="text-generation",
)
TRANSLATION = Task(
    name="translation",
    module="ptm.text.translation",
    modality="text",
    sources=_TABLES,
    evaluation=Evaluation(
        metrics=("loss", "perplexity", "bleu", "chrf", "rouge1", "rouge2", "rougeL"),
        unsliced=("loss", "perplexity"),
        headline="bleu",
    ),
    labelled=False,
    per_example=False,
    distillable=False,
    packages=("sacrebleu",),
    no_export="a text is written token by token, by a search around the network that no graph holds",
)
TEXT_SIMILARITY = Task(
    name="text-similarity",
    module="ptm.text.similarity",
    modality="text",
    sources=_TABLES,
    label_types=("number", "pairs", "class"),
    evaluations={
        "number": Evaluation(
            metrics=("loss", "spearman", "pearson", "mean_squared_error", "mean_absolute_error"),
            headline="spearman",
            comparison="numbers",
            audit="spearman",
        ),
        "class": Evaluation(
            metrics=("loss", "accuracy"), unsliced=(), headline="accuracy", comparison="examples"
        ),
    },
    labelled=False,
)
IMAGE_CLASSIFICATION = Task(
    name="image-classification",
    module="ptm.vision.classification",
    modality="image",
    sources=(*_TABLES, "imagefolder", "builtin"),
    label_types=("class", "classes", "number"),
    adapter_beside=True,
)
_OF_WHAT_IS_FOUND = (
    "which boxes are kept depends on what is in the image (scores, overlaps), and torch's exporter takes no network "
    "whose steps depend on what it reads"
)
OBJECT_DETECTION = Task(
    name="object-detection",
    module="ptm.vision.detection",
    modality="image",
    sources=("voc", "coco", "yolo"),
    evaluation=Evaluation(metrics=("map", "map50", "map75", "mar100", "map/"), headline="map"),
    fewest_labels=1,
    boxes=True,
    distillable=False,
    draws=True,
    packages=("faster-coco-eval",),
    no_export=_OF_WHAT_IS_FOUND,
)
INSTANCE_SEGMENTATION = Task(
    name="instance-segmentation",
    module="ptm.vision.instances",
    modality="image",
    sources=("coco", "labelme"),
    evaluation=Evaluation(
        metrics=(
            *("mask_map", "mask_map50", "mask_map75", "mask_mar100", "mask_map/"),
            *("map", "map50", "map75", "mar100", "map/"),
        ),
        headline="mask_map",
    ),
    fewest_labels=1,
    boxes=True,
    distillable=False,
    draws=True,
    packages=("faster-coco-eval",),
    no_export=_OF_WHAT_IS_FOUND,
)
SEMANTIC_SEGMENTATION = Task(
    name="semantic-segmentation",
    module="ptm.vision.segmentation",
    modality="image",
    sources=("masks", "labelme", "coco"),
    evaluation=Evaluation(
        metrics=("loss", "miou", "dice", "pixel_accuracy", "iou/", "dice/"),
        headline="miou",
        comparison="pixels",
        audit="miou",
    ),
    per_example=False,
    draws=True,
)
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        TEXT_CLASSIFICATION,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
        MASKED_LM,
        CAUSAL_LM,
        TRANSLATION,
        TEXT_SIMILARITY,
        IMAGE_CLASSIFICATION,
        OBJECT_DETECTION,
        INSTANCE_SEGMENTATION,
        SEMANTIC_SEGMENTATION,
    )
}
