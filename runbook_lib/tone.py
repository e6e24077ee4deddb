"""The tone and the mark of a word: a status, a verdict, or the state of a certificate, a step or a service user.

A colour only repeats what a word says.
"""

from __future__ import annotations

from runbook_lib.result import Status, Verdict

MARKS = {
    Verdict.OK: "✓",
    Verdict.NOTHING_TO_DO: "✓",
    Verdict.PLANNED: "○",
    Verdict.ATTENTION: "!",
    Verdict.UNCHECKED: "?",
    Verdict.FAILED: "✗",
}

_TONES: dict[str, set[str]] = {
    "good": {Status.DONE, Verdict.OK, Verdict.NOTHING_TO_DO, "progressed", "finished"}
    | {"healthy", "answered", "enabled", "yes", "current", "active", "in use"},
    "warn": {Verdict.ATTENTION, Verdict.UNCHECKED, Status.INTERRUPTED, "due", "orphan", "unknown"},
    "info": {"next", "new", "not yet valid"},
    "bad": {Verdict.FAILED, Status.FAILED, Status.KILLED, Status.TIMED_OUT, Status.REFUSED, Status.WITHHELD}
    | {"urgent", "expired", "missing", "mismatch", "unreadable", "exposed"},
}


def tone(word: str) -> str:
    """`good`, `warn`, `info` or `bad`; `calm` for every other word, such as `planned`."""
    return next((name for name, words in _TONES.items() if word.lower() in words), "calm")


def mark(word: str) -> str:
    """The mark of a verdict; empty for any other word."""
    return MARKS[Verdict(word)] if word in set(Verdict) else ""
