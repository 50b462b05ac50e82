"""The state of training besides tensors, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """All that training changes besides tensors. Randomness is not in it: it is a function of the step."""

    step: int = 0  # optimizer steps done
    examples: int = 0  # examples seen, repeats counted
    evaluated_step: int = 0  # step of the last finished evaluation
    finished: bool = False
    best_value: float | None = None
    best_loss: float | None = None  # of the same evaluation, where it has one
    best_step: int | None = None
    trained: dict[str, float] = field(
        default_factory=dict
    )  # metrics there of what the chosen weights average
    worse_evaluations: int = 0  # since the best one
    window: dict[str, float] = field(default_factory=dict)  # sums since the last line of the log
    log_bytes: int = 0  # length of metrics.jsonl
    seconds: float = 0.0  # spent in training steps
    scaler: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)  # the objective's: what its teachers were asked
