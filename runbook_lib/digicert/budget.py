"""Limits the requests to a host, across all threads and including retries."""

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
    """The requests that one host may get, shared by all threads that call it.

    A request takes one of `per_second` places, and frees it one second after the *response*. So no more than that
    arrive in any second, on any clock: every other request of that second still holds its place, however long the
    network took.

    Args:
        per_second: places, at least 1.
    """

    def __init__(self, per_second: int) -> None:
        if per_second < 1:
            raise ValueError("a budget must allow at least one request per second")
        self._places = per_second
        self._under_way = 0
        self._free_at: deque[float] = deque()
        self._paused_until = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a place, and hold it until the request is answered."""
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
        """Free the place of a request that was answered, or given up, in one second."""
        with self._changed:
            self._under_way -= 1
            self._free_at.append(time.monotonic() + WINDOW_SECONDS)
            self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Send nothing for these seconds, because the host asked to wait."""
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
    """Retries as urllib3 does, but ignores an invalid Retry-After, for which urllib3 raises."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        return seconds(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))


class BudgetedRetry(Patience):
    """Retries within a budget: each retry waits for a place of its own, and a Retry-After holds for all threads.

    urllib3 retries below our code, so only here can the retries be counted.
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
