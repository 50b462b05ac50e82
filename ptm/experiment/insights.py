"""What a page shows of the inside of a model, within a bound of work: the same examples on any machine."""

from __future__ import annotations

from typing import Any

from ptm.errors import ModelError, first_line
from ptm.pipeline import Pipeline

MOST_OPERATIONS = 2e11  # of all examples together: 10 s of a core that does 20 GFLOP/s


class Insights:
    """Called with an evaluated example and a label, gives :meth:`ptm.pipeline.Pipeline.insight`, or {} where the work
    that is left does not do."""

    def __init__(self, pipeline: Pipeline, operations: float = MOST_OPERATIONS) -> None:
        self._pipeline = pipeline
        self._left = operations

    def __call__(self, index: int, label: str) -> dict[str, Any]:
        """Raises ModelError for a model that cannot be looked into."""
        cost = self._pipeline.insight_operations(index)
        if cost > self._left:
            return {}
        self._left -= cost
        try:
            return self._pipeline.insight(index, label)
        except RuntimeError as error:
            raise ModelError(f"its inside cannot be shown: {first_line(error, 200)}") from None
