"""Where text models come from: places, and what is said of those that are none."""

import json
import shutil
from pathlib import Path

import pytest

from ptm.config.model_ref import ModelRef
from ptm.errors import MissingDownload, ModelError
from ptm.text import origins


def test_places_of_models(tiny_bert, tmp_path, monkeypatch):
    assert origins.locate(str(tiny_bert)) == (str(tiny_bert), True)
    shutil.copytree(tiny_bert, tmp_path / "run" / "model")
    assert origins.locate(str(tmp_path / "run")) == (str(tmp_path / "run" / "model"), True)
    assert origins.locate("someone/model") == ("someone/model", False)
    package = tmp_path / "carrier"
    shutil.copytree(tiny_bert, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert origins.locate("package:carrier/model") == (str(package / "model"), True)
    assert origins.missing(ModelRef(name="package:carrier/model")) == []


def test_places_without_a_model(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ModelError, match="no model there"):
        origins.locate(str(tmp_path / "run"))
    with pytest.raises(ModelError, match="there is no such directory"):
        origins.locate(str(tmp_path / "x"))
    with pytest.raises(ModelError, match="no model on the hub can have this name"):
        origins.locate("runs/my/bert")
    for name in ("package:no_such_package/model", "package:../x", "package:"):
        with pytest.raises(MissingDownload, match="is not installed"):
            origins.locate(name)
    (problem,) = origins.missing(ModelRef(name="package:no_such_package/model"))
    assert problem.cure == "pip install no-such-package"


def test_a_teacher_that_is_not_there_is_called_one(monkeypatch):
    with pytest.raises(ModelError, match=r"^teacher 'runs/my/bert': there is no such folder") as caught:
        origins.missing(ModelRef(role="teacher", name="runs/my/bert"))
    assert caught.value.problems[0].cure.endswith("and to the working directory in --set")
    monkeypatch.setattr(origins.hub, "reachable", lambda: False)
    (problem,) = origins.missing(ModelRef(role="teacher", name="some/bert"))
    assert problem.where == "teacher 'some/bert'"
    assert "--set teacher.name=" in problem.cure
    with pytest.raises(ModelError, match=r"^model 'runs/my/bert'"):
        origins.missing(ModelRef(name="runs/my/bert"))


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("num_hidden_layers", 10**7, "num_hidden_layers: 10000000"),
        ("num_labels", 10**9, "num_labels: 1000000000"),
        ("vocab_size", 10**12, "vocab_size: 1000000000000"),
        ("_attn_implementation", "stranger/kernel", "names code for its attention: 'stranger/kernel'"),
        ("attn_implementation", "stranger/kernel", "names code for its attention"),
        ("attn_implementation", {"": "stranger/kernel"}, "names code for its attention"),
        ("experts_implementation", "sonicmoe", "names code for its experts: 'sonicmoe'"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_15_17_a_config_that_no_model_has_is_refused_at_once(tiny_bert, tmp_path, key, value, what, complete):
    """A library would build layers, or names of labels, for hours, or fetch code."""
    folder = shutil.copytree(tiny_bert, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    ref = ModelRef(name=str(folder), role="teacher" if complete else "model")
    with pytest.raises(ModelError) as caught:
        origins.find_origin(ref, None)
    assert what in caught.value.problems[0].what and str(folder) in str(caught.value)


@pytest.mark.parametrize("value", ["x", None, [], {"a": 1}])
def test_15_17_a_length_that_is_no_number_is_a_message(tiny_bert, tmp_path, value):
    folder = shutil.copytree(tiny_bert, tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": value}))
    try:
        origin = origins.find_origin(ModelRef(name=str(folder)), None)
    except ModelError as error:
        assert "model_max_length" in str(error) or "cannot be loaded" in str(error)
    else:
        assert origin.tokenizer.model_max_length > 0


def test_15_17_how_a_model_is_called_is_not_for_its_files_to_say(tiny_bert, tmp_path):
    copy = shutil.copytree(tiny_bert, tmp_path / "model")
    content = json.loads((copy / "config.json").read_text())
    content |= {"return_dict": False, "output_hidden_states": True, "chunk_size_feed_forward": 7}
    (copy / "config.json").write_text(json.dumps(content))
    config = origins.find_origin(ModelRef(name=str(copy)), None).config
    assert config.return_dict and not config.output_hidden_states and config.chunk_size_feed_forward == 0


@pytest.mark.parametrize("number", [2, 3, 4])
def test_15_02_attention_that_is_not_installed_is_not_fetched(tiny_bert, tmp_path, number):
    """transformers takes a kernel of the hub in its place, where the package for such is there."""
    copy = shutil.copytree(tiny_bert, tmp_path / "model")
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(
        json.dumps({**content, "attn_implementation": f"flash_attention_{number}"})
    )
    assert origins.find_origin(ModelRef(name=str(copy)), None).config._attn_implementation is None


@pytest.mark.parametrize(
    "named", ["stranger/kernel", {"": "stranger/kernel", "text_config": "stranger/kernel"}]
)
def test_15_02_a_config_of_a_hub_or_one_in_it_names_no_code(named):
    from transformers import BertConfig, EncoderDecoderConfig

    config = BertConfig(attn_implementation=named)
    pair = EncoderDecoderConfig.from_encoder_decoder_configs(BertConfig(), config)
    pair.decoder._attn_implementation = "stranger/kernel"
    for each in (config, pair):
        with pytest.raises(ModelError, match="names code for its attention: 'stranger/kernel'"):
            origins._require_no_code(each, "me/x")


@pytest.mark.parametrize(
    "change",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"rank_pattern": {".*": 10**8}},
        {"r": 10**9},
        {"r": "4"},
        {"r": True},
        {"rank_pattern": [4]},
    ],
)
def test_15_02_an_adapter_that_came_with_a_model_names_no_code_and_fits_into_memory(tmp_path, change):
    (tmp_path / "config.json").write_text("{}")
    content = {"peft_type": "LORA", "r": 4, "megatron_config": None, "megatron_core": "megatron.core"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    assert origins.locate(str(tmp_path)) == (str(tmp_path), True)
    (tmp_path / "adapter_config.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        origins.locate(str(tmp_path))


@pytest.mark.parametrize(
    ("part", "replace", "wrapped"),
    [
        ("normalizer", {"String": "o"}, "normalizers"),
        ("normalizer", {"Regex": "o"}, "normalizers"),
        ("normalizer", {"String": ""}, "normalizers"),
        ("decoder", {"String": "o"}, "decoders"),
    ],
)
def test_15_15_a_tokenizer_that_lets_texts_grow_without_bound_is_refused(
    tiny_bert, tmp_path, part, replace, wrapped
):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "m"))
    names = json.loads((folder / "tokenizer_config.json").read_text())
    own = names | {"tokenizer_class": "PreTrainedTokenizerFast"}  # others make their normalizer themselves
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    content = json.loads((folder / "tokenizer.json").read_text())
    step = {"type": "Replace", "pattern": replace, "content": "oo"}
    for count, refused in ((2, False), (40, True)):
        inner = {"type": "Sequence", wrapped: [step] * (count // 2)}
        content[part] = {"type": "Sequence", wrapped: [inner, inner]}
        (folder / "tokenizer.json").write_text(json.dumps(content))
        if refused:
            with pytest.raises(ModelError, match=f"the {part} of its tokenizer makes more than 1,000"):
                origins.load_tokenizer(str(folder), {})
        else:
            origins.load_tokenizer(str(folder), {})


def test_weights_that_are_a_folder_or_a_link_to_nothing_are_called_so(tiny_bert, tmp_path):
    """transformers says that there are none."""
    model = shutil.copytree(tiny_bert, tmp_path / "m")
    weights = model / "model.safetensors"
    weights.unlink()
    weights.mkdir()
    with pytest.raises(ModelError, match=r"model\.safetensors: this is a folder, not a file"):
        origins.find_origin(ModelRef(name=str(model)), None)
    weights.rmdir()
    weights.symlink_to("/nowhere/x")
    with pytest.raises(ModelError, match="is a link to /nowhere/x, which is not there"):
        origins.find_origin(ModelRef(name=str(model)), None)
    origins.find_origin(ModelRef(name=str(model), weights="none"), None)  # which needs none
