"""How a certificate stands: one word for each row of an inventory, and when it is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from runbook_lib.clock import iso


class Health(StrEnum):
    """What a row of the inventory says, from what needs nobody to what needs somebody now."""

    HEALTHY = "healthy"
    NO_CERTIFICATE = "no certificate"
    LINKED = "linked"  # to a file or folder that has rows of its own
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
        due, urgent: time left. A 90-day limit on a 90-day certificate would always fire: they are capped at a third and
            a ninth of a certificate's lifetime.
    """

    now: datetime
    due: timedelta
    urgent: timedelta

    @classmethod
    def days(cls, now: datetime, *, due: int, urgent: int) -> Limits:
        return cls(now, timedelta(days=due), timedelta(days=urgent))

    def expired(self, end: datetime) -> str:
        """Why it counts as expired; empty if it does not."""
        return f"ended on {iso(end)}" if end <= self.now else ""

    def left(self, start: datetime | None, end: datetime) -> tuple[Health, str]:
        """How a certificate that has not ended stands by the time it has left, and why."""
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
        """How a certificate stands of which nothing but its dates is known, and why."""
        if end <= self.now:
            return Health.EXPIRED, self.expired(end)
        if start is not None and start > self.now:
            return Health.NOT_YET_VALID, f"not valid before {iso(start)}"
        return self.left(start, end)
