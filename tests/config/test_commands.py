"""Which command a config is for."""

import pytest

from helpers import image_spec, text_spec
from ptm.config.commands import require_command
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import ConfigError


def test_each_command_takes_its_configs_and_names_the_right_one_for_others(tmp_path):
    plain = image_spec(tmp_path / "r")
    student = image_spec(tmp_path / "r", teacher=TeacherSpec(name="x"), distill=DistillSpec())
    require_command("finetune", plain, "a.yaml")
    require_command("distill", student, "a.yaml")
    for command, spec, cure in (
        ("distill", plain, "ptm finetune"),
        ("finetune", student, "ptm distill"),
        ("pretrain", plain, "ptm finetune"),
        ("pretrain", text_spec(tmp_path, tmp_path, tmp_path / "r"), "ptm finetune"),
    ):
        with pytest.raises(ConfigError) as caught:
            require_command(command, spec, "a.yaml")
        assert caught.value.problems[0].where == "a.yaml"
        assert cure in caught.value.problems[0].cure
