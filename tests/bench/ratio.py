"""What a benchmark gives: a ratio of paired runs and whether it is what was asked for; cost against size."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True)
class Ratio:
    """Two ways of doing one thing, run in turn.

    Args:
        name: what was done.
        ours: seconds of each of our runs.
        theirs: seconds of the run beside it.
        needed: the ratio that is asked for.
        sense: "at least": theirs/ours, how many times faster ours is; "at most": ours/theirs, which part of it we cost.
        note: what the other way is, and whatever limits the claim.
    """

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    needed: float
    sense: Literal["at least", "at most"]
    note: str

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.theirs):
            raise ValueError(f"{self.name}: every run needs one beside it")

    @property
    def each(self) -> tuple[float, ...]:
        """The ratio of each pair."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return tuple(theirs / ours if self.sense == "at least" else ours / theirs for ours, theirs in pairs)

    @property
    def median(self) -> float:
        return median(self.each)

    @property
    def held(self) -> bool:
        return self.median >= self.needed if self.sense == "at least" else self.median <= self.needed


@dataclass(frozen=True)
class Curve:
    """Cost against size.

    Args:
        name: what was done.
        what: one of the things that `sizes` counts.
        sizes: how many.
        seconds: for all of them, at each size.
    """

    name: str
    what: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
