"""Distances between the features of two networks, as sums over examples. Pure functions, each with its paper.

An example counts the same however long it is: what is compared is a mean over its tokens (or positions), and
these are added up over examples. ``mask`` is [n, tokens], 1 for tokens and 0 for padding; None: no padding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def per_example(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over tokens of [n, tokens], then the sum over n."""
    if mask is None:
        return values.mean(-1).sum()
    weights = mask.to(values.dtype)
    return ((values * weights).sum(-1) / weights.sum(-1)).sum()


def hint_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference, student already projected (Romero et al. 2014, FitNets, arXiv:1412.6550, eq. 3).

    [n, tokens, d] of texts, or [n, channels, h, w] of images: the larger map is averaged down to the smaller.
    """
    if student.ndim == 4:
        student, teacher = same_size(student, teacher)
        return (student - teacher).square().flatten(1).mean(1).sum()
    return per_example((student - teacher).square().mean(-1), mask)


def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of attention maps (Zagoruyko and Komodakis 2016, arXiv:1612.03928, eq. 2, p = 2).

    [n, channels, h, w] each. A map is the mean of squares over channels, as a vector of length 1.
    """
    student, teacher = same_size(
        student.square().mean(1, keepdim=True), teacher.square().mean(1, keepdim=True)
    )
    maps = (F.normalize(a.flatten(1), dim=-1) for a in (student, teacher))
    return (next(maps) - next(maps)).square().sum()


def relation_loss(student: Tensor, teacher: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """KL of how tokens relate to tokens (Wang et al., MiniLM, arXiv:2002.10957, eq. 7; v2, arXiv:2012.15828, eq. 4).

    Queries, keys or values [n, tokens, d]; d may differ. Both are cut anew into ``heads``; a relation is the
    softmax of scaled products within one of them. Mean over heads and tokens.
    """
    log_p, log_q = (_relations(x, heads, mask) for x in (student, teacher))  # [n, heads, tokens, tokens]
    divergence = (log_q.exp() * (log_q - log_p)).masked_fill(log_q.exp() == 0, 0.0).sum(-1)
    return per_example(divergence.mean(1), mask)


def _relations(x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    cut: Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [n, heads, tokens, d / heads]
    scores: Tensor = cut @ cut.transpose(-1, -2) / cut.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask.bool()[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.log_softmax(-1)


def score_loss(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Mean squared difference of attention scores before the softmax (Jiao et al. 2019, TinyBERT,
    arXiv:1909.10351, eq. 7). ``[n, heads, tokens, tokens]``; mean over heads and pairs of tokens."""
    squares = (student - teacher).square().mean(1)  # [n, tokens, tokens]
    if mask is not None:
        weights = mask.to(squares.dtype)
        squares = (squares * weights[:, None, :]).sum(-1) / weights.sum(-1, keepdim=True)
        return per_example(squares, mask)
    return per_example(squares.mean(-1), None)


def attention_scores(query: Tensor, key: Tensor) -> Tensor:
    """[n, tokens, heads, d] each → [n, heads, tokens, tokens], scaled as in the attention itself."""
    q, k = query.transpose(1, 2), key.transpose(1, 2)
    scores: Tensor = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores


def cosine_loss(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """1 - cosine of the last hidden states [n, tokens, d] (Sanh et al. 2019, DistilBERT, arXiv:1910.01108, §3)."""
    return per_example(1 - F.cosine_similarity(student, teacher, dim=-1), mask)


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """n · (distances + 2 · angles) between examples [n, d] (Park et al. 2019, RKD, arXiv:1904.05068, eq. 5 to 9).

    Widths may differ. Relations are those within a micro-batch, so this loss depends on what is computed
    together; one example alone has none.
    """
    n = len(student)
    if n < 2:
        return student.sum() * 0.0
    distances = F.huber_loss(_distances(student), _distances(teacher), reduction="mean")
    angles = F.huber_loss(_angles(student), _angles(teacher), reduction="mean")
    return n * (distances + 2 * angles)


def _distances(x: Tensor) -> Tensor:
    """[n, n], divided by their mean over pairs of different examples."""
    squared = (x[:, None] - x[None]).square().sum(-1)
    different = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    distances = torch.where(different, squared.clamp(min=1e-12), torch.ones_like(squared)).sqrt() * different
    return distances / distances[different].mean()


def _angles(x: Tensor) -> Tensor:
    """Cosine of the angle at j between i and k: [n (j), n (i), n (k)]."""
    to = F.normalize(x[None] - x[:, None], dim=-1)  # [j, i]: unit vector from j to i
    return to @ to.transpose(-1, -2)


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two [n, c, h, w] with the smaller height and width of the two; the larger is averaged."""
    size = (min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1]))
    a, b = (x if x.shape[-2:] == size else F.adaptive_avg_pool2d(x, size) for x in (a, b))
    return a, b
