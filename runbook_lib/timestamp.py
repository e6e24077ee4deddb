"""The type of a moment in JSON: UTC, in ISO 8601."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from runbook_lib.clock import iso, parse_utc


def _utc(value: datetime) -> datetime:
    return parse_utc(value.isoformat())


def _written(value: Any) -> Any:
    """Refuse everything but ISO 8601: pydantic would read a number as seconds or milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and "-" in value[1:]):
        return value
    raise ValueError("not a date and time in ISO 8601")


Timestamp = Annotated[datetime, BeforeValidator(_written), AfterValidator(_utc), PlainSerializer(iso, return_type=str)]
"""An aware UTC moment, written `YYYY-MM-DDTHH:MM:SSZ`."""
