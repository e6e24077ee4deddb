"""How many requests a host is sent at most, whoever sends them and however often they have to be repeated."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.util.retry import Retry

from runbook_lib.digicert.answers import seconds

WINDOW_SECONDS = 1.0


class Budget:
    """The requests that one host may be sent, shared by all threads that call it.

    A request takes one of `per_second` places, and its place is free again a second after it was *answered*. So in no
    second, on whoever's clock, do more than that arrive: every other request of that second still holds its place,
    however long the network took with each.

    Args:
        per_second: places, at least 1.
    """

    def __init__(self, per_second: int) -> None:
        if per_second < 1:
            raise ValueError("a budget allows at least one request a second")
        self._places = per_second
        self._under_way = 0
        self._free_at: deque[float] = deque()
        self._paused_until = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold a place for as long as a request and its answer take; waits for one first."""
        self.take()
        try:
            yield
        finally:
            self.give_back()

    def take(self) -> None:
        """Wait for a place."""
        with self._changed:
            while (seconds := self._wait_seconds(time.monotonic())) > 0:
                self._changed.wait(seconds)
            self._under_way += 1

    def give_back(self) -> None:
        """The request of this place was answered, or given up."""
        with self._changed:
            self._under_way -= 1
            self._free_at.append(time.monotonic() + WINDOW_SECONDS)
            self._changed.notify()

    def pause(self, seconds: float) -> None:
        """The host asked to wait: nobody sends anything before these seconds are over."""
        with self._changed:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _wait_seconds(self, now: float) -> float:
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        if now < self._paused_until:
            return self._paused_until - now
        if self._under_way + len(self._free_at) < self._places:
            return 0.0
        return self._free_at[0] - now if self._free_at else WINDOW_SECONDS


class Patience(Retry):
    """Repeats as urllib3 does, and takes from a Retry-After what can be made of it: urllib3 raises for some."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        return seconds(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))


class BudgetedRetry(Patience):
    """Repeats within a budget: each repetition waits for a place of its own, and a Retry-After holds for everybody.

    urllib3 repeats a request below everything of ours, so here is where it can be counted.
    """

    budget: Budget

    @classmethod
    def within(cls, budget: Budget, **options: Any) -> BudgetedRetry:
        """With urllib3's options."""
        retry = cls(**options)
        retry.budget = budget
        return retry

    def new(self, **options: Any) -> BudgetedRetry:
        retry = super().new(**options)
        retry.budget = self.budget
        return retry

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        self.budget.give_back()
        try:
            asked = self.get_retry_after(response) if response is not None else None
            if asked:
                self.budget.pause(asked)
            else:
                self._sleep_backoff()
        finally:
            self.budget.take()
