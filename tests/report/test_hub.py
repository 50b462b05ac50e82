"""Cards for a hub: their metadata, and no path of this machine."""

import yaml

from ptm.report.hub import Published, hub_model, metadata, private_paths, public


def test_14_06_only_paths_that_are_here_are_paths(tmp_path):
    here = tmp_path / "data"
    here.mkdir()
    assert list(private_paths(f'"csv:{here}/a.csv" /m/0x1 https://huggingface.co/x 3 and/or 4 / 5')) == [
        f"{here}/a.csv"
    ]
    assert public(f"`tsv:{here}`, `/m/0x1`") == "`tsv:data`, `/m/0x1`"


def test_14_06_metadata_name_the_base_model_the_data_and_the_metrics():
    config = {"task": "masked-lm", "model": {"name": "google/bert", "weights": "default"}}
    assert hub_model(config) == "google/bert"
    assert hub_model(config | {"model": {"name": "package:a/b"}}) is None
    assert hub_model(config | {"model": {"name": "google/bert", "weights": "none"}}) is None
    model = Published(
        name="me/x",
        task="masked-lm",
        licence="mit",
        base="google/bert",
        source="hub:glue/sst2",
        split="validation",
        metrics={"perplexity": 3.5},
    )
    head = yaml.safe_load(metadata(model).split("---\n")[1])
    assert (head["license"], head["base_model"], head["pipeline_tag"]) == ("mit", "google/bert", "fill-mask")
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "perplexity", "value": 3.5}]
    assert result["dataset"]["type"] == "glue/sst2" and result["dataset"]["split"] == "validation"
