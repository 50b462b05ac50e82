"""What all pipelines over texts have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ptm.config.spec import RunSpec
from ptm.data.examples import Dataset, Examples
from ptm.pipeline import Batch, Pipeline, ReadRows, Split
from ptm.text import features
from ptm.text.classifiers import Classifier
from ptm.text.models import TextModel
from ptm.text.notes import cut_note, pieces_note
from ptm.text.token_cache import encode_once
from ptm.text.tokens import tokenizer_digest

SPLITS: tuple[Split, ...] = ("train", "eval")
_LOOKED_AT_ONCE = 1_000_000  # tokens: bounds the memory of what is mapped from a file
_NEARLY_ALL = 0.95  # of a vocabulary: nothing is gained by leaving out the rest
MOST_UNKNOWN = 0.1  # fraction of unknown tokens above which a vocabulary does not fit the texts


class Encoding(Protocol):
    """The tokens of all examples of a split."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    @property
    def ids(self) -> np.ndarray:
        """Token ids of all examples end to end, int32 [total]."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens an example, int [n]."""
        ...

    def describe(self) -> dict[str, Any]:
        """Counts for the record, besides the number of examples."""
        ...


ModelT = TypeVar("ModelT", bound=TextModel)
EncodingT = TypeVar("EncodingT", bound=Encoding)


