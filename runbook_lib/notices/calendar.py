"""A calendar file (RFC 5545) with the end of each certificate and the next step of each rotation.

An event keeps its UID for ever and is updated in place. If its certificate is disabled or no longer listed, or its step
was taken, it is cancelled for a week, so that a calendar that took it removes it, and then left out. The file itself
keeps what the next run needs to know. It stays small: the `MOST` certificates that end next have events, and a last
event says how many end later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import disk
from runbook_lib.catalogue import Reason
from runbook_lib.clock import parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.lifecycle.rotation import rotate_command
from runbook_lib.notices.notice_state import NoticesState
from runbook_lib.notices.run_facts import CertificateRow
from runbook_lib.visible import visible
from runbook_lib.words import quantity

if TYPE_CHECKING:
    import icalendar

MOST = 100
"""Certificates with an event, and as many rotations."""

ALARMS = (timedelta(days=30), timedelta(days=7), timedelta(days=1))
"""How long before the end of a certificate the calendar gives an alarm; a step of a rotation has one on its day."""

CANCELLED = timedelta(days=7)
_LONGEST = 200
_UID = "digicert-one-runbooks"


@dataclass(frozen=True)
class _Event:
    uid: str
    day: date
    summary: str
    description: str
    alarms: tuple[timedelta, ...]


def write_calendar(state: NoticesState, file: Path, now: datetime) -> None:
    """Write the calendar, atomically.

    Args:
        file: created, or updated in place: events that it holds keep their sequence numbers.
        now: when the run ended, by its clock.

    Raises:
        RunbookError: BAD_PARAMETER if icalendar is missing, or if the file holds another calendar. OSError.
    """
    try:
        import icalendar
    except ImportError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "The calendar needs the package icalendar, which is not installed.",
            remedy="Run pip install 'digicert-one-runbooks[notices]'.",
            title="A package is missing",
        ) from None
    before = _before(file)
    calendar = icalendar.Calendar()
    calendar.add("prodid", f"-//{_UID}//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Client certificates")
    for event in _events(state, now):
        calendar.add_component(_component(event, before.pop(event.uid, None), now))
    for old in before.values():
        if (cancelled := _cancelled(old, now)) is not None:
            calendar.add_component(cancelled)
    disk.replace(file, calendar.to_ical(), mode=0o644)


def _before(file: Path) -> dict[str, Any]:
    """The events of the file, by UID."""
    import icalendar

    try:
        content = disk.read_file(file)
    except FileNotFoundError:
        return {}
    try:
        calendar = icalendar.Calendar.from_ical(content)
        ours = str(calendar.get("prodid")) == f"-//{_UID}//EN"
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{file} is not a calendar that a run wrote. It is left as it is.",
            remedy="Name another file.",
            title="The calendar's file is in use",
        )
    return {str(event["uid"]): event for event in calendar.walk("VEVENT") if "uid" in event}


def _events(state: NoticesState, now: datetime) -> Iterator[_Event]:
    rows, left = state.nearest(now, MOST)
    for row in rows:
        yield _end(row)
    if left:
        yield _Event(
            _uid("more", "certificates"),
            parse_utc(rows[-1].end).date(),
            f"{quantity(left, 'more certificate')} end from this day on",
            "This calendar holds the ends that come first. The inventory's report lists all.",
            (),
        )
    for environment, name, words, start in state.rotations(MOST):
        yield _Event(
            _uid("rotation", environment, name),
            parse_utc(start).date(),
            _short(f"Rotation of {name}: {words}"),
            _short(f"The daily run of rotate does this from this day on. {rotate_command(name)}"),
            (timedelta(0),),
        )


def _end(row: CertificateRow) -> _Event:
    command = f" {rotate_command(row.place.partition('/')[0])}" if row.in_use else ""
    place = f" {row.place}." if row.place else ""
    return _Event(
        _uid("end", row.key),
        parse_utc(row.end).date(),
        _short(f"{row.name} ends ({row.environment})"),
        _short(f"Certificate {row.serial}.{place}{command}"),
        ALARMS,
    )


def _component(event: _Event, old: Any, now: datetime) -> icalendar.Event:
    import icalendar

    component = icalendar.Event()
    component.add("uid", event.uid)
    component.add("dtstart", event.day)
    component.add("dtend", event.day + timedelta(days=1))
    component.add("summary", event.summary)
    component.add("description", event.description)
    component.add("status", "CONFIRMED")
    component.add("transp", "TRANSPARENT")  # it takes nobody's time
    for before in event.alarms:
        alarm = icalendar.Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", event.summary)
        alarm.add("trigger", -before)
        component.add_component(alarm)
    sequence, stamp = 0, now
    if old is not None:
        same = all(old.get(name) == component.get(name) for name in ("summary", "description", "status"))
        same = same and old.decoded("dtstart") == event.day
        sequence = int(old.get("sequence", 0)) + (0 if same else 1)
        stamp = old.decoded("dtstamp") if same else now
    component.add("sequence", sequence)
    component.add("dtstamp", stamp)
    return component


def _cancelled(old: Any, now: datetime) -> Any:
    """An event whose cause is gone: cancelled, and after a week None."""
    if old.get("status") != "CANCELLED":
        for name, value in (("status", "CANCELLED"), ("sequence", int(old.get("sequence", 0)) + 1), ("dtstamp", now)):
            del old[name]
            old.add(name, value)
        old.subcomponents.clear()  # no alarm
    return old if now - old.decoded("dtstamp") < CANCELLED else None


def _uid(*parts: str) -> str:
    return f"{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32]}@{_UID}"


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
