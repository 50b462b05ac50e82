"""A run's config is read for its values without what could make it endless."""

import pytest

from ptm.config.load import dump_config, load_config
from ptm.config.plain_yaml import read_plain
from ptm.report.page import write_report
from ptm.run.saved_config import config_changes

BOMB = "a: &a {k: v}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join(['*' + chr(97 + i)] * 9)}]}}\n" for i in range(9)
)


def test_what_ptm_writes_is_read(finished_run):
    text = (finished_run / "config.yaml").read_text()
    content = read_plain(text)
    assert content["task"] == "image-classification" and content["train"]["epochs"] == 1
    assert read_plain(dump_config(load_config(finished_run / "config.yaml"))) == content


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", [BOMB, "[" * 100_000, "a: &a [*a]\n", "a: &a 1\nb: *a\n", "a: " + "x" * (1 << 21)]
)
def test_15_17_a_bomb_is_no_config(finished, text):
    """Nine maps that are merged nine times each are 387 million pairs; a received run may hold them."""
    with pytest.raises(ValueError):
        read_plain(text)
    (finished / "config.yaml").write_text(text)
    write_report(finished)
    assert "config.yaml is not YAML" in (finished / "report.html").read_text()
    assert config_changes(finished / "config.yaml", "task: a\n")
