"""Limits per host: runs that start in a second, and runs in progress at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runbook_lib.fleet.file import HostBudget

_T = TypeVar("_T")


@dataclass
class Host(Generic[_T]):
    """The runs that wait for one host, and when the next one may start. Times are seconds of a monotonic clock.

    Runs start at even intervals, without bursts: in any second at most as many as the budget allows, plus one.
    """

    budget: HostBudget
    waiting: deque[_T] = field(default_factory=deque)
    under_way: int = 0
    free_at: float = 0.0

    def may_start(self, now: float) -> bool:
        return bool(self.waiting) and self.under_way < self.budget.at_once and now >= self.free_at

    def start(self, now: float) -> _T:
        self.free_at = max(self.free_at, now) + 1 / self.budget.starts_per_second
        self.under_way += 1
        return self.waiting.popleft()

    def pause(self, now: float, seconds: float) -> None:
        """The host asked to wait: nothing starts for so many seconds."""
        self.free_at = max(self.free_at, now + seconds)

    def ended(self) -> None:
        self.under_way -= 1

    def opens_in(self, now: float) -> float | None:
        """Seconds until the next run may start; None if a run must end first, or none waits."""
        if not self.waiting or self.under_way >= self.budget.at_once:
            return None
        return max(0.0, self.free_at - now)
