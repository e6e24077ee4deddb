"""UTC, aware and injected: nothing in this project asks the operating system for the time but `SystemClock`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

FIRST_YEAR, LAST_YEAR = 1970, 8999
"""Of what a person gives. What a server or certificate says may be any year."""

SLACK = timedelta(minutes=5)
"""How far two clocks may differ before one of them counts as wrong."""


class Clock(Protocol):
    """Something that knows what time it is."""

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
    """A clock that stands at one moment: for tests, and for practising on a sandbox whose clock was set."""

    moment: datetime
    source: str = "set by the parameter `clock`"

    def __post_init__(self) -> None:
        if self.moment.tzinfo is None:
            raise ValueError("a moment needs a time zone")

    def now(self) -> datetime:
        return self.moment.astimezone(UTC)


def parse_utc(text: str) -> datetime:
    """Read an ISO 8601 / RFC 3339 timestamp that names its offset (`…Z` or `+00:00`).

    Raises ValueError for anything else: a time without a zone is not a time here, nor is one that UTC cannot tell.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write it as YYYY-MM-DDTHH:MM:SSZ")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is before the year 1 or after 9999 in UTC") from None


def parse_day(text: str) -> date:
    """Read `YYYY-MM-DD`, a day that one can count from. Raises ValueError with what is expected."""
    try:
        found = date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError("must be a day, written YYYY-MM-DD, for example 2026-01-31")
    within(found)
    return found


def within(day: date) -> None:
    """Refuse what nobody means, and what cannot be counted from: the calendar ends in both directions."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")


def iso(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, the form DigiCert ONE uses. Fractions of a second are dropped."""
    return f"{moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"  # strftime: year 1, not 0001
