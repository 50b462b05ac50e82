"""Prediction sets that hold the true label with a probability that is asked for: split conformal prediction
(Angelopoulos and Bates 2021, arXiv:2107.07511, §1). What it needs of the evaluation split is saved with the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import files
from ptm.base.regular import read_bytes
from ptm.errors import ConfigError, ModelError
from ptm.metrics.classification import ClassificationMetrics, six_digits
from ptm.pipeline import Metrics

FILE = "conformal.json"
COVERAGES = (0.8, 0.9, 0.95, 0.99)  # that a run tells of
_FORMAT = 1
_MOST_ROWS = (
    10_000  # of these the coverage that is realised deviates by 0.003 at 0.9: Beta(k, n + 1 - k), §3.2
)
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Conformal:
    """``probabilities``: what each example of the evaluation split has of its own label, float64 [n], falling."""

    probabilities: np.ndarray

    @classmethod
    def of(cls, metrics: Metrics) -> Conformal | None:
        """From an evaluation with known labels; None where an example has not one label."""
        if not isinstance(metrics, ClassificationMetrics):
            return None
        known = metrics.truth_probabilities()
        if len(known) > _MOST_ROWS:  # evenly spread, for rows may stand in the order of their labels
            known = known[np.linspace(0, len(known) - 1, _MOST_ROWS).astype(np.int64)]
        return cls(np.array([six_digits(p) for p in -np.sort(-known)]))

    def least(self, coverage: float) -> float:
        """The probability from which on a label is in a set: with scores s = 1 - p of n examples, 1 minus the
        ceil((n + 1) · coverage)-th smallest. Raises ConfigError where there are fewer examples than that."""
        place = math.ceil((len(self.probabilities) + 1) * coverage - 1e-9)
        if place > len(self.probabilities):
            raise ConfigError(
                f"sets for a coverage of {coverage:g} cannot be found from {len(self.probabilities)} examples of eval",
                where="--coverage",
                expected=f"at least {math.ceil(coverage / (1 - coverage) - 1e-9)} examples in data.eval",
                cure="ask for less, or train with more in data.eval",
            )
        # Equal inputs differ in their last digits from batch to batch: what is as probable is in the set, too.
        return six_digits(float(self.probabilities[place - 1]) * (1 - 2e-5))

    def facts(self, metrics: Metrics, split: str) -> dict[str, Any]:
        """What sets are like on evaluated examples, for each of ``COVERAGES`` that there are enough examples for."""
        assert isinstance(metrics, ClassificationMetrics)
        n = len(self.probabilities)
        enough = [c for c in COVERAGES if (n + 1) * c <= n + 1e-9]
        rows = [
            {"coverage": c, "least": (p := self.least(c)), "split": split, **metrics.sets(p)} for c in enough
        ]
        return {"examples": n, "sets": rows}

    def write(self, directory: Path) -> None:
        """``conformal.json``, beside a saved model. Raises StorageError."""
        content = {"format": _FORMAT, "split": "eval", "probabilities": self.probabilities.tolist()}
        files.write_json(directory / FILE, content)


def stored_conformal(name: str) -> Conformal | None:
    """What was saved with the model in this directory; None where nothing was. Raises ModelError for what ptm does not
    write."""
    place = Path(name) / FILE
    if not (Path(name).is_absolute() and place.is_file()):
        return None
    try:
        content = files.parse_json(read_bytes(place)[:_MOST_BYTES])
        probabilities = np.array(content["probabilities"], dtype=np.float64)
        falling = probabilities.ndim == 1 and bool((np.diff(probabilities) <= 0).all())
        if (
            content["format"] != _FORMAT
            or not falling
            or not ((probabilities >= 0) & (probabilities <= 1)).all()
        ):
            raise ValueError("it holds other numbers than ptm writes")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=place, cure="train the model again") from None
    return Conformal(probabilities)
