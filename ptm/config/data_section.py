"""The section ``data:`` of a config. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptm.config.folds import held_out_fractions, parse_fold
from ptm.config.keys import (
    CLASSIFIERS,
    FILES,
    IMAGES_ONLY,
    SOURCES,
    STRICT,
    TEXT_ONLY,
    Floats,
    OneOf,
    Positive,
    Serves,
    Strings,
    null_means,
    only,
)
from ptm.config.label_types import LABEL_TYPES
from ptm.config.tasks import (
    IMAGE_CLASSIFICATION,
    INSTANCE_SEGMENTATION,
    MASKED_LM,
    OBJECT_DETECTION,
    QUESTION_ANSWERING,
    SEMANTIC_SEGMENTATION,
    TEXT_CLASSIFICATION,
    TEXT_SIMILARITY,
    TOKEN_CLASSIFICATION,
    TRANSLATION,
)

# Labels that are written as words: in a column, as names of folders, in annotations of boxes.
_LABEL_COLUMN = Serves(lambda task: task.classifies or task == TOKEN_CLASSIFICATION or task.boxes)
Augmentation = Literal["none", "crop", "standard", "trivial", "randaugment"]
HELD_OUT = ("eval", "test")  # what may be held out of train, in the order in which it is


LABEL = "label"  # the column with the labels, where nothing else is named


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSpec:
    """Which examples, and which of their fields."""

    source: Annotated[str, SOURCES] = Field(
        min_length=1,
        description="`hub:OWNER/NAME[/CONFIG]`, `csv:`, `tsv:`, `json:` (a list, or an object a line), `parquet:`, "
        "`xlsx:`, `conll:` (a word a line with its tags), `prodigy:`, `labelstudio:`, `doccano:` (exports of these "
        "tools), `squad:` (SQuAD's JSON), `fasttext:` (`__label__NAME text`), `textfolder:` (a folder a class, with a "
        "text a file), `text:` (language models: a text a line), `imagefolder:` (a folder a class), `voc:`, `coco:`, "
        "`yolo:` (detection), `masks:`, `labelme:`, `coco:` (segmentation: images and masks, or shapes; instances: "
        "shapes), each followed by a file, a folder, a pattern or a list of files; or `builtin:digits`. "
        "docs/data.md shows each.",
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="`csv:`, `tsv:`: what stands between fields (default: a tab; `,`, or `;` or `|` where the "
        "first line has the columns by one of these alone, which is said).",
    )
    quoting: Literal["standard", "none"] | None = Field(
        default=None,
        description="`csv:`, `tsv:`: whether quotes protect a field: `standard` (default of `csv:`), `none` (they are "
        "ordinary characters; default of `tsv:`).",
    )
    encoding: str | None = Field(
        default=None,
        min_length=1,
        description="Of files of text: `utf-8` (default), `windows-1252`, `iso-8859-1`, `utf-16`, …",
    )
    header: bool | None = Field(
        default=None,
        description="`csv:`, `tsv:`: whether the first row names the columns (default: unless `columns` does).",
    )
    columns: Strings | None = Field(
        default=None,
        description="`csv:`, `tsv:` without a header row, `conll:`: the names of all columns, in their order.",
    )
    sheet: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="`xlsx:`: the sheet (default: the only one that holds something; where the source is one workbook, "
        "`train`, `eval` and `test` name its sheets).",
    )
    train: Annotated[str | None, FILES] = Field(
        default=None,
        description="The training split: a split name, or a file or folder under the source; several files by a "
        "pattern (`part-*.csv`, in the order of their names) or a list, which a run holds as `a.csv + b.csv`.",
    )
    eval: Annotated[str | None, FILES] = Field(
        default=None,
        description="The evaluation split, likewise; or a percentage such as `20%`, held out of train (every class "
        "alike, always the same rows; equal examples stay on one side); or `fold-1-of-5`, as `ptm "
        "finetune --folds` has it.",
    )
    test: Annotated[str | None, FILES] = Field(
        default=None,
        description="A third split, likewise: the finished run is measured on it once, with the weights that were "
        "chosen on `eval`, and `expect` and verdicts are about it. A percentage is of all of train, as that of `eval`; "
        "the two share no row.",
    )
    unlabelled: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=CLASSIFIERS,
        description="In a distillation: examples without labels, as a split or file under the source (of folders of "
        "images, a folder of images). The student learns from its teacher on these too, from labels where it has them.",
    )
    split_by: str | None = Field(
        default=None,
        min_length=1,
        description="Examples that belong together stay on one side where a percentage is held out: the column that "
        "says to what each belongs (a patient, a user, a document). In a folder of images: a regular expression, and "
        "what it finds in the path of an image below the source (its first group, where it has one). Of splits that "
        "are named, what stands in two of them is told.",
    )
    stratify: Annotated[bool, Field(strict=True)] | Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="What a percentage is held out of alike: `true` the labels, a column (in a folder of images a "
        "regular expression, as in `split_by`) its values, `false` nothing. Default: the labels, where an example has "
        "them.",
    )
    slices: Strings = Field(
        default=(),
        description="Metrics are also told for parts of the evaluated examples: those with each value of these "
        "columns, and, of texts, `length` (bins of characters), of images `size` (bins of the longer side in pixels). "
        "`expect` takes them as `accuracy[source=mobile]`.",
    )
    text: str | None = Field(
        default=None,
        json_schema_extra=TEXT_ONLY,
        description="The column with the text (default `text`; token classification: the list of words, default "
        "`words`; `conll:`: its number from 0, default the first; question answering: the context, default "
        "`context`).",
    )
    question: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="The column with the question (default `question`).",
    )
    answers: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="The column with the answers: `{text: [...], answer_start: [...]}`, a list of `{text, "
        "answer_start}`, or the text of one (default `answers` if there is such a column, else `answer`). Nothing in "
        "it: the context has none.",
    )
    answer_start: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="Beside a column of texts of answers: the one with the character of the context, from 0, where "
        "each begins (default `answer_start`).",
    )
    max_answer_length: Positive = Field(
        default=30,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="Tokens of the longest answer that is given.",
    )
    no_answer: Annotated[bool, Field(strict=True)] | None = Field(
        default=None,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="Whether a model may say that a context has no answer (default: whether there are such questions "
        "in train).",
    )
    no_answer_margin: float = Field(
        default=0.0,
        json_schema_extra=only(QUESTION_ANSWERING),
        description="`no_answer`: it says so where the score of no answer is higher by more than this than that of the "
        "best one (scores are sums of two logits).",
    )
    target_text: str | None = Field(
        default=None,
        json_schema_extra=only(TRANSLATION),
        description="The column with the translation (default `target_text`).",
    )
    text_pair: str | None = Field(
        default=None,
        json_schema_extra=only(TEXT_CLASSIFICATION, TEXT_SIMILARITY),
        description="The column with the second text of a pair.",
    )
    image: str | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="Tables of images: the column with the image, or with its path, relative to the table (default "
        "`image`).",
    )
    label: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        json_schema_extra=Serves(lambda task: bool(task.label_types) or task.name == "token-classification"),
        description="The column with the label: names or whole numbers (default `label`; token classification: the "
        "list of tags, default `label` if there is such a column, else `tags`; `conll:`: its number, default the "
        "last). `textfolder:`, `imagefolder:`: a regular expression, and what it finds in the path of a file below "
        "the source.",
    )
    label_type: Annotated[str, OneOf(LABEL_TYPES)] = Field(
        default="class",
        json_schema_extra=Serves(lambda task: bool(task.label_types)),
        description="`class` (one of several), `classes` (any number of them: a list, `a|b` in a table "
        "(`label_separator`), or a vector of 0 and 1; empty for none; the loss is the binary cross-entropy, its mean "
        "over classes), `number` (a quantity is predicted; the loss is the squared error). Text-similarity: `number` "
        "(the score of a pair), `pairs` (two texts that belong together; no label), `class` (single texts, of which "
        "those of one class belong together).",
    )
    score_range: Floats | None = Field(
        default=None,
        json_schema_extra=only(TEXT_SIMILARITY),
        description="`label_type: number`: `[low, high]`, the scores whose cosine is to be 0 and 1, such as `[0, 5]` "
        "(default `[0, 1]`).",
    )
    labels: Strings | None = Field(
        default=None,
        description="The label names; index = position. Default: those of the source, else those found in train, "
        "sorted.",
    )
    label_map: dict[str, str] | None = Field(
        default=None,
        json_schema_extra=_LABEL_COLUMN,
        description='Spellings of labels to the labels that they mean: `{Positive: positive, "1": positive}`. A value '
        "that is not named stays as it is.",
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=CLASSIFIERS,
        description="`label_type: classes`: what stands between the labels of a cell (default `|`). Lists, also "
        "printed ones such as `['a', 'b']`, and vectors of 0 and 1 need none.",
    )
    labels_from: Strings | None = Field(
        default=None,
        json_schema_extra=CLASSIFIERS,
        description="Instead of `label`: columns of 0 and 1, one for each label, whose names are the labels.",
    )
    positive_label: str | None = Field(
        default=None,
        json_schema_extra=CLASSIFIERS,
        description="Of two labels, the one that `f1` is computed for (default: the second).",
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        json_schema_extra=TEXT_ONLY,
        description="Longer texts are cut to so many tokens (default 128, or what the model takes), here and wherever "
        "the saved model is used.",
    )
    long_texts: Literal["cut", "head_tail", "windows"] | None = Field(
        default=None,
        json_schema_extra=only(TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION),
        description="What is read of texts of more than `max_length` tokens: `cut` (default) their beginning, "
        "`head_tail` a quarter from the beginning and the rest from the end (arXiv:1905.05583), `windows` all of it, "
        "in pieces: of a text the outputs are pooled, of words each is read in one window.",
    )
    stride: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        json_schema_extra=only(TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION, QUESTION_ANSWERING),
        description="`long_texts: windows`, and question answering, which always reads in windows: tokens that "
        "neighbouring windows share (default: a quarter of a window).",
    )
    pool: Literal["mean", "max", "learned"] | None = Field(
        default=None,
        json_schema_extra=only(TEXT_CLASSIFICATION),
        description="`long_texts: windows`: the logits of a text are the mean of those of its windows (default), or "
        "the highest of each label, or a mean whose weights are learned (`learned`: the softmax, over windows, of a "
        "learned vector's product with their logits).",
    )
    image_size: Positive | None = Field(
        default=None,
        json_schema_extra=IMAGES_ONLY,
        description="Side of the square input in pixels (default: that of the weights).",
    )
    longest_side: Positive | None = Field(
        default=None,
        json_schema_extra=only(OBJECT_DETECTION, INSTANCE_SEGMENTATION),
        description="`image_size` is the shorter side; no side becomes longer than this (default: that of "
        "the weights).",
    )
    page: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        json_schema_extra=IMAGES_ONLY,
        description="Which page of a TIFF with several, or frame of an animated GIF, WebP or PNG, is the image: 0 is "
        "the first. Without it such files are refused; an image without that page always is. Masks with pages, "
        "likewise.",
    )
    image_range: Floats | None = Field(
        default=None,
        json_schema_extra=IMAGES_ONLY,
        description="`[low, high]`: the values that are black and white in images of one channel with more than 8 bits "
        "or floating-point numbers, such as `[0, 4095]` of 12 bits (default `[0, 65535]`). Images with values "
        "outside, in colours or of 8 bits are refused. Not of masks.",
    )
    augment: Annotated[Augmentation, null_means("none", Augmentation | None)] = Field(
        default="none",
        json_schema_extra=IMAGES_ONLY,
        description="Of training images: `crop` (small images: pad by 1/8 and crop; large "
        "ones: random resized crop), `standard` (crop and mirror), `trivial` (standard and TrivialAugment), "
        "`randaugment` (standard and RandAugment, arXiv:1909.13719). Boxes and masks move with their image. Detection: "
        "`standard` mirrors only, `crop` also cuts out a part as SSD does (arXiv:1512.02325).",
    )
    color_jitter: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="Brightness, contrast and saturation of training images vary by up to this fraction.",
    )
    eval_views: Literal["none", "flip", "five_crops"] = Field(
        default="none",
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="What an image is evaluated and predicted by: itself, also its mirror image (`flip`), or five "
        "crops of 7/8 of its sides; the mean of their probabilities counts. Training, teachers, exports see one.",
    )
    random_erasing: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="The fraction of training images of which a rectangle is erased (arXiv:1708.04896).",
    )
    mixup: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="MixUp (arXiv:1710.09412): training images and their labels are mixed two by two, with shares from "
        "a beta distribution of this parameter (0.2 is usual).",
    )
    cutmix: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        json_schema_extra=only(IMAGE_CLASSIFICATION),
        description="CutMix (arXiv:1905.04899): a part of another image is pasted into each training image, and its "
        "label counts as much (1 is usual). With `mixup`, each image goes through one of them.",
    )
    views: Positive | None = Field(
        default=None,
        description="With random augmentation or masking: use the views of so many epochs in rotation (default: new "
        "ones in each epoch). In a distillation, `distill.views` says it.",
    )
    boxes: Literal["upright", "stored"] | None = Field(
        default=None,
        json_schema_extra=only(OBJECT_DETECTION),
        description="Photos with an EXIF orientation: whether boxes refer to the image as it is shown (`upright`) or "
        "to the pixels as they are stored (`stored`). Default: as the size in the annotation says; where both have "
        "that size, the run is refused; of `yolo:`, as it is shown.",
    )
    mask_values: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(
        default=None,
        json_schema_extra=only(SEMANTIC_SEGMENTATION),
        description="The value in a mask of each label, in the order of `labels` (default 0, 1, 2, …).",
    )
    mask_colors: dict[str, str] | Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        json_schema_extra=only(SEMANTIC_SEGMENTATION),
        description='Masks whose colours are classes: the colour of each label, in quotes (`{cat: "#ff8000"}`), or a '
        "file of them (CamVid's `label_colors.txt`, CVAT's `labelmap.txt`, a csv of name, r, g, b).",
    )
    ignore_label: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=only(SEMANTIC_SEGMENTATION),
        description="Of `mask_colors`, `labelme:` and `coco:`: pixels with this label do not count.",
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
    per_class: Positive | None = Field(
        default=None,
        json_schema_extra=Serves(lambda task: bool(task.label_types)),
        description="Use only so many training examples of each label, drawn once for all; a label with fewer keeps "
        "all of its own. For `label_type: class`.",
    )
    max_eval_examples: Positive | None = Field(default=None, description="The same for evaluation.")
    max_test_examples: Positive | None = Field(default=None, description="The same for the test.")

    @property
    def random_images(self) -> bool:
        """Whether training images differ from epoch to epoch."""
        more = (self.color_jitter, self.random_erasing, self.mixup, self.cutmix)
        return self.augment != "none" or any(value is not None for value in more)

    @property
    def fold(self) -> tuple[int, int] | None:
        """(number from 1, folds) where ``eval`` is a fold of train."""
        return parse_fold(self.eval)

    @property
    def held_out(self) -> dict[str, float]:
        """The fractions of train that are held out, by split: ``{"eval": 0.2}`` for ``eval: 20%``; a split that is
        named has none. Raises ConfigError for percentages that leave nothing, or nothing over."""
        return held_out_fractions({split: getattr(self, split) for split in HELD_OUT})
