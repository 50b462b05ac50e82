"""What ``ptm bench`` found, as a record and as lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

_NOTICEABLE = 0.05  # of the speed
_STEADY = 0.15  # how far the repeats of a quiet machine lie apart
_IDLE = 0.1  # of the cores that others may take
_PARTS = ("data", "forward", "teacher", "backward", "optimizer", "evaluation", "save")


@dataclass(frozen=True)
class Tried:
    """``ratios``: how many times as many examples a second as the config as it is, a round each; ``problem``: why there
    are none."""

    setting: str
    effect: str
    ratios: tuple[float, ...] = ()
    problem: str = ""

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def helps(self) -> bool:
        """Faster in every round, and noticeably."""
        return bool(self.ratios) and min(self.ratios) > 1 + _NOTICEABLE

    def line(self) -> str:
        if not self.ratios:
            return f"  --set {self.setting}: {self.problem}"
        range_ = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"  {median(self.ratios):5.2f} x ({range_})  --set {self.setting}  ({self.effect})"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Seconds are those of a step of ``examples`` examples, medians over the rounds; ``parts``: of which, by part, with
    evaluations and checkpoints shared out over the steps between them; ``operations`` of a step,
    ``products_seconds`` what they take at least, ``square_rate`` operations a second of large square matrices.
    ``others``: cores that other processes kept busy meanwhile."""

    device: str
    threads: int
    cores: int
    precision: str
    units: str | None
    steps: int
    rounds: int
    examples: float
    tokens: float | None
    seconds: float
    spread: float
    parts: Mapping[str, float]
    evaluation_seconds: float
    save_seconds: float | None
    operations: int
    products_seconds: float
    square_rate: float
    tried: tuple[Tried, ...]
    others: float | None
    load_average: float | None
    notes: tuple[str, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """Why these figures may be those of the machine's other work."""
        doubts = []
        if self.others is not None and self.others > _IDLE * self.cores:
            doubts.append(f"other processes kept {self.others:.1f} of {self.cores} cores busy meanwhile")
        elif self.others is None and self.load_average is not None and self.load_average > self.cores + _IDLE:
            doubts.append(f"the load average is {self.load_average:.1f} on {self.cores} cores")
        if self.spread > _STEADY:
            doubts.append(f"the same steps took longer or shorter by {self.spread:.0%}")
        return doubts

    @property
    def thread_warning(self) -> str:
        """ "" where more threads are not slower than one, or no other process can be why."""
        if self.others is None or self.others <= _IDLE * self.cores:
            return ""
        prefix = "runtime.threads="
        ratios = {int(t.setting.removeprefix(prefix)): t for t in self.tried if t.setting.startswith(prefix)}
        if self.threads == 1:
            slower = [number for number, t in ratios.items() if t.ratios and max(t.ratios) < 1]
        else:
            one = ratios.get(1)
            slower = [self.threads] if one is not None and one.ratios and min(one.ratios) > 1 else []
        if not slower:
            return ""
        return (
            f"{min(slower)} threads are slower than one here: other processes take their cores, and they wait for "
            "each other; runtime.threads: 1 is faster until those have ended"
        )

    @property
    def helpful(self) -> list[Tried]:
        """The most helpful first."""
        return sorted((t for t in self.tried if t.helps), key=lambda t: -(t.ratio or 0.0))

    def as_dict(self) -> dict[str, Any]:
        tried = [{**asdict(t), "ratio": t.ratio, "helps": t.helps} for t in self.tried]
        return {
            **asdict(self),
            "tried": tried,
            "examples_per_second": self.examples / self.seconds,
            "tokens_per_second": None if self.tokens is None else self.tokens / self.seconds,
            "operations_per_second": self.operations / self.seconds,
            "share_of_products": self.products_seconds / self.seconds,
            "helps": [t.setting for t in self.helpful],
            "doubts": self.doubts,
            "warnings": [self.thread_warning] if self.thread_warning else [],
        }

    def lines(self, noun: str) -> list[str]:
        """``noun``: what an example is."""
        tokens = "" if self.tokens is None else f", {self.tokens:,.0f} tokens"
        rate = f"{self.examples / self.seconds:,.1f} {noun} a second"
        if self.tokens is not None:
            rate += f", {self.tokens / self.seconds:,.0f} tokens"
        parts = "  ".join(f"{name} {self.parts[name]:.4f}" for name in _PARTS if name in self.parts)
        units = f", {self.units}" if self.units else ""
        threads = f", {self.threads} of {self.cores} cores" if self.device == "cpu" else ""
        lines = [
            f"machine: {self.device}{threads}, {self.precision}{units}",
            f"a step: {self.seconds:.4f} s for {self.examples:g} {noun}{tokens}; {rate}",
            f"  seconds: {parts}",
            *self._arithmetic(),
        ]
        lines.append(f"tried, {self.rounds} times in turn with the config as it is, {self.steps} steps each:")
        lines += [t.line() for t in sorted(self.tried, key=lambda t: -(t.ratio or 0.0))]
        best = self.helpful
        lines.append(
            "helps: " + ", ".join(f"--set {t.setting} ({t.ratio:.2f} x)" for t in best)
            if best
            else "no change helps: none was faster by a twentieth in every round"
        )
        return [*lines, *self.notes]

    def _arithmetic(self) -> list[str]:
        if not self.operations or not self.products_seconds:
            return ["arithmetic: none that is counted (products of matrices, convolutions, attention)"]
        reached, alone = self.operations / self.seconds, self.operations / self.products_seconds
        return [
            f"arithmetic: {self.operations / 1e9:,.3g} GFLOP a step, {reached / 1e9:,.3g} GFLOP/s; its products by "
            f"themselves, at these shapes, reach {alone / 1e9:,.3g} and take {self.products_seconds:.4f} s, "
            f"{self.products_seconds / self.seconds:.0%} of the step (large squares: {self.square_rate / 1e9:,.3g})"
        ]
