"""Defaults are in the spec, whoever builds it; what an earlier ptm wrote in their place still means the same."""

import json
from dataclasses import replace

import pytest
import yaml

from helpers import StopAt, image_spec, last_state, run, weights
from ptm.config.load import dump_config, load_config
from ptm.config.spec import TeacherSpec
from ptm.errors import Interrupted, RunDirectoryError
from ptm.run.directory import RunDirectory


def as_written_before(spec) -> str:
    """The config.yaml of a version in which these defaults were null."""
    content = yaml.safe_load(dump_config(spec))
    content["train"]["eval_batch_size"] = content["data"]["augment"] = None
    return yaml.safe_dump(content, sort_keys=False)


def test_null_is_the_default(tmp_path):
    spec = image_spec(tmp_path / "r", augment="none")
    (tmp_path / "old.yaml").write_text(as_written_before(spec))
    assert load_config(tmp_path / "old.yaml") == spec
    (tmp_path / "new.yaml").write_text(dump_config(spec))
    assert load_config(tmp_path / "new.yaml") == spec


def test_a_distillation_without_a_distill_section_is_the_same_in_an_old_config(tmp_path):
    spec = replace(image_spec(tmp_path / "r", augment="none"), teacher=TeacherSpec(name="resnet56"))
    (tmp_path / "old.yaml").write_text(as_written_before(spec))
    assert load_config(tmp_path / "old.yaml", ["distill=null"]) == spec


@pytest.mark.slow
def test_a_run_that_an_earlier_version_began_is_resumed_to_the_same_bits(tmp_path):
    changes = {"augment": "none", "epochs": None, "steps": 6, "save_every_steps": 2}
    whole, parts = image_spec(tmp_path / "whole", **changes), image_spec(tmp_path / "parts", **changes)
    run(whole)
    with pytest.raises(Interrupted):
        run(parts, reporter=StopAt(3))
    RunDirectory(tmp_path / "parts").config.write_text(as_written_before(parts))
    with pytest.raises(RunDirectoryError, match="steps"):
        run(replace(parts, train=replace(parts.train, steps=7)), mode="resume")
    results = run(parts, mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert results["drift"] == []
    json.dumps(results)
