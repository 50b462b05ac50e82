"""What each word of a text adds to the score of a label: integrated gradients (Sundararajan et al. 2017,
arXiv:1703.01365, §3 and §5) over the embeddings of its tokens, from embeddings of zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ptm.models.inside import evaluating, hooked

_BEGIN = ("Ġ", "▁")
STEPS = 8  # along the way from zero, at the middle of each


def integrated_gradients(
    model: nn.Module, inputs: Mapping[str, Tensor], score: Callable[[Mapping[str, Tensor]], Tensor]
) -> np.ndarray | None:
    """``inputs``: those of one text, [1, tokens]; ``score(inputs)``: of as many texts, [n]. What each token adds,
    float64 [tokens]. None where the gradients are no numbers. Gradients and mode of the model stay as they are."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    repeated = {name: tensor.repeat_interleave(STEPS, 0) for name, tensor in inputs.items()}
    leaves: list[Tensor] = []
    shares = (torch.arange(STEPS) + 0.5) / STEPS

    def scale(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().clone().requires_grad_())
        return leaves[-1] * shares.to(output)[:, None, None]

    with evaluating(model), torch.enable_grad(), hooked(embeddings, scale):
        total = score(repeated).sum()
    if not leaves:  # its tokens are embedded in another way
        return None
    (gradient,) = torch.autograd.grad(total, leaves[0])
    # The hook has multiplied by the share, which stands in the gradient as a factor.
    along = (gradient / shares.to(gradient)[:, None, None]).mean(0)  # [tokens, width]
    added = (along * leaves[0][0].detach()).sum(-1).double().cpu().numpy()
    return added if np.isfinite(added).all() else None


def by_word(tokenizer: Any, ids: Sequence[int], added: np.ndarray) -> list[tuple[str, float]]:
    """The words of a text with what their pieces add together; special tokens are left out."""
    special = set(tokenizer.all_special_ids)
    tokens = list(zip(tokenizer.convert_ids_to_tokens(list(ids)), ids, strict=True))
    # Byte-level BPE and SentencePiece mark where a word begins, WordPiece where it goes on.
    marked = any(token.startswith(_BEGIN) for token, number in tokens if number not in special)
    groups: list[tuple[list[str], float]] = []
    for (token, number), value in zip(tokens, added.tolist(), strict=True):
        if number in special:
            continue
        begins = token.startswith(_BEGIN) if marked else not token.startswith("##")
        if groups and not begins:
            groups[-1] = ([*groups[-1][0], token], groups[-1][1] + value)
        else:
            groups.append(([token], value))
    return [(tokenizer.convert_tokens_to_string(pieces).strip(), value) for pieces, value in groups]
