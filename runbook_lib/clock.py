"""Time: UTC, aware and injected. Only `SystemClock` asks the operating system for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

FIRST_YEAR, LAST_YEAR = 1970, 8999
"""The years that a person may give. A server or a certificate may name any year."""

SLACK = timedelta(minutes=5)
"""How far two clocks may differ before one counts as wrong."""


class Clock(Protocol):
    """A source of the time."""

    @property
    def source(self) -> str:
        """Where the time comes from, for a report."""
        ...

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The machine's own clock."""

    source: str = "system clock"

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class FixedClock:
    """A clock that shows one moment: for tests, and for training on a sandbox whose clock was set."""

    moment: datetime
    source: str = "set by the parameter `clock`"

    def __post_init__(self) -> None:
        if self.moment.tzinfo is None:
            raise ValueError("the moment must have a time zone")

    def now(self) -> datetime:
        return self.moment.astimezone(UTC)


def parse_utc(text: str) -> datetime:
    """Read an ISO 8601 / RFC 3339 timestamp that names its offset (`…Z` or `+00:00`).

    Raises ValueError for anything else, and for a moment outside the years 1 to 9999 in UTC.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it as YYYY-MM-DDTHH:MM:SSZ")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is before the year 1 or after 9999 in UTC") from None


def parse_day(text: str) -> date:
    """Read `YYYY-MM-DD`. Raises ValueError, which says what is expected."""
    try:
        found = date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError("must be a day, written YYYY-MM-DD, for example 2026-01-31")
    within(found)
    return found


def within(day: date) -> None:
    """Refuse a year that nobody means, or from which days cannot be counted. Raises ValueError."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")


def iso(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, as DigiCert ONE writes it. Fractions of a second are dropped."""
    return f"{moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"  # strftime: year 1, not 0001
