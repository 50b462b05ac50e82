"""Losses of features against values computed another way: by hand, by loops, by a reference implementation."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from ptm.distill import feature_losses as features

RNG = np.random.default_rng(0)


def numbers(*shape):
    return torch.from_numpy(RNG.normal(size=shape)).float()


def test_hints_are_means_over_tokens_and_sums_over_examples():
    student, teacher = numbers(2, 3, 4), numbers(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    first = (student[0, :2] - teacher[0, :2]).square().mean()
    second = (student[1] - teacher[1]).square().mean()
    assert features.hint_loss(student, teacher, mask).item() == pytest.approx(
        (first + second).item(), rel=1e-6
    )
    images = numbers(2, 3, 4, 4), numbers(2, 3, 2, 2)
    small = torch.nn.functional.avg_pool2d(images[0], 2)
    expected = 2 * torch.nn.functional.mse_loss(small, images[1])
    assert features.hint_loss(*images).item() == pytest.approx(expected.item(), rel=1e-6)


def test_attention_transfer_by_loops():
    student, teacher = numbers(2, 3, 2, 2), numbers(2, 5, 2, 2)
    expected = 0.0
    for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        s, t = (s**2).sum(0).ravel(), (t**2).sum(0).ravel()
        expected += ((s / np.linalg.norm(s) - t / np.linalg.norm(t)) ** 2).sum()
    assert features.attention_transfer_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_relations_of_tokens_by_loops():
    """MiniLM: widths 4 and 8 cut into 2 heads; the first text has two tokens, the second three."""
    student, teacher, lengths = numbers(2, 3, 4), numbers(2, 3, 8), [2, 3]
    expected = 0.0
    for s, t, n in zip(student.double().numpy(), teacher.double().numpy(), lengths, strict=True):
        rows = []
        for head in range(2):
            a, b = s[:n, 2 * head : 2 * head + 2], t[:n, 4 * head : 4 * head + 4]
            log_p, log_q = log_softmax(a @ a.T / math.sqrt(2), -1), log_softmax(b @ b.T / math.sqrt(4), -1)
            rows.append((np.exp(log_q) * (log_q - log_p)).sum(-1))
        expected += np.mean(rows)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert features.relation_loss(student, teacher, 2, mask).item() == pytest.approx(expected, rel=1e-5)


def test_padding_changes_no_loss():
    student, teacher = numbers(2, 3, 4), numbers(2, 3, 4)
    mask = torch.ones(2, 3)
    pad = lambda x: torch.nn.functional.pad(x, (0, 0, 0, 2), value=7.0)  # noqa: E731
    padded = torch.nn.functional.pad(mask, (0, 2))
    scores = numbers(2, 2, 3, 3), numbers(2, 2, 3, 3)
    wide = [torch.nn.functional.pad(x, (0, 2, 0, 2), value=9.0) for x in scores]
    for plain, more in (
        (
            features.hint_loss(student, teacher, mask),
            features.hint_loss(pad(student), pad(teacher), padded),
        ),
        (
            features.cosine_loss(student, teacher, None),
            features.cosine_loss(pad(student), pad(teacher), padded),
        ),
        (
            features.relation_loss(student, teacher, 2, None),
            features.relation_loss(pad(student), pad(teacher), 2, padded),
        ),
        (features.score_loss(*scores, None), features.score_loss(*wide, padded)),
    ):
        assert plain.item() == pytest.approx(more.item(), rel=1e-5)


def test_attention_scores_are_those_of_torch():
    query, key, value = (numbers(2, 5, 3, 4) for _ in range(3))
    own = features.attention_scores(query, key).softmax(-1) @ value.transpose(1, 2)
    reference = torch.nn.functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, key, value))
    )
    torch.testing.assert_close(own, reference)
    expected = 2 * torch.nn.functional.mse_loss(
        features.attention_scores(query, key), features.attention_scores(key, value)
    )
    loss = features.score_loss(
        features.attention_scores(query, key), features.attention_scores(key, value), None
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_cosine_by_torch():
    student, teacher = numbers(2, 3, 4), numbers(2, 3, 4)
    reference = torch.nn.CosineEmbeddingLoss(reduction="sum")(
        student.view(-1, 4), teacher.view(-1, 4), torch.ones(6)
    )
    assert features.cosine_loss(student, teacher, None).item() == pytest.approx(
        reference.item() / 3, rel=1e-5
    )


def test_relational_by_loops():
    """arXiv:1904.05068 by triple loops; Huber with delta 1, distances over their mean, all triples."""
    student, teacher = numbers(4, 3).double(), numbers(4, 5).double()

    def relations(x):
        n = len(x)
        d = np.array([[np.linalg.norm(x[i] - x[j]) for j in range(n)] for i in range(n)])
        unit = lambda a, b: (a - b) / np.linalg.norm(a - b) if not np.array_equal(a, b) else 0 * a  # noqa: E731
        angles = [
            [[unit(x[i], x[j]) @ unit(x[k], x[j]) for k in range(n)] for i in range(n)] for j in range(n)
        ]
        return d / d[~np.eye(n, dtype=bool)].mean(), np.array(angles)

    huber = lambda a: np.where(abs(a) <= 1, 0.5 * a**2, abs(a) - 0.5).mean()  # noqa: E731
    (ds, as_), (dt, at) = relations(student.numpy()), relations(teacher.numpy())
    expected = 4 * (huber(ds - dt) + 2 * huber(as_ - at))
    assert features.relational_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_relations_have_finite_gradients_also_for_equal_examples():
    student = torch.ones(3, 4, requires_grad=True)
    features.relational_loss(student * torch.tensor([[1.0], [1.0], [2.0]]), numbers(3, 4)).backward()
    assert student.grad.isfinite().all()
    alone = features.relational_loss(numbers(1, 4).requires_grad_(), numbers(1, 4))
    assert alone.item() == 0.0
