"""Translation: what the loss is a sum of, what is written and how it is scored, which models serve."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers import run
from ptm.config.model_ref import ModelRef
from ptm.config.spec import DataSpec, GenerateSpec, ModelSpec, RunSpec, RuntimeSpec, ShapeSpec, TrainSpec
from ptm.data.examples import Examples
from ptm.errors import ConfigError, DataError, MissingDownload, ModelError
from ptm.metrics.translation import signatures
from ptm.text import seq2seq, translation
from ptm.training import order
from tiny.samples import save_base, save_bert_tokenizer, train_bpe, write_csv
from tiny.translation import pairs

NEW = {
    "name": "new:marian",
    "tokenizer": "train",
    "vocabulary": 300,
    "shape": ShapeSpec(layers=1, width=16, heads=2, positions=48, dropout=0.1),
}


@pytest.fixture(scope="module")
def phrases(tmp_path_factory):
    """``train.csv`` with 40 pairs, ``eval.csv`` with 10; columns ``text`` and ``target_text``."""
    folder = tmp_path_factory.mktemp("phrases")
    write_csv(folder / "train.csv", pairs(40, 1), header=("text", "target_text"))
    write_csv(folder / "eval.csv", pairs(10, 2), header=("text", "target_text"))
    return folder


@pytest.fixture
def make(phrases, tmp_path):
    def spec(model=None, *, data=None, train=None, **top):
        return RunSpec(
            version=1,
            task="translation",
            model=ModelSpec(**(model or NEW)),
            data=DataSpec(source=f"csv:{phrases}", train="train.csv", eval="eval.csv", **(data or {})),
            train=TrainSpec(steps=4, batch_size=8, learning_rate=1e-3, **(train or {})),
            runtime=RuntimeSpec(device="cpu", threads=1),
            output=str(tmp_path / "run"),
            **top,
        )

    return spec


def build(spec, *, complete=False, model=None):
    data = translation.load_data(spec)
    return translation.build(spec, data, model=model or spec.model.ref(), complete=complete)


def batch_of(pipeline, ids, split="train"):
    (batch,) = pipeline.batches(split, [np.array(ids)], 0)
    return batch


# -- the loss ------------------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_over_target_tokens_of_pairs_computed_one_by_one(make):
    pipeline = build(make())
    pipeline.model.eval()
    ids = [3, 0, 7, 5]
    with torch.no_grad():
        output = pipeline.forward(pipeline.model, batch_of(pipeline, ids))
        expected, count = 0.0, 0
        for index in ids:
            tokenizer, columns = pipeline._loaded.tokenizer, pipeline._data.train.columns
            source = tokenizer(columns["text"][index], return_tensors="pt")
            labels = tokenizer(columns["target_text"][index], return_tensors="pt")["input_ids"]
            answer = pipeline.model(
                **source, labels=labels
            )  # a mean over the tokens, shifted by the model itself
            expected += float(answer.loss) * labels.shape[1]
            count += labels.shape[1]
    assert output.count == count
    assert float(output.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert output.logits.shape == (count, len(tokenizer))
    assert output.targets.shape == (count,)
    again = F.cross_entropy(output.logits, output.targets, reduction="sum")
    assert float(again) == pytest.approx(expected, rel=1e-5)


def test_padding_is_no_target_and_is_not_projected(make):
    pipeline = build(make())
    batch = batch_of(pipeline, list(range(8)))
    lengths = pipeline._encodings["train"].target.lengths[:8]
    assert lengths.min() < lengths.max()
    assert batch.inputs["decoder_input_ids"].shape == (8, lengths.max())
    assert len(batch.targets) == batch.inputs["counts"].sum() == lengths.sum()
    assert pipeline._loaded.pad not in batch.targets
    assert (batch.inputs["decoder_input_ids"][:, 0] == pipeline._loaded.start).all()
    seen = []
    layer = pipeline.model.get_output_embeddings()
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    pipeline.forward(pipeline.model, batch)
    handle.remove()
    assert seen == [(int(lengths.sum()), len(pipeline._loaded.tokenizer))]
    assert not layer._forward_pre_hooks


def test_labels_are_smoothed_in_training_only(make):
    plain, smooth = build(make()), build(make(train={"label_smoothing": 0.2}))
    batch = batch_of(plain, [0, 1, 2])
    losses = {}
    for name, pipeline in (("plain", plain), ("smooth", smooth)):
        for training in (True, False):
            pipeline.model.train(training)
            torch.manual_seed(0)
            with torch.no_grad():
                output = pipeline.forward(pipeline.model, batch)
            losses[name, training] = float(output.loss_sum)
            if name == "smooth" and training:
                logp = output.logits.log_softmax(-1)
                true = -logp.gather(1, batch.targets[:, None]).sum()
                expected = 0.8 * true - 0.2 * logp.mean(-1).sum()
                assert float(output.loss_sum) == pytest.approx(float(expected), rel=1e-5)
    assert losses["plain", False] == losses["smooth", False]
    assert losses["plain", True] != losses["smooth", True]


def test_a_wrapped_model_gives_the_same_without_the_hook(make):
    pipeline = build(make())
    pipeline.model.eval()
    batch = batch_of(pipeline, [0, 1, 2])
    wrapped = torch.nn.Module()
    wrapped.forward = pipeline.model.forward
    with torch.no_grad():
        assert torch.equal(
            pipeline.forward(wrapped, batch).logits, pipeline.forward(pipeline.model, batch).logits
        )


def test_pairs_are_grouped_by_the_longer_side(make):
    pairs = build(make())._encodings["train"]
    expected = [
        max(s, t) for s, t in zip(pairs.source.lengths.tolist(), pairs.target.lengths.tolist(), strict=True)
    ]
    assert pairs.lengths.tolist() == expected


def test_long_texts_are_cut_on_both_sides_and_counted(make):
    whole, short = build(make()), build(make(data={"max_length": 6}))
    for side in ("source", "target"):
        before, after = getattr(whole._encodings["train"], side), getattr(short._encodings["train"], side)
        assert after.lengths.tolist() == np.minimum(before.lengths, 6).tolist()
        facts = short.describe()["train"][side]
        assert facts["cut_to_max_length"] == int((before.lengths > 6).sum()) > 0
        ends = after.ids[after.starts[1:] - 1]
        assert (ends == short._loaded.tokenizer.eos_token_id).all()  # the end is not cut off
    assert short._loaded.tokenizer.backend_tokenizer.truncation is None  # or it would be saved with the model


# -- data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "role"), [(("", "das Buch"), "text"), (("the book", " "), "target_text")])
def test_a_pair_with_an_empty_side_is_refused_with_its_line(make, phrases, tmp_path, row, role):
    shutil.copytree(phrases, tmp_path / "data")
    write_csv(tmp_path / "data" / "eval.csv", [*pairs(3, 2), row], header=("text", "target_text"))
    spec = make()
    spec = replace(spec, data=replace(spec.data, source=f"csv:{tmp_path / 'data'}"))
    with pytest.raises(DataError, match=rf"eval\.csv:5.*(no|the) {role}"):
        translation.load_data(spec)


def test_sources_without_translations_are_translated(make, tmp_path):
    spec = make()
    pipeline = build(spec)
    (tmp_path / "new.txt").write_text("the good film\n\nthe old book\n")
    (inputs,) = translation.read_inputs(spec, [tmp_path / "new.txt"])
    over = pipeline.with_examples(inputs)
    metrics = over.new_metrics()
    for batch in over.batches("eval", order.eval_plan(over.size("eval"), 2, over.lengths("eval")), 0):
        metrics.update(batch, over.evaluate_batch(over.model, batch))
    rows = list(metrics.predictions())
    assert [(row["id"], row["source"]) for row in rows] == [(0, "the good film"), (1, "the old book")]
    assert all(set(row) == {"id", "source", "prediction"} for row in rows)


# -- scores --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_signatures_stand_in_the_record(make):
    spec = make()
    run(spec)
    manifest = json.loads((Path(spec.output) / "manifest.json").read_text())
    assert manifest["data"]["scores"] == signatures()
    for part in ("nrefs:1", "case:mixed", "tok:13a", "smooth:exp", "version:"):
        assert part in signatures()["bleu"]


# -- writing, saving -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_a_stranger_loads_the_model_and_writes_the_same(make, beams):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    spec = make(generate=GenerateSpec(beams=beams, max_length=9, length_penalty=0.6))
    run(spec)
    saved = Path(spec.output) / "model"
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    assert model.generation_config.num_beams == beams
    rows = [json.loads(line) for line in (Path(spec.output) / "predictions.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == [source for source, _ in pairs(10, 2)]
    assert [row["target"] for row in rows] == [target for _, target in pairs(10, 2)]
    for row in rows:
        written = model.generate(**tokenizer(row["source"], return_tensors="pt"))
        assert written.shape[1] <= 1 + 9  # the start is none of them
        assert tokenizer.decode(written[0], skip_special_tokens=True).strip() == row["prediction"]
    assert any(row["prediction"] for row in rows)


@pytest.mark.slow
def test_what_is_written_does_not_depend_on_the_batch(make):
    pipeline = build(make(generate=GenerateSpec(beams=2, max_length=12)))
    pipeline.model.eval()
    with torch.inference_mode():
        together = pipeline.evaluate_batch(pipeline.model, batch_of(pipeline, range(6), "eval")).predictions
        alone = [
            pipeline.evaluate_batch(pipeline.model, batch_of(pipeline, [i], "eval")).predictions[0]
            for i in range(6)
        ]
    assert together == alone


@pytest.mark.slow
def test_an_earlier_run_goes_on(make):
    spec = make()
    run(spec)
    pipeline = build(make({"name": spec.output}))
    assert pipeline.load_report.new == ()
    assert pipeline.load_report.left_over == ()
    assert isinstance(pipeline.with_examples(pipeline._data.eval), translation.Translation)


@pytest.mark.slow
def test_a_file_of_weights_is_loaded_whole_or_not_at_all(make):
    from safetensors.torch import load_file, save_file

    spec = make()
    run(spec)
    file = Path(spec.output) / "model" / "model.safetensors"
    pipeline = build(make({"name": spec.output, "weights": str(file)}), complete=True)
    assert pipeline.load_report.new == ()
    ours, stored = pipeline.model.state_dict(), load_file(file)
    assert all(torch.equal(ours[name], tensor) for name, tensor in stored.items())
    stored.pop("model.encoder.layers.0.fc1.weight")
    broken = Path(f"{spec.output}_broken")  # outside of the run, whose seal would find it first
    shutil.copytree(file.parent, broken, ignore=shutil.ignore_patterns("manifest.json", "model.safetensors"))
    save_file(stored, broken / "broken.safetensors")
    with pytest.raises(ModelError, match=r"fc1\.weight"):
        build(make({"name": spec.output, "weights": str(broken / "broken.safetensors")}))


# -- models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_bart(tmp_path_factory):
    from transformers import BartForConditionalGeneration, RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny_bart")
    tokenizer = RobertaTokenizer(**train_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
    tokenizer.save_pretrained(folder)
    return save_seq2seq(
        folder,
        BartForConditionalGeneration,
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
    )


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory):
    from transformers import T5ForConditionalGeneration

    from ptm.text.scratch import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny_t5")
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    texts = [text for pair in pairs(40, 1) for text in pair]
    tokenizer = train_tokenizer(texts, 300, "bpe", lowercase=False, special=special, append_end=True)
    tokenizer.save_pretrained(folder)
    sizes = {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    }
    return save_seq2seq(folder, T5ForConditionalGeneration, vocab_size=len(tokenizer), **sizes)


def save_seq2seq(folder, kind, **config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(kind.config_class(**config)).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiny_bart", "tiny_t5"])
def test_models_of_a_directory(make, request, kind):
    spec = make({"name": str(request.getfixturevalue(kind))}, generate=GenerateSpec(beams=2, max_length=10))
    pipeline = build(spec)
    assert pipeline.load_report.new == ()
    pipeline.model.eval()
    batch = batch_of(pipeline, [0, 1, 2])
    columns, tokenizer = pipeline._data.train.columns, pipeline._loaded.tokenizer
    sources = tokenizer([columns["text"][i] for i in (0, 1, 2)], padding=True, return_tensors="pt")
    labels = tokenizer([columns["target_text"][i] for i in (0, 1, 2)], padding=True, return_tensors="pt")
    labels = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    with torch.no_grad():
        expected = pipeline.model(**sources, labels=labels).loss * (labels != -100).sum()
        output = pipeline.forward(pipeline.model, batch)
    assert float(output.loss_sum) == pytest.approx(float(expected), rel=1e-5)
    assert run(spec)["metrics"].keys() == {"loss", "perplexity", "bleu", "chrf", "rouge1", "rouge2", "rougeL"}


@pytest.fixture(scope="module")
def two_berts(tmp_path_factory):
    """Encoders of other widths and vocabularies: (model.name, model.decoder)."""
    from transformers import BertTokenizer

    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    limit = {"max_position_embeddings": 64}
    words = {w for _, target in pairs(40, 1) for w in target.split()}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    names = {word: number for number, word in enumerate(vocabulary)}
    BertTokenizer(vocab=names, do_lower_case=False).save_pretrained(second)
    save_base(first, "Bert", vocab_size=save_bert_tokenizer(first), hidden_size=32, **sizes, **limit)
    save_base(second, "Bert", vocab_size=len(vocabulary), hidden_size=16, **sizes, **limit)
    return {"name": str(first), "decoder": str(second)}


@pytest.mark.slow
def test_two_encoders_become_one_model(make, two_berts):
    from transformers import AutoTokenizer, EncoderDecoderModel

    spec = make(two_berts, generate=GenerateSpec(beams=2, max_length=12))
    pipeline = build(spec)
    loaded, config = pipeline._loaded, pipeline.model.config
    assert any("crossattention" in name for name in pipeline.load_report.new)
    assert all(name.startswith(pipeline.head) for name in pipeline.load_report.new)
    assert loaded.tokenizer is not loaded.target_tokenizer
    target = loaded.target_tokenizer
    assert config.decoder_start_token_id == target.cls_token_id
    assert (config.pad_token_id, config.eos_token_id) == (target.pad_token_id, target.sep_token_id)
    # [CLS] is what the decoder begins after, so it is not predicted.
    batch = batch_of(pipeline, [0])
    words = pipeline._data.train.columns["target_text"][0]
    assert target.decode(batch.targets) == f"{words} [SEP]"

    run(spec)
    saved = Path(spec.output) / "model"
    model = EncoderDecoderModel.from_pretrained(saved)
    source_tokenizer = AutoTokenizer.from_pretrained(saved)
    target_tokenizer = AutoTokenizer.from_pretrained(saved / seq2seq.TARGET_TOKENIZER)
    for line in (Path(spec.output) / "predictions.jsonl").read_text().splitlines():
        row = json.loads(line)
        written = model.generate(**source_tokenizer(row["source"], return_tensors="pt"))
        assert target_tokenizer.decode(written[0], skip_special_tokens=True).strip() == row["prediction"]
    again = build(spec, complete=True, model=ModelRef(name=spec.output))
    assert again.load_report.new == ()
    assert again._loaded.target_tokenizer.get_vocab() == target.get_vocab()


@pytest.mark.slow
def test_only_what_is_new_learns_when_two_encoders_are_frozen(make, two_berts):
    spec = make({**two_berts, "freeze": "backbone"})
    before = {name: p.clone() for name, p in build(spec).model.named_parameters()}
    run(spec)
    pipeline = build(spec, complete=True, model=ModelRef(name=spec.output))
    after = dict(pipeline.model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(pipeline.head) for name in changed)


@pytest.mark.slow
def test_positions_of_marian_stay_what_they_are(make):
    spec = make({**NEW, "freeze": ("model.encoder.layers.0.*",)})
    before = build(spec).model.model.encoder.embed_positions.weight.clone()
    run(spec)
    after = build(spec, complete=True, model=ModelRef(name=spec.output)).model
    assert torch.equal(after.model.encoder.embed_positions.weight, before)


def test_embeddings_are_tied_and_can_be_frozen(make):
    pipeline = build(make())
    model = pipeline.model
    shared = model.model.shared.weight
    assert model.lm_head.weight is shared
    assert model.model.encoder.embed_tokens.weight is model.model.decoder.embed_tokens.weight is shared
    frozen = {n for n, _ in model.named_parameters() if n.startswith(pipeline.embeddings)}
    assert frozen == {
        "model.shared.weight",
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    }


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": {**NEW, "name": "new:bert"}}, ModelError, "a bert model has no decoder"),
        ({"model": {**NEW, "layers": (0,)}}, ConfigError, "model.layers"),
        ({"generate": GenerateSpec(max_length=49)}, ConfigError, r"generate\.max_length.*48"),
        ({"data": {"max_length": 49}}, ConfigError, r"data\.max_length.*48"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(make, change, error, match):
    with pytest.raises(error, match=f"(?s){match}"):
        build(make(**change))


def test_an_encoder_alone_is_refused_with_what_to_add(make, tiny_bert):
    with pytest.raises(ModelError, match=r"(?s)a bert model has no decoder.*model\.decoder"):
        build(make({"name": str(tiny_bert)}))


@pytest.mark.parametrize(
    ("more", "where"), [({"weights": "none"}, "weights"), ({"tokenizer": "train"}, "tokenizer")]
)
def test_two_encoders_come_as_they_are(make, two_berts, more, where):
    with pytest.raises(ConfigError, match=rf"model\.{where}"):
        build(make({**two_berts, **more}))


def test_a_model_with_a_decoder_needs_no_second_one(make, tiny_bart, tiny_bert):
    with pytest.raises(
        ConfigError, match=r"(?s)a bart model has a decoder of its own.*model\.decoder|model\.decoder"
    ):
        build(make({"name": str(tiny_bart), "decoder": str(tiny_bert)}))


@pytest.mark.slow
def test_a_decoder_that_cannot_attend_is_refused(make, tiny_bert, tiny_distilbert):
    with pytest.raises(ModelError, match="distilbert"):
        build(make({"name": str(tiny_bert), "decoder": str(tiny_distilbert)}))


def test_a_tokenizer_that_does_not_end_texts_is_refused(make, tiny_gpt2):
    with pytest.raises(ConfigError, match=r"(?s)never stop.*tokenizer: train|model\.tokenizer"):
        build(make({**NEW, "tokenizer": str(tiny_gpt2), "vocabulary": None}))


def test_a_new_model_cannot_be_evaluated(make):
    spec = make()
    with pytest.raises(ModelError):
        build(spec, complete=True)


def test_a_vocabulary_for_sentencepiece_says_which_package_it_needs(make, tiny_bart, monkeypatch):
    def without(place, options):  # transformers' own words
        raise ImportError("MarianTokenizer requires the SentencePiece library but it was not found")

    found = seq2seq.importlib.util.find_spec
    monkeypatch.setattr(
        seq2seq.importlib.util, "find_spec", lambda name: None if name == "sentencepiece" else found(name)
    )
    monkeypatch.setattr(seq2seq.origins, "load_tokenizer", without)
    with pytest.raises(MissingDownload, match=r"(?s)pip install 'sentencepiece>="):
        build(make({"name": str(tiny_bart)}))


def test_texts_of_unknown_words_are_said(make, two_berts):
    pipeline = build(make(two_berts))
    assert pipeline.domain_warnings() == []
    strange = Examples({"text": ["日本語 日本語"], "target_text": ["日本語"]}, None, str)
    assert "unknown" in pipeline.with_examples(strange).domain_warnings()[0]


@pytest.fixture(scope="module")
def tiny_marian(tmp_path_factory):
    """A checkpoint as Helsinki-NLP publishes them: two SentencePiece models, one vocabulary, padding as its last."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import MarianMTModel, MarianTokenizer

    folder = tmp_path_factory.mktemp("tiny_marian")
    pieces = ["</s>", "<unk>"]
    for side, name in enumerate(("source", "target")):
        with (folder / f"{name}.spm").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter([pair[side] for pair in pairs(200, 1)]),
                model_writer=file,
                vocab_size=60,
                minloglevel=2,
                hard_vocab_limit=False,
            )
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        pieces += [model.id_to_piece(i) for i in range(model.get_piece_size())]
    names = [*dict.fromkeys(piece for piece in pieces if piece != "<s>"), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(names)}))
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    MarianTokenizer(*files).save_pretrained(folder)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32}
    sizes |= {"decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    pad = {"pad_token_id": len(names) - 1, "decoder_start_token_id": len(names) - 1}
    return save_seq2seq(
        folder, MarianMTModel, vocab_size=len(names), max_position_embeddings=64, **sizes, **pad
    )


@pytest.mark.slow
def test_marian_of_a_directory_reads_each_side_with_its_own_pieces(make, tiny_marian):
    spec = make({"name": str(tiny_marian)}, generate=GenerateSpec(beams=2, max_length=8))
    pipeline = build(spec)
    tokenizer, columns = pipeline._loaded.tokenizer, pipeline._data.train.columns
    batch = batch_of(pipeline, [5])
    expected = tokenizer(columns["text"][5], text_target=columns["target_text"][5])
    assert batch.inputs["input_ids"][0].tolist() == expected["input_ids"]
    assert batch.targets.tolist() == expected["labels"]
    assert tokenizer.unk_token_id not in batch.targets
    run(spec)
    again = build(spec, complete=True, model=ModelRef(name=spec.output))
    assert again._loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
