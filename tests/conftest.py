"""Tiny real models and data, made once a session; nothing here needs a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
import typer.main
import typer.testing
from hypothesis import settings

settings.register_profile("ptm", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("ptm")
# To build all commands takes longer than most of them run; a process of ptm does it once, too.
typer.main.get_command = typer.testing._get_command = cache(typer.main.get_command)
sys.path.insert(0, str(Path(__file__).parent))  # tests import helpers.py and tiny/ as modules

import tiny  # noqa: E402
from tiny.samples import (  # noqa: E402
    POSITIONS,
    save_base,
    save_bert_tokenizer,
    save_tiny_bert,
    save_tiny_gpt2,
    sentences,
    train_bpe,
    write_csv,
    write_image_folder,
)

Done = subprocess.CompletedProcess[str]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for ``run_cli`` starts processes; before pytest selects by marker."""
    for item in items:
        if "run_cli" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="session", autouse=True)
def _teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """What teachers say is kept for one session of tests, not in the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTM_CACHE", str(tmp_path_factory.mktemp("teachers")))
        yield


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a config in configs/tiny/ → path of the config, with its data beside it; made when asked for."""
    return cache(lambda name: tiny.prepare(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train.csv`` with 64 and ``eval.csv`` with 32 sentences, labels negative and positive."""
    folder = tmp_path_factory.mktemp("reviews")
    write_csv(folder / "train.csv", sentences(64, 1))
    write_csv(folder / "eval.csv", sentences(32, 2))
    return folder


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_distilbert")
    size = save_bert_tokenizer(folder, "DistilBertTokenizer")
    return save_base(
        folder,
        "DistilBert",
        vocab_size=size,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=POSITIONS,
    )


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Special tokens numbered as in roberta-base; two more positions than tokens, as there."""
    from transformers import RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny_roberta")
    tokenizer = RobertaTokenizer(
        **train_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    return save_base(
        folder,
        "Roberta",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose tokenizer has no pad token and adds nothing to a text."""
    return save_tiny_gpt2(tmp_path_factory.mktemp("tiny_gpt2"))


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its fifth step; not to be changed."""
    from helpers import StopAt, run, small_spec
    from ptm.errors import Interrupted

    folder = tmp_path_factory.mktemp("stopped") / "r"
    with pytest.raises(Interrupted):
        run(small_spec(folder), "new", StopAt(5))
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six steps; not to be changed."""
    from helpers import run, small_spec

    folder = tmp_path_factory.mktemp("finished") / "r"
    run(small_spec(folder))
    return folder


@pytest.fixture(scope="session")
def reviews_run(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Path:
    """A finished run over reviews, which it tells apart; not to be changed."""
    from helpers import run, text_spec

    folder = tmp_path_factory.mktemp("reviews_run") / "r"
    run(text_spec(tiny_bert, reviews, folder, epochs=10, learning_rate=3e-3))
    return folder


@pytest.fixture(scope="session")
def exported_reviews(reviews_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of that run in ONNX; not to be changed."""
    from helpers import copy_of, export_of

    folder = tmp_path_factory.mktemp("exported_reviews")
    return export_of(copy_of(reviews_run, folder / "r"), folder / "e\n<b> [x](y) \x1b[2J")


@pytest.fixture(scope="session")
def exported_digits(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the finished run in ONNX, int8; not to be changed."""
    from helpers import copy_of, export_of

    folder = tmp_path_factory.mktemp("exported_digits")
    return export_of(copy_of(finished_run, folder / "r"), folder / "e", quantize="int8", tolerance=1.0)


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to be changed."""
    from helpers import copy_of

    return copy_of(stopped_run, tmp_path / "r")


@pytest.fixture
def finished(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    from helpers import copy_of

    return copy_of(finished_run, tmp_path / "r")


@pytest.fixture(scope="session")
def write_config() -> Callable[..., Path]:
    """``write_config(folder, text)``: the path of a YAML file with this text."""

    def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Callable[..., list[Done]]]:
    """``forked((words, environment), …)``: ptm in processes that run at once, forked from one that has imported it."""
    folder = tmp_path_factory.mktemp("forked")
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forkserver.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(path)},
    )
    assert server.stdin is not None and server.stdout is not None

    def call(*orders: tuple[Sequence[str], Mapping[str, str]]) -> list[Done]:
        place = Path(tempfile.mkdtemp(dir=folder))
        files = [(str(place / f"{i}.out"), str(place / f"{i}.err")) for i in range(len(orders))]
        lines = [
            {
                "words": list(words),
                "environment": {**os.environ, "HF_HUB_OFFLINE": "1", **environment},
                "folder": str(Path.cwd()),
                "stdout": out,
                "stderr": err,
            }
            for (words, environment), (out, err) in zip(orders, files, strict=True)
        ]
        server.stdin.write(json.dumps(lines) + "\n")  # type: ignore[union-attr]
        server.stdin.flush()  # type: ignore[union-attr]
        codes = json.loads(server.stdout.readline())  # type: ignore[union-attr]
        return [
            Done(["ptm", *words], code, Path(out).read_text(), Path(err).read_text())
            for (words, _), code, (out, err) in zip(orders, codes, files, strict=True)
        ]

    with server:
        yield call
        server.stdin.close()


@pytest.fixture(scope="session")
def run_cli(forked: Callable[..., list[Done]]) -> Callable[..., Done]:
    """``run_cli("finetune", config, …)``: ptm in a process of its own, offline; with ``env``, one that starts anew."""

    def call(*words: object, env: dict[str, str] | None = None) -> Done:
        if env is None:
            return forked((list(map(str, words)), {}))[0]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", **env}
        command = [sys.executable, "-m", "ptm", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)

    return call
