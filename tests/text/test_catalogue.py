"""Text models that are listed: each for tasks there are, with its figures, buildable by its configuration."""

import pytest
from transformers import AutoConfig

from ptm.config.tasks import TASKS
from ptm.text.catalogue import TEXT_MODELS, choices, families, text_model

TEXT_TASKS = {name for name, task in TASKS.items() if task.modality == "text"}


def test_each_model_is_a_choice_for_each_of_its_tasks():
    listed = list(choices())
    assert {(c.name, c.task) for c in listed} == {(m.name, t) for m in TEXT_MODELS for t in m.tasks}
    assert {c.task for c in listed} == TEXT_TASKS
    for choice in listed:
        assert choice.file_bytes == 4 * choice.parameters
        assert (choice.here is None) == (not choice.name.startswith("package:"))


def test_a_figure_is_shown_for_its_task_alone():
    of_bert = {c.task: (c.metric, c.value, c.source) for c in choices() if c.name == "bert-base-uncased"}
    assert of_bert["text-classification"] == ("SST-2 test accuracy", 93.5, "arXiv:1810.04805")
    assert of_bert["masked-lm"] == of_bert["token-classification"] == ("", None, "")


def test_a_model_is_found_by_its_name():
    assert text_model("t5-base").parameters == 222_903_552
    assert text_model("t5-huge") is None
    assert len({model.name for model in TEXT_MODELS}) == len(TEXT_MODELS)


@pytest.mark.parametrize("model", TEXT_MODELS, ids=lambda model: model.name)
def test_a_configuration_is_of_a_type_that_transformers_knows(model):
    config = AutoConfig.for_model(**model.config)
    assert bool(config.is_encoder_decoder) == (model.tasks == ("translation",))
    ignored = set(model.config) - set(config.to_dict())
    assert not ignored


def test_every_text_task_has_a_pattern_from_a_hub_and_one_from_scratch():
    told = list(families())
    for task in TEXT_TASKS:
        assert [family.pattern for family in told if task in family.tasks] == [
            "OWNER/NAME",
            "package:NAME",
            "new:TYPE",
        ]
    (translation,) = [f for f in told if f.tasks == ("translation",)]
    assert "new:marian" in translation.example
