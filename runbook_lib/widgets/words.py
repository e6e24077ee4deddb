"""The words and marks of verdicts and states. A colour never stands alone: it repeats what a word says."""

from __future__ import annotations

from runbook_lib.result import Verdict

MARKS = {
    Verdict.OK: "✓",
    Verdict.NOTHING_TO_DO: "✓",
    Verdict.PLANNED: "○",
    Verdict.ATTENTION: "!",
    Verdict.UNCHECKED: "?",
    Verdict.FAILED: "✗",
}

_TONES = {
    "good": {"ok", "nothing to do", "healthy", "answered", "enabled", "yes", "current", "active", "in use"}
    | {"done", "progressed", "finished"},
    "warn": {"attention", "due", "planned", "orphan"},
    "info": {"next", "new", "not yet valid"},
    "bad": {"failed", "urgent", "expired", "missing", "mismatch", "unreadable", "exposed", "unknown"}
    | {"killed", "timed out", "withheld"},
}


def tone(state: str) -> str:
    """The tone of a verdict or state: `good`, `warn`, `info`, `bad`, or `calm` for every word that is none of these."""
    return next((name for name, words in _TONES.items() if state.lower() in words), "calm")


def mark(state: str) -> str:
    """The mark of a verdict, empty for any other word."""
    return MARKS[Verdict(state)] if state in set(Verdict) else ""