class TextPipeline(Pipeline, Generic[ModelT, EncodingT]):
    """A model of transformers over the encodings of texts. ``read_columns``: roles of the texts that it reads."""

    labels: tuple[str, ...] = ()
    read_columns: tuple[str, ...] = ("text", "text_pair")
    # Whether training batches hold the tokens of their texts and of what fills up, and no others.
    reads_its_tokens_alone = False

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: ModelT,
        encode: Callable[[Examples], EncodingT],
        *settings: object,
    ) -> None:
        """``encode``: the examples of a split to tokens; ``settings``: what decides these besides the tokenizers.

        Raises DataError for examples that cannot be encoded. Without evaluation examples, the pipeline is one whose
        inputs come later: ``with_examples``.
        """
        self.model: nn.Module = loaded.model
        self.head = loaded.head
        self.embeddings = loaded.embeddings
        self.load_report = loaded.report
        digests = "+".join(tokenizer_digest(tokenizer) for tokenizer in loaded.tokenizers)
        self.input_fingerprint = "/".join([digests, *map(str, settings)])
        self.output_fingerprint = loaded.output_fingerprint
        self._spec = spec
        self._data = data
        self._loaded = loaded
        self._tokenizer = loaded.tokenizer
        self._encode = encode
        self._not_cached = ""  # why tokens could not be kept
        self._encodings: dict[Split, EncodingT] = {}
        if len(data.eval):
            self._encodings["eval"] = self._encode_once("eval", data.eval)
        if data.train is not None:
            self._encodings["train"] = self._encode_once("train", data.train)

    def _encode_once(self, split: str, examples: Examples) -> EncodingT:
        about = {"tokens": self._spec.model.name, "data": self._spec.data.source, "split": split}
        encoding, problem = encode_once(self._encode, examples, about)
        self._not_cached = problem or self._not_cached
        return encoding

    def cuts_to(self, max_length: int, **data: object) -> None:
        """Longer texts are cut to ``max_length`` tokens, wherever the saved tokenizer is used as well. ``data``: other
        keys of ``data:`` that may have been left open, and what they came to."""
        self.effective_data = {"max_length": max_length, **data}
        for tokenizer in self._loaded.tokenizers:
            tokenizer.model_max_length = max_length

    @property
    def tokenizer(self) -> Any:
        """That of what is read."""
        return self._tokenizer

    def size(self, split: Split) -> int:
        return len(self._encodings[split])

    def lengths(self, split: Split) -> np.ndarray | None:
        return self._encodings[split].lengths

    def batches(self, split: Split, plan: Sequence[np.ndarray], epoch: int) -> Iterator[Batch]:
        return (self._batch(split, ids, epoch) for ids in plan)

    @abstractmethod
    def _batch(self, split: Split, ids: np.ndarray, epoch: int) -> Batch:
        """The examples of these ids, padded to the longest."""

    def notes(self) -> list[str]:
        """How many texts are cut, and whether words come to very many tokens."""
        limit = self.effective_data.get("max_length")
        facts = self.describe()
        splits: dict[str, dict[str, Any]] = {split: facts[split] for split in SPLITS if split in facts}
        lines = self._length_notes(splits, limit) if limit else []
        examples = self._data.train or self._data.eval
        lines += [pieces_note(self._tokenizer, column) for column in list(examples.columns.values())[:1]]
        lines += [f"the tokens are not kept for the next run: {self._not_cached}"] if self._not_cached else []
        return [line for line in lines if line]

    def _length_notes(self, splits: Mapping[str, Mapping[str, Any]], limit: int) -> list[str]:
        """What becomes of texts of more than ``limit`` tokens. ``splits``: as in the record."""
        return [cut_note(splits, limit, self._loaded.max_positions, self._spec.data.long_texts)]

    def domain_warnings(self) -> list[str]:
        """Texts that the tokenizer has no words for."""
        return unknown_words(self._tokenizer, self._encodings["eval"].ids)

    def example(self, split: Split, index: int) -> dict[str, Any]:
        """Where several texts are read, ``inputs`` are these by role."""
        shown = {"text": self._text(split, index), "where": self._examples(split).where(index)}
        read = self._read(split, index)
        return shown if len(read) < 2 else {**shown, "inputs": read}

    def _text(self, split: Split, index: int) -> str:
        """What to show of an example."""
        return " ⟂ ".join(map(str, self._read(split, index).values()))

    def _read(self, split: Split, index: int) -> dict[str, Any]:
        columns = self._examples(split).columns
        return {role: columns[role][index] for role in self.read_columns if role in columns}

    def save_model(self, directory: Path) -> None:
        """The layout of save_pretrained, which ``transformers.pipeline(…)`` loads."""
        self._loaded.save(directory)

    def with_examples(self, examples: Examples) -> Pipeline:
        return self._over(examples)

    def _over(self, examples: Examples) -> Self:
        """What a user asks once is not kept."""
        other = copy(self)
        other._data = Dataset(None, examples, self.labels, {})
        other._encodings = {"eval": self._encode(examples)}
        return other

    def tokens(self, split: Split) -> np.ndarray:
        """Ids of the tokens of all texts of a split, as far as they are read, one text after the other, int32 [n]."""
        return self._encodings[split].ids

    def read_rows(self) -> ReadRows | None:
        """None as well where nearly all are used."""
        if not self.reads_its_tokens_alone:
            return None
        table = self.model.get_input_embeddings()  # type: ignore[operator]
        name = next((name for name, module in self.model.named_modules() if module is table), None)
        fills = self._tokenizer.pad_token_id
        if name is None or fills is None:
            return None
        used = np.zeros(table.num_embeddings, dtype=bool)
        used[fills] = True
        ids = self.tokens("train")
        for start in range(0, len(ids), _LOOKED_AT_ONCE):
            used[ids[start : start + _LOOKED_AT_ONCE]] = True
            if used.mean() > _NEARLY_ALL:
                return None
        return ReadRows(name, np.flatnonzero(used))

    def graph_output(self, result: Any, mask: Tensor) -> Tensor:
        """The one tensor of the model's ``result`` that a graph of it gives: fp [batch, …]. ``mask``: int64 [batch,
        length], 1 where a token is none that fills up. A graph gives it as ``logits`` wherever the model is called."""
        logits: Tensor = result.logits
        return logits

    def program_settings(self) -> dict[str, Any]:
        """What predict.py of an export needs to know besides tokenizer, labels and lengths; content for JSON."""
        return {}

    def describe(self) -> dict[str, Any]:
        return {
            split: {"examples": len(encoding), **encoding.describe()}
            for split, encoding in self._encodings.items()
        }

    def _label_smoothing(self) -> float:
        """That of training; 0 while evaluating."""
        return self._spec.train.label_smoothing if self.model.training else 0.0


class ClassifierPipeline(TextPipeline[Classifier, EncodingT]):
    """A model with a score a label, of texts or of their words."""

    reads_its_tokens_alone = True

    def __init__(
        self,
        spec: RunSpec,
        data: Dataset,
        loaded: Classifier,
        encode: Callable[[Examples], EncodingT],
        *settings: object,
    ) -> None:
        self.labels = data.labels
        self.feature_names = features.feature_names(loaded.model)
        super().__init__(spec, data, loaded, encode, *settings)
        self._permutation = None if loaded.permutation is None else torch.from_numpy(loaded.permutation)

    def _in_data_order(self, logits: Tensor) -> Tensor:
        """fp32 [rows, classes], the classes as the data number them."""
        logits = logits.float()
        return logits if self._permutation is None else logits[:, self._permutation.to(logits.device)]


def unknown_words(tokenizer: Any, ids: np.ndarray) -> list[str]:
    """A warning where the tokenizer has no words for many of the tokens ``ids``, int [total]; else []."""
    unknown = tokenizer.unk_token_id
    fraction = float((ids == unknown).mean()) if unknown is not None else 0.0
    if fraction <= MOST_UNKNOWN:
        return []
    return [f"{fraction:.0%} of the tokens of the evaluation texts are unknown to its vocabulary"]
