"""Paths of configs: relative to the file, those of the command line and the output to the working directory."""

from pathlib import Path

import pytest

from config_texts import IMAGE, TEXT, changed, parse
from ptm.config.load import load_config


def test_paths_in_a_file_are_relative_to_it_and_output_to_the_working_directory():
    spec = parse(IMAGE, base=Path("/base/configs"))
    assert spec.data.source == "imagefolder:/base/configs/flowers"
    assert spec.teacher.name == "/base/runs/big"
    assert spec.output == str(Path("~/runs/b").expanduser())
    assert parse(TEXT).output == "/cwd/runs/a"


def test_paths_in_overrides_are_relative_to_the_working_directory():
    spec = parse(IMAGE, "data.source=csv:x", "teacher.name=./t", "model.weights=w/x", "output=o")
    assert spec.data.source == "csv:/cwd/x"
    assert (spec.teacher.name, spec.model.weights, spec.output) == ("/cwd/t", "/cwd/w/x", "/cwd/o")
    assert parse(IMAGE, "teacher={name: ../t}").teacher.name == "/t"


@pytest.mark.parametrize("source", ["hub:nyu-mll/glue/sst2", "builtin:digits"])
def test_sources_without_a_path_stay(source):
    text = changed("data:", f"data: {{source: {source}, train: train, eval: test}}", IMAGE)
    assert parse(text).data.source == source


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "parquet", "imagefolder"])
def test_sources_with_a_path(kind):
    assert parse(changed("data:", f"data: {{source: {kind}:a/../b}}", IMAGE)).data.source == f"{kind}:/base/b"
    assert parse(changed("data:", f"data: {{source: {kind}:/a}}", IMAGE)).data.source == f"{kind}:/a"
    assert parse(changed("data:", f'data: {{source: "{kind}: a"}}', IMAGE)).data.source == f"{kind}:/base/a"


def test_a_model_name_is_a_path_when_it_looks_like_one_or_exists(tmp_path):
    (tmp_path / "org" / "model").mkdir(parents=True)
    (tmp_path / "plain").mkdir()

    def name(written: str) -> str:
        return parse(changed("model:", f"model: {{name: {written}}}"), base=tmp_path).model.name

    for untouched in ("bert-base-uncased", "other/model", "plain", "package:org/model", "timm:org/model"):
        assert name(untouched) == untouched
    assert name("org/model") == str(tmp_path / "org" / "model")
    assert name("./x") == str(tmp_path / "x")
    assert name("../x") == str(tmp_path.parent / "x")
    assert name('"~/x"') == str(Path("~/x").expanduser())
    assert name("/x") == "/x"
    assert name("'~nobody-of-that-name/x'") == str(tmp_path / "~nobody-of-that-name/x")
    assert name("a/" + "x" * 5000) == "a/" + "x" * 5000


@pytest.mark.parametrize("written", ["w.safetensors", "w.pth", "w.th", "w.PT", "w.bin", "a/w"])
def test_weights_that_are_files(written):
    assert (
        parse(changed("model:", f"model: {{name: resnet18, weights: {written}}}")).model.weights
        == f"/base/{written}"
    )


@pytest.mark.parametrize("written", ["default", "none", "IMAGENET1K_V2"])
def test_weights_that_are_names(written):
    assert parse(changed("model:", f"model: {{name: resnet18, weights: {written}}}")).model.weights == written


def test_dots_behind_a_symbolic_link_lead_where_the_system_says(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    (tmp_path / "link" / "c.yaml").write_text(IMAGE)
    spec = load_config("link/c.yaml", cwd=tmp_path)
    assert spec.teacher.name == str((tmp_path / "real").resolve() / "runs" / "big")
    assert spec.data.source == f"imagefolder:{tmp_path}/link/flowers"
