"""How counts, dates and sentences read. Nothing here asks a clock: whoever shows a record gives the record's moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

from runbook_lib.clock import iso, parse_utc
from runbook_lib.visible import visible

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS = ((365.2425 * _DAY, "year"), (_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"))
_NEAR = 2 * _DAY
_MOMENT = r"(?<![\w.-])\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(?![\w-])"
_MOMENTS = re.compile(_MOMENT)
_SENTENCE = re.compile(rf"`([^`\n]+)`|{_MOMENT}")


def quantity(number: int, noun: str, many: str = "") -> str:
    """`1 row`, `2 rows`, `no rows`. `many` is the plural where an s is not enough."""
    shown = f"{number:,}" if number else "no"
    return f"{shown} {noun if number == 1 else many or f'{noun}s'}"


def certificates_need_action(number: int) -> str:
    """`1 certificate needs action`, `2 certificates need action`."""
    return f"{quantity(number, 'certificate')} {'needs' if number == 1 else 'need'} action"


def date_words(moment: datetime, now: datetime | None = None) -> str:
    """A moment for people: `8 Dec 2026 (in 10 days)`, `25 Nov 2026 (3 days ago)`.

    The time of day is added where a date is too coarse: without `now`, and less than two days from it:
    `28 Nov 2026, 14:15:02 UTC (in 3 hours)`. Days are full days; what is a minute short of one counts, since a run that
    sets a date says so a moment later.
    """
    moment = moment.astimezone(UTC)
    day = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    away = None if now is None else (moment - now).total_seconds()
    if away is None or abs(away) < _NEAR:
        day = f"{day}, {moment:%H:%M:%S} UTC"
    distance = "" if away is None else _distance(away)
    return f"{day} ({distance})" if distance else day


def _distance(seconds: float) -> str:
    """`in 10 days`, `3 hours ago`; empty for less than a minute."""
    for size, unit in _UNITS:
        number = int((abs(seconds) + (_MINUTE if size > _MINUTE else 0)) // size)
        if number >= (2 if unit == "year" else 1):
            return f"in {quantity(number, unit)}" if seconds > 0 else f"{quantity(number, unit)} ago"
    return ""


def dates_text(text: str, now: datetime) -> str:
    """The text with its moments (`YYYY-MM-DDTHH:MM:SSZ`) as people read them."""
    return _MOMENTS.sub(lambda found: _date_words(found[0], now), text)


def _date_words(text: str, now: datetime | None) -> str:
    try:
        return date_words(parse_utc(text), now)
    except ValueError:  # it only looks like a moment
        return text


def time_html(moment: datetime, now: datetime | None = None) -> Markup:
    """A moment as `date_words` has it, and exactly in a `<time>` element."""
    day, distance, rest = date_words(moment, now).partition(" (")
    exact = iso(moment)
    return Markup('<time datetime="{}" title="{}">{}</time>{}').format(exact, exact, day, distance + rest)


def dates_html(text: str, now: datetime | None) -> Markup:
    """One line of text from anywhere as HTML: its moments as people read them, all else as it is."""
    return Markup(_MOMENTS.sub(lambda found: _time_html(found[0], now), _escaped(text)))  # noqa: S704  (escaped)


def words_html(text: str, now: datetime | None) -> Markup:
    """As `dates_html`, and text between `back quotes` is code, in which nothing is replaced."""

    def part(found: re.Match[str]) -> str:
        return _time_html(found[0], now) if found[1] is None else f"<code>{found[1]}</code>"

    return Markup(_SENTENCE.sub(part, _escaped(text)))  # noqa: S704  (escaped)


def _escaped(text: str) -> str:
    return str(escape(visible(text)))


def _time_html(text: str, now: datetime | None) -> str:
    try:
        return str(time_html(parse_utc(text), now))
    except ValueError:
        return text
