"""Windows of a text weighed by what they say: ``data.pool: learned``.

Each window gets a score from its logits, by a vector that is learned with the rest (as the attention over words of
Yang et al. 2016, Hierarchical Attention Networks, §2.2, without its hidden layer); the softmax of the scores over the
windows of a text is their share in its logits. The vector begins at zero, which is the mean.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.errors import ModelError

NAME = "window_pool"  # of the module within a model, and of the file beside its weights
FILE = f"{NAME}.json"
_FORMAT = 1
_MOST_BYTES = 10_000_000


class WindowPool(nn.Module):
    """``weight``: fp32 [outputs], in the order of the model's outputs."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs))

    def forward(self, logits: Tensor, counts: Tensor) -> Tensor:
        """Logits of windows, fp32 [windows, outputs], to those of texts, [n, outputs]; ``counts``: int64 [n], windows a
        text."""
        counts = counts.to(logits.device)
        owner = torch.repeat_interleave(torch.arange(len(counts), device=logits.device), counts)
        scores = logits @ self.weight  # [windows]
        highest = scores.detach().new_full((len(counts),), -torch.inf)
        highest = highest.scatter_reduce(0, owner, scores.detach(), "amax")
        powers = (scores - highest[owner]).exp()
        sums = powers.new_zeros(len(counts)).index_add(0, owner, powers)
        shares = powers / sums[owner]
        return logits.new_zeros((len(counts), logits.shape[1])).index_add(0, owner, shares[:, None] * logits)


def save_pool(pool: WindowPool, directory: Path) -> None:
    """Beside the weights of the model, which transformers loads as if there were no such file."""
    content = {"format": _FORMAT, "weight": pool.weight.detach().float().cpu().tolist()}
    files.write_file(directory / FILE, json.dumps(content).encode())


def load_pool(directory: Path, outputs: int, where: str) -> WindowPool:
    """What was saved beside a model. Raises ModelError where nothing was, or something else."""
    place = next((one for one in (directory / "model" / FILE, directory / FILE) if one.is_file()), None)
    if place is None:
        raise ModelError(
            "it was not trained with pool: learned, so no weights of windows are saved beside it",
            where=where,
            expected=f"{FILE} beside its weights",
            cure="data.pool: mean, or train it with pool: learned",
        )
    try:
        content = files.parse_json(read_bytes(place, _MOST_BYTES))
        weight = [float(number) for number in content["weight"]]
        if content["format"] != _FORMAT or len(weight) != outputs or not all(map(math.isfinite, weight)):
            raise ValueError(f"not a number for each of {outputs} outputs")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelError(
            f"{FILE} is not as ptm writes it: {error}",
            where=place,
            cure="name the run that it belongs to, as it was saved",
        ) from None
    pool = WindowPool(outputs)
    pool.weight.data = torch.tensor(weight)
    return pool
