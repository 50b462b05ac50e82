"""Keys of text-similarity: what goes with pairs that have a score, with pairs that belong together, with classes."""

import pytest

from config_texts import only, parse

SCORED = """\
version: 1
task: text-similarity
model: {name: bert-base-uncased}
data: {source: csv:sts, train: t.csv, eval: e.csv, text_pair: b, label: score, label_type: number, score_range: [0, 5]}
train: {epochs: 1, learning_rate: 2e-5}
best: {metric: spearman}
output: runs/a
"""
TOGETHER = SCORED.replace(
    "label: score, label_type: number, score_range: [0, 5]", "label_type: pairs"
).replace("spearman", "mrr")
CLASSES = SCORED.replace(
    "text_pair: b, label: score, label_type: number, score_range: [0, 5]", "label: stars"
).replace("spearman", "accuracy")


def test_11_sim_three_kinds_of_examples_are_valid():
    assert parse(SCORED).evaluation.headline == "spearman"
    assert parse(TOGETHER, "train.temperature=0.1").evaluation.headline == "mrr"
    assert parse(CLASSES, "data.per_class=8").evaluation.headline == "accuracy"
    assert parse(SCORED, "teacher={name: x/y}").distill is not None


@pytest.mark.parametrize(
    ("text", "changes", "what"),
    [
        (SCORED, ["data.text_pair=null"], "label_type: number is of pairs of texts"),
        (SCORED, ["data.score_range=[5, 0]"], "score_range is the lowest and the highest score"),
        (SCORED, ["data.score_range=[5]"], "score_range is the lowest and the highest score"),
        (SCORED, ["train.temperature=1"], "temperature is for label_type: pairs"),
        (SCORED, ["best.metric=mrr"], "there is no metric 'mrr': one of loss, spearman"),
        (SCORED, ["train.head_learning_rate=1e-3"], "text-similarity has no head that could have a rate"),
        (SCORED, ["model.freeze=backbone"], "text-similarity has no head"),
        (SCORED, ["teacher={name: x/y}", "distill.features=cosine"], "features: cosine compares what is"),
        (
            SCORED,
            ["data.label_type=classes", "best.metric=loss"],
            "label_type: classes is for text-class",
        ),
        (SCORED, ["train.sampling=balanced"], "train.sampling is for text-classification"),
        (TOGETHER, ["train.batch_size=1"], "a second text is told from those of the other pairs of a batch"),
        (TOGETHER, ["data.label=score"], "pairs of texts that belong together have no label"),
        (TOGETHER, ["data.stratify=true"], "an example of label_type: pairs has no label to stratify by"),
        (TOGETHER, ["data.score_range=[0, 5]"], "label_type: pairs has no scores"),
        (CLASSES, ["data.text_pair=b"], "label_type: class is of single texts"),
        (CLASSES, ["teacher={name: x/y}"], "a teacher is asked how similar two texts are"),
        (CLASSES, ["train.label_smoothing=0.1"], "similarities have no classes to smooth over"),
    ],
)
def test_11_sim_what_means_nothing_is_refused_by_name(text, changes, what):
    problem = only(text, *changes)
    assert problem.what.startswith(what) and problem.cure
