"""LoRA: what it changes, what it is worth in numbers, and that it is saved in every way that is promised."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from helpers import (
    Saying,
    StopAt,
    evaluation,
    fetches_nothing,
    image_spec,
    last_state,
    run,
    text_spec,
    weights,
)
from ptm.config.load import parse_config
from ptm.config.spec import AdapterSpec, DistillSpec, TeacherSpec
from ptm.errors import ConfigError, Interrupted, MissingDownload, ModelError
from ptm.experiment.train import run_training
from ptm.models import adapters
from ptm.vision.resnet_cifar import ResNetCifar

LORA = AdapterSpec(rank=4, alpha=12.0)


@pytest.fixture
def bert(tiny_bert):
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()


@pytest.fixture(scope="session")
def resnet(tmp_path_factory):
    """A file of weights of the narrow residual network that ``image_spec`` trains, for ten classes."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("resnet") / "resnet8.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(ResNetCifar(8, 10, 4).state_dict(), path)
    return path


@pytest.fixture
def text(tiny_bert, reviews, tmp_path):
    def make(output="r", adapter=LORA, **changes):
        changes = {"epochs": 1, "learning_rate": 1e-2, **changes}
        return text_spec(tiny_bert, reviews, tmp_path / output, adapter=adapter, **changes)

    return make


@pytest.fixture
def image(resnet, tmp_path):
    def make(output="r", adapter=LORA, **changes):
        changes = {"epochs": 1, "weights": str(resnet), **changes}
        return image_spec(tmp_path / output, adapter=adapter, **changes)

    return make


def some_tokens():
    return {"input_ids": torch.tensor([[2, 8, 9, 3], [2, 6, 5, 3]])}


