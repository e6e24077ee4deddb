"""Parses a response: its body as JSON, within limits, and its headers as moments and seconds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

VALUES = 400_000
"""The most values in the JSON of one response: each takes up to a hundred times its size in memory."""
DEPTH = 32
"""How deep they may be nested."""

RETRY_AFTER_MAX_SECONDS = 60
"""The longest Retry-After that is honoured; DigiCert publishes no figure for its rate limit."""

_CHARSETS = frozenset({"us-ascii", "iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252"})
"""The accepted charsets besides Unicode. Python knows others, some of which unpack or are slow."""


class Doubled(dict[str, Any]):
    """An object with a duplicate field: which of the two counts is undefined (RFC 8259, section 4)."""


def text_of(body: bytes, content_type: str = "") -> str:
    """The text of any body: UTF-8, UTF-16 or UTF-32 (RFC 8259, section 8.1, and its predecessors), else by the
    header."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        named = re.search(r'charset="?([A-Za-z0-9_-]{1,20})', content_type[:500], re.IGNORECASE)
        charset = named[1].lower() if named else ""
        return body.decode(charset if charset in _CHARSETS else "utf-8", errors="replace")


def parse(text: str) -> Any:
    """The JSON in a text.

    Raises:
        ValueError: with what is wrong, in a few words that quote nothing.
    """
    if not text.strip():
        raise ValueError("empty")
    if text.count(",") + text.count("[") + text.count("{") > VALUES:
        raise ValueError(f"JSON with more than {VALUES:,} values")
    try:
        parsed = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"JSON with more than {DEPTH} levels") from None
    except _NotANumber:
        raise ValueError("JSON with an invalid number (NaN, Infinity) or one that is too large") from None
    except ValueError as error:  # an integer of thousands of digits is not a JSONDecodeError
        decode = isinstance(error, json.JSONDecodeError)
        raise ValueError("not JSON" if decode else "JSON with an invalid or too large number") from None
    _refuse_depth(parsed)
    return parsed


class _NotANumber(ValueError):
    pass


def _refuse(_: str) -> NoReturn:
    raise _NotANumber


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotANumber
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Doubled(found)


def _refuse_depth(parsed: Any) -> None:
    level: list[Any] = [parsed]
    for _ in range(DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise ValueError(f"JSON with more than {DEPTH} levels")


def _inside(value: Any) -> Iterable[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in inside if isinstance(inner, (dict, list))]


def moment(date: str) -> datetime | None:
    """The date of a header (RFC 9110, section 5.6.7) in UTC; None if it is not a date, or outside the calendar."""
    try:
        found = parsedate_to_datetime(date)
        return found.astimezone(UTC) if found.tzinfo else None
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def seconds(retry_after: str, date: str) -> float | None:
    """Retry-After in seconds, in either form, up to the longest that is honoured; a date counts from the server's own
    clock. None if it is absent or invalid."""
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), float(RETRY_AFTER_MAX_SECONDS))
    until, now = moment(text), moment(date)
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), float(RETRY_AFTER_MAX_SECONDS))
