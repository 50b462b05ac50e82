"""The loss of classifiers while they learn, and what it does about rare classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ptm.config.label_types import CLASSES
from ptm.config.spec import TrainSpec
from ptm.errors import ConfigError, listing
from ptm.metrics.label_types import supervised_loss

_LEAST = 1e-12  # of what a power below 1 is taken of: its slope at 0 is infinite


@dataclass(frozen=True)
class TrainingLoss:
    """``loss(logits, targets)``, summed over examples: the engine divides by their number, whatever they weigh.

    ``weights``: fp32 [2, classes], of a class that does not apply and of one that does; their mean over the training
    examples is 1, so that the learning rate, and a teacher's share, mean what they mean without them. ``focal_gamma``:
    Lin et al. 2017 (arXiv:1708.02002, eq. 4). ``offsets``: fp32 [classes], added to logits (Menon et al. 2021,
    arXiv:2007.07314, eq. 10). ``unlabelled``: the share of training examples without a label (target -1), which are
    left out; the others then count so much more that the loss stays a mean over them.
    """

    label_type: str
    smoothing: float = 0.0
    weights: Tensor | None = None
    focal_gamma: float = 0.0
    offsets: Tensor | None = None
    unlabelled: float = 0.0
    # Itself on other devices: copied once, for a pass that is recorded cannot wait for a copy.
    _elsewhere: dict[torch.device, TrainingLoss] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, train: TrainSpec, label_type: str, targets: np.ndarray | None, labels: Sequence[str]
    ) -> TrainingLoss:
        """That of a run over these training targets: int64 [n], float [n, classes] of 0 and 1, or None.

        Raises ConfigError for ``train.class_weights`` of labels that there are not.
        """
        weights = offsets = None
        unlabelled = 0.0
        if targets is not None and targets.dtype == np.int64:
            unlabelled = float((targets < 0).mean())
            targets = targets[targets >= 0]
        if targets is not None and train.class_weights is not None:
            weights = torch.from_numpy(class_weights(train.class_weights, targets, labels, label_type))
        if targets is not None and train.logit_adjustment is not None:
            offsets = train.logit_adjustment * torch.from_numpy(log_priors(targets, len(labels)))
        return cls(label_type, train.label_smoothing, weights, train.focal_gamma or 0.0, offsets, unlabelled)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """``logits`` fp32 [n, outputs]; ``targets`` as :class:`ptm.data.examples.Examples` has them."""
        if self.unlabelled:
            known = targets >= 0
            labelled = replace(self, unlabelled=0.0)
            return labelled(logits[known], targets[known]) / (1 - self.unlabelled)
        if self.weights is None and self.offsets is None and not self.focal_gamma:
            return supervised_loss(logits, targets, self.label_type, self.smoothing)
        loss = _weighted_yes_or_no if self.label_type == CLASSES.name else _weighted_class
        return loss(self._on(logits.device), logits, targets)

    def _on(self, device: torch.device) -> TrainingLoss:
        if device.type == "cpu":
            return self
        if device not in self._elsewhere:
            weights, offsets = (t if t is None else t.to(device) for t in (self.weights, self.offsets))
            self._elsewhere[device] = replace(self, weights=weights, offsets=offsets, _elsewhere={})
        return self._elsewhere[device]


def class_weights(
    chosen: str | Mapping[str, float], targets: np.ndarray, labels: Sequence[str], label_type: str
) -> np.ndarray:
    """fp32 [2, classes], see :class:`TrainingLoss`. ``balanced``: all classes weigh alike in the sum over the training
    examples (of labels of which any number apply, its examples with and without each); a label that is not named has
    the weight 1. A class without examples has the weight 1, which nothing asks for."""
    if not isinstance(chosen, str):
        unknown = sorted(set(chosen) - set(labels))
        if unknown:
            raise ConfigError(
                f"there is no label {unknown[0]!r}",
                where="train.class_weights",
                expected=f"one of {listing(labels)}",
                cure="name labels as the data name them",
            )
    several = label_type == CLASSES.name
    counts = (targets > 0).sum(0) if several else np.bincount(targets, minlength=len(labels))
    n, counts = len(targets), counts.astype(np.float64)
    if isinstance(chosen, str):
        other = n - counts if several else np.full(len(labels), n / np.count_nonzero(counts))
        relative = np.divide(other, counts, out=np.ones(len(labels)), where=counts > 0)
        relative[relative == 0] = 1.0
    else:
        relative = np.array([float(chosen.get(label, 1.0)) for label in labels])
    if several:  # each class is a question of its own
        scale = n / (counts * relative + (n - counts))
    else:
        scale = np.full(len(labels), n / (counts * relative).sum())
    return np.stack([scale, scale * relative]).astype(np.float32)


def log_priors(targets: np.ndarray, classes: int) -> np.ndarray:
    """Logarithm of each class's share of the training examples, fp32 [classes]; a class that none has counts as one
    example, for its share has no logarithm."""
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)
    return np.asarray(np.log(counts / len(targets)), dtype=np.float32)


def told(train: TrainSpec, label_type: str, targets: np.ndarray | None, labels: Sequence[str]) -> list[str]:
    """What is done about rare classes in these training examples, in words."""
    if targets is None or not isinstance(train.class_weights, str | dict):
        return []
    targets = targets[targets >= 0] if targets.ndim == 1 else targets
    weights = class_weights(train.class_weights, targets, labels, label_type)[1]
    pairs = [f"{label} {weight:.3g}" for label, weight in zip(labels, weights, strict=True)]
    return [f"class weights: {listing(pairs)}"]


def _weighted_class(how: TrainingLoss, logits: Tensor, targets: Tensor) -> Tensor:
    """-Σ t · w · (1 - p)^γ · log p over classes and examples; t is 1 for the class that applies, smoothed as torch's
    cross-entropy smooths it."""
    classes = logits.shape[-1]
    if how.offsets is not None:
        logits = logits + how.offsets
    log_p = F.log_softmax(logits, dim=-1)
    share = F.one_hot(targets, classes).to(logits.dtype) if targets.ndim == 1 else targets
    share = share * (1 - how.smoothing) + how.smoothing / classes
    if how.weights is not None:
        share = share * how.weights[1]
    return -(share * _focus(log_p, how.focal_gamma) * log_p).sum()


def _weighted_yes_or_no(how: TrainingLoss, logits: Tensor, targets: Tensor) -> Tensor:
    """The same of yes and no a class, the mean over classes of each example."""
    log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
    yes = targets * (1 - how.smoothing) + how.smoothing / 2
    no = 1 - yes
    if how.weights is not None:
        yes, no = yes * how.weights[1], no * how.weights[0]
    terms = yes * _focus(log_yes, how.focal_gamma) * log_yes + no * _focus(log_no, how.focal_gamma) * log_no
    return -terms.mean(-1).sum()


def _focus(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1 - p)^γ."""
    return (-torch.expm1(log_p)).clamp_min(_LEAST) ** gamma if gamma else 1.0
