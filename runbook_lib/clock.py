"""UTC, aware and injected: nothing in this project asks the operating system for the time but `SystemClock`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


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

    Raises ValueError for anything else: a time without a zone is not a time here.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write it as YYYY-MM-DDTHH:MM:SSZ")
    return moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, the form DigiCert ONE uses. Fractions of a second are dropped."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