def fill(model):
    """Numbers in every B, which is zero at first."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)


# -- in the model ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_stands_where_the_paper_put_it_and_changes_nothing_at_first(bert):
    before = bert(**some_tokens()).logits
    names = adapters.add_adapter(bert, LORA, ("classifier.",), seed=3)
    assert names == tuple(
        f"bert.encoder.layer.{k}.attention.self.{part}" for k in (0, 1) for part in ("query", "value")
    )
    assert torch.equal(bert(**some_tokens()).logits, before)


@pytest.mark.slow
def test_the_adapter_and_the_head_are_trained_and_nothing_else(bert):
    adapters.add_adapter(bert, LORA, ("classifier.",), seed=3)
    trained = {n for n, p in bert.named_parameters() if p.requires_grad}
    assert {n for n in trained if ".lora_" not in n} == {"classifier.weight", "classifier.bias"}
    # rank x (width in + width out) for each of four matrices 32 wide, and the head
    assert sum(p.numel() for p in bert.parameters() if p.requires_grad) == 4 * 4 * (32 + 32) + 32 * 2 + 2


@pytest.mark.slow
def test_rank_and_alpha_mean_what_the_paper_says(bert):
    """h = W x + (alpha / rank) B A x."""
    query = bert.bert.encoder.layer[0].attention.self.query
    weight = query.weight.detach().clone()
    adapters.add_adapter(bert, LORA, ("classifier.",), seed=3)
    fill(bert)
    wrapped = bert.bert.encoder.layer[0].attention.self.query
    a, b = wrapped.lora_A["default"].weight, wrapped.lora_B["default"].weight
    assert (a.shape, b.shape) == ((4, 32), (32, 4))
    x = torch.randn(3, 32)
    by_hand = x @ weight.T + query.bias + (12 / 4) * (x @ a.T) @ b.T
    torch.testing.assert_close(wrapped(x), by_hand)
    adapters.take_out(bert, merge=True)
    torch.testing.assert_close(bert.bert.encoder.layer[0].attention.self.query.weight, weight + 3 * b @ a)


def test_new_matrices_are_a_function_of_the_seed_and_leave_other_randomness_alone(tiny_bert):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(5)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_bert)
        torch.manual_seed(7)
        adapters.add_adapter(model, LORA, ("classifier.",), seed=seed)
        states.append({n: p for n, p in model.named_parameters() if "lora_A" in n})
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(7))
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not any(torch.equal(states[0][n], states[2][n]) for n in states[0])


@pytest.mark.parametrize("kind", ["bert", "gpt2", "resnet"])
def test_merged_it_computes_the_same(kind, tiny_bert, tiny_gpt2):
    if kind == "resnet":
        model, head, inputs = ResNetCifar(8, 3, 4).eval(), ("linear",), [torch.rand(2, 3, 16, 16)]
        names = {n for n, _ in model.named_modules()}
        call = lambda: model(*inputs)  # noqa: E731
    else:
        folder, head = (tiny_bert, ("classifier.",)) if kind == "bert" else (tiny_gpt2, ("score.",))
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        model.config.pad_token_id = 0
        names = {n for n, _ in model.named_modules()}
        call = lambda: model(**some_tokens()).logits  # noqa: E731
    adapters.add_adapter(model, LORA, head, seed=3)
    before = call()
    fill(model)
    unmerged = call()
    adapters.take_out(model, merge=True)
    assert not torch.allclose(unmerged, before)
    torch.testing.assert_close(call(), unmerged, rtol=1e-5, atol=1e-5)
    assert {n for n, _ in model.named_modules()} == names
    assert not adapters.has_adapter(model)


def test_without_merging_the_weights_are_those_that_were_loaded(bert):
    before = {n: t.clone() for n, t in bert.state_dict().items()}
    adapters.add_adapter(bert, LORA, ("classifier.",), seed=3)
    fill(bert)
    adapters.take_out(bert, merge=False)
    after = bert.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_projections_of_an_architecture_that_peft_does_not_know(tiny_distilbert, monkeypatch):
    import peft.utils

    monkeypatch.delitem(
        peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING, "distilbert", raising=False
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_distilbert)
    names = adapters.target_names(model, None, ("pre_classifier.", "classifier."))
    assert [name.rpartition(".")[2] for name in names] == ["q_lin", "v_lin"] * 2


def test_of_networks_of_images_every_convolution_and_linear_layer_but_the_head():
    names = adapters.target_names(ResNetCifar(8, 3, 4), None, ("linear",))
    assert names == ("conv1", *(f"layer{s}.0.conv{c}" for s in (1, 2, 3) for c in (1, 2)))


def test_targets_are_ends_of_names_and_never_the_head(tiny_roberta):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_roberta)
    names = adapters.target_names(model, ("dense",), ("classifier.",))
    assert len(names) == 2 * 3  # output of attention, and both of the feed-forward part, of two layers
    assert "classifier.dense" in dict(model.named_modules())


def test_what_peft_cannot_serve_is_left_out_or_refused():
    from torchvision import models as zoo

    with torch.device("meta"):
        mobile, vit = zoo.mobilenet_v3_small(), zoo.vit_b_16()
    chosen = adapters.target_names(mobile, None, ("classifier.3",))
    assert all(mobile.get_submodule(name).groups == 1 for name in chosen if "classifier" not in name)
    assert not any("self_attention" in name for name in adapters.target_names(vit, None, ("heads.head",)))
    with pytest.raises(ConfigError, match=r"self_attention\.out_proj cannot have an adapter"):
        adapters.target_names(vit, ("out_proj",), ("heads.head",))


def test_targets_that_match_nothing_are_refused_with_names_that_would(bert):
    with pytest.raises(ConfigError, match=r"no linear layer or convolution ends in q_proj") as caught:
        adapters.add_adapter(bert, AdapterSpec(targets=("q_proj",)), ("classifier.",), seed=1)
    assert "query" in caught.value.problems[0].expected


# -- through runs ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_says_and_records_what_is_trained(text, tmp_path):
    said = Saying()
    results = run_training(text(), mode="new", reporter=said).as_dict()
    trained = 4 * 4 * (32 + 32) + 32 * 2 + 2
    assert results["model"]["trainable_parameters"] == trained
    assert any(line.startswith(f"trained: {trained:,} of ") for line in said.lines)
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["packages"]["peft"]


@pytest.mark.slow
def test_the_record_of_the_starting_weights_is_that_of_a_run_without(text, tmp_path):
    run(text())
    run(text("plain", adapter=None))
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("r", "plain")]
    assert manifests[0]["digests"]["weights"] == manifests[1]["digests"]["weights"]
    assert manifests[0]["loaded"] == manifests[1]["loaded"]


@pytest.mark.slow
def test_a_checkpoint_holds_what_is_trained(text, tmp_path):
    run(text())
    newest = max((tmp_path / "r" / "checkpoints").glob("step-*"))
    names = set(load_file(newest / "model.safetensors"))
    assert {n for n in names if ".lora_" not in n} == {"classifier.weight", "classifier.bias"}
    assert len(names) == 4 * 2 + 2


@pytest.mark.slow
def test_the_best_of_several_checkpoints_is_what_is_saved(text, tmp_path):
    """Restoring reads only what a checkpoint holds, and puts it beside the weights that were loaded."""
    spec = text(epochs=4)
    assert spec.best is not None
    # As the model learns its loss falls, so that the largest one, which is asked for, comes first.
    results = run(replace(spec, best=replace(spec.best, metric="loss", mode="max")))
    assert results["best"]["step"] < results["train"]["steps"]
    assert results["metrics"]["loss"] == results["best"]["value"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_stopped_and_resumed_equals_uninterrupted(kind, request, tmp_path):
    make = request.getfixturevalue(kind)
    changes = {"epochs": 2, "adapter": AdapterSpec(rank=2, dropout=0.2)}
    run(make("whole", **changes))
    with pytest.raises(Interrupted):
        run(make("parts", **changes), reporter=StopAt(3))
    run(make("parts", **changes), mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_saved_apart_it_is_evaluated_to_the_same_numbers(kind, request, tmp_path):
    make = request.getfixturevalue(kind)
    apart = run(make(adapter=AdapterSpec(rank=4, merge=False)))
    merged = run(make("merged", adapter=AdapterSpec(rank=4)))
    assert apart["metrics"] == pytest.approx(merged["metrics"], abs=1e-5)
    again = evaluation(tmp_path / "r")
    assert again["metrics"] == pytest.approx(apart["metrics"], abs=1e-5)


@pytest.mark.slow
def test_saved_apart_the_weights_are_those_that_were_loaded_without_the_head(
    text, image, tiny_bert, resnet, tmp_path
):
    run(text(adapter=AdapterSpec(merge=False)))
    run(image("i", adapter=AdapterSpec(merge=False)))
    loaded = load_file(tiny_bert / "model.safetensors")
    saved = load_file(tmp_path / "r" / "model" / "model.safetensors")
    assert {name.removeprefix("bert.") for name in saved} == set(loaded)
    assert all(torch.equal(saved[f"bert.{name}"], tensor) for name, tensor in loaded.items())
    loaded, saved = load_file(resnet), load_file(tmp_path / "i" / "model" / "model.safetensors")
    assert set(saved) == {name for name in loaded if not name.startswith("linear")}
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


@pytest.mark.slow
def test_a_stranger_loads_what_was_saved_apart(text, tiny_bert, tmp_path):
    """transformers reads the directory; peft puts the adapter onto the same weights from elsewhere."""
    from peft import PeftModel

    run(text(adapter=AdapterSpec(rank=4, merge=False)))
    run(text("merged", adapter=AdapterSpec(rank=4)))
    auto = transformers.AutoModelForSequenceClassification
    models = [
        auto.from_pretrained(tmp_path / "merged" / "model"),
        auto.from_pretrained(tmp_path / "r" / "model"),
        PeftModel.from_pretrained(auto.from_pretrained(tiny_bert), tmp_path / "r" / "model"),
    ]
    merged, *others = (model.eval()(**some_tokens()).logits for model in models)
    for logits in others:
        torch.testing.assert_close(logits, merged, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_saved_apart_it_teaches_and_is_trained_on(kind, request, tmp_path):
    make = request.getfixturevalue(kind)
    run(make("teacher", adapter=AdapterSpec(rank=4, merge=False)))
    teacher = str(tmp_path / "teacher")
    taught = run(
        make("student", teacher=TeacherSpec(name=teacher), distill=DistillSpec(audit="off", store="off"))
    )
    metrics = evaluation(tmp_path / "teacher")["metrics"]
    assert taught["teacher"]["metrics"] == pytest.approx(metrics, abs=1e-6)
    on = run(make("on", adapter=None, name=teacher, weights="default", width=None))
    assert on["model"]["trainable_parameters"] == on["model"]["parameters"]


@pytest.mark.slow
def test_a_student_with_an_adapter_learns_from_the_inside_of_its_teacher(text, tmp_path):
    run(text("teacher", adapter=None))
    distill = DistillSpec(features="minilm", relation_heads=4, audit="off", store="off")
    spec = text(
        teacher=TeacherSpec(name=str(tmp_path / "teacher")), distill=distill, adapter=AdapterSpec(merge=False)
    )
    assert run(spec)["metrics"]
    matrices = load_file(tmp_path / "r" / "model" / "adapter_model.safetensors")
    assert all(bool(matrix.any()) for name, matrix in matrices.items() if "lora_B" in name)


@pytest.mark.slow
def test_an_adapter_that_does_not_fit_or_cannot_be_read_is_one_message(image, tmp_path):
    run(image(adapter=AdapterSpec(merge=False)))
    model = tmp_path / "r" / "model"
    net = ResNetCifar(8, 10, 8)
    with pytest.raises(ModelError, match="does not fit the model"):
        adapters.merge_saved(net, model)
    for content in ("{", '{"peft_type": "IA3"}', "[]", "{}"):
        (model / "adapter_config.json").write_text(content)
        with pytest.raises(ModelError, match="cannot be read"):
            adapters.merge_saved(net, model)


@pytest.mark.slow
def test_without_peft_it_is_said_how_to_get_it(text, tmp_path, monkeypatch):
    run(text("apart", adapter=AdapterSpec(merge=False)))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a)
    )
    with pytest.raises(MissingDownload, match=r"pip install 'peft>="):
        run(text())
    assert not (tmp_path / "r").exists()
    with pytest.raises(MissingDownload, match=r"pip install 'peft>="):
        evaluation(tmp_path / "apart")


CONFIG = """\
version: 1
task: {task}
model: {{{model}, adapter: {{{adapter}}}}}
data: {{source: "{source}", train: train, eval: val}}
train: {{epochs: 3, learning_rate: 1.0e-3}}
output: r
"""


@pytest.mark.parametrize(
    ("task", "model", "adapter", "named"),
    [
        ("image-classification", "name: resnet8, weights: none", "rank: 2", "these are random"),
        (
            "image-classification",
            "name: resnet18, freeze: backbone",
            "rank: 2",
            "an adapter freezes the model",
        ),
        ("semantic-segmentation", "name: fcn_resnet50", "merge: false", "an adapter is saved apart for"),
    ],
)
def test_what_does_not_go_with_it_is_refused_by_name(task, model, adapter, named):
    source = "masks:x" if task == "semantic-segmentation" else "imagefolder:x"
    with pytest.raises(ConfigError, match=named):
        parse_config(
            CONFIG.format(task=task, model=model, adapter=adapter, source=source),
            "run.yaml",
            base=Path(),
            cwd=Path(),
        )


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="peft imports it where it is there"
)
def test_15_07_no_program_is_fetched_for_an_adapter(tmp_path):
    """Where the packages bitsandbytes and ``kernels`` are installed, a program was fetched from a hub, and run."""
    code = (
        "from ptm.models.adapters import _config, _inject\nfrom ptm.config.spec import AdapterSpec\nimport torch\n"
        "model = torch.nn.Sequential(torch.nn.Linear(3, 3))\n_inject(model, _config(AdapterSpec(), ['0']))\n"
    )
    assert fetches_nothing(code, tmp_path)
