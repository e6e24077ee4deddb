"""What a change refers to: the ticket it belongs to, the reason for it and who approved it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHANGE_NOTE = {"ticket": "Ticket", "change_reason": "Reason for change", "approved_by": "Approved by"}
"""The parameters that hold it, which are fields of run.json too, and how a report calls them."""


def change_note(values: Mapping[str, Any]) -> dict[str, str | None]:
    """The fields of run.json, each on one line, from a notebook's parameters.

    Args:
        values: the value of every known parameter.

    Returns:
        A text for each field: empty if none was given; None if the notebook takes no such parameter or its value is
        unknown.
    """
    return {name: note_text(values.get(name)) for name in CHANGE_NOTE}


def note_text(value: Any) -> str | None:
    """One value as text on one line; None if it is no text. YAML reads an unquoted ticket of digits as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return " ".join(str(value).split())
