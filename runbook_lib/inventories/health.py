"""The state of a certificate: one word for each row of an inventory, and when it is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from runbook_lib.clock import iso


class Health(StrEnum):
    """The state of a row of the inventory, from no action needed to most urgent."""

    HEALTHY = "healthy"
    NO_CERTIFICATE = "no certificate"
    LINKED = "linked"  # to a file or folder that has its own rows
    NOT_YET_VALID = "not yet valid"
    DISABLED = "disabled"
    EXPIRED = "expired"
    DUE = "due"
    URGENT = "urgent"
    ORPHAN = "orphan"
    MISSING = "missing"
    MISMATCH = "mismatch"
    UNREADABLE = "unreadable"
    EXPOSED = "exposed"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Limits:
    """When a certificate counts as due, and as urgent.

    Args:
        now: the moment of the inventory.
        due, urgent: time left, capped at a third and a ninth of a certificate's lifetime: a 90-day limit would always
            apply to a 90-day certificate.
    """

    now: datetime
    due: timedelta
    urgent: timedelta

    @classmethod
    def days(cls, now: datetime, *, due: int, urgent: int) -> Limits:
        return cls(now, timedelta(days=due), timedelta(days=urgent))

    def expired(self, end: datetime) -> str:
        """Why it counts as expired; empty if it does not."""
        return f"expired on {iso(end)}" if end <= self.now else ""

    def left(self, start: datetime | None, end: datetime) -> tuple[Health, str]:
        """The state of an unexpired certificate by its time left, and why."""
        left, due, urgent = end - self.now, self.due, self.urgent
        if left >= max(due, urgent):
            return Health.HEALTHY, ""
        if start is not None:
            due, urgent = min(due, (end - start) / 3), min(urgent, (end - start) / 9)
        if left < urgent:
            return Health.URGENT, f"fewer than {urgent.days} days left"
        if left < due:
            return Health.DUE, f"fewer than {due.days} days left"
        return Health.HEALTHY, ""

    def judge(self, start: datetime | None, end: datetime) -> tuple[Health, str]:
        """The state of a certificate by its dates alone, and why."""
        if end <= self.now:
            return Health.EXPIRED, self.expired(end)
        if start is not None and start > self.now:
            return Health.NOT_YET_VALID, f"not valid before {iso(start)}"
        return self.left(start, end)
